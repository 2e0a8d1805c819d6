"""Results on disk: the records of photos, and datasets in COCO and other formats."""

from facekit.annotations.coco import write_coco, write_fiftyone
from facekit.annotations.coco_reader import read_dataset
from facekit.annotations.dataset import Dataset, DatasetInfo, NumberedPhoto, PhotoSource
from facekit.annotations.label_studio import write_label_studio
from facekit.annotations.rows import write_jsonl, write_parquet

__all__ = [
    "Dataset",
    "DatasetInfo",
    "NumberedPhoto",
    "PhotoSource",
    "read_dataset",
    "write_coco",
    "write_fiftyone",
    "write_jsonl",
    "write_label_studio",
    "write_parquet",
]
