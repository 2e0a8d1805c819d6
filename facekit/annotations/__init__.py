"""Results on disk: the records of photos, and datasets in COCO and other formats."""

from collections.abc import Callable

from facekit.annotations.coco import write_coco, write_fiftyone
from facekit.annotations.coco_reader import read_dataset
from facekit.annotations.dataset import Dataset, DatasetInfo, NumberedPhoto, PhotoSource
from facekit.annotations.label_studio import write_label_studio
from facekit.annotations.output import Format
from facekit.annotations.rows import write_jsonl, write_parquet

WRITERS: dict[Format, Callable[..., None]] = {
    "coco": write_coco,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "label-studio": write_label_studio,
    "fiftyone": write_fiftyone,
}
"""The writers by format; each takes a path, the photos and the dataset's properties."""

__all__ = [
    "WRITERS",
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
