"""Where photos and labels in KITTI's form lie, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.experiment.sections import Section, read_sections
from training.experiment.settings import DataSource

IMAGES, LABELS = "images", "labels"


@dataclass(frozen=True)
class KittiFolder:
    """What a spec of TLT's ``dataset_convert`` says.

    Attributes:
        root: The KITTI folder.
        image_dir_name: Folder of the photos in it.
        label_dir_name: Folder of the label files in it.
        image_extension: Suffix of the photos, without the dot; empty for any.
        folds: Into how many parts the photos are split at random.
        validation_share: Share of the photos in part 0 of two; more parts are equal.
    """

    root: Path
    image_dir_name: str = IMAGES
    label_dir_name: str = LABELS
    image_extension: str = ""
    folds: int = 2
    validation_share: float = 0.2

    @property
    def source(self) -> DataSource:
        """The folders to read."""
        return DataSource(self.root / self.image_dir_name, self.root / self.label_dir_name)


def read_kitti_config(path: Path) -> KittiFolder:
    """Read a tfrecords spec. No records are made of it: the KITTI folder is read as it lies.

    Raises:
        DataError: The file can't be read; a field is unknown, missing, of the wrong kind or out of
            range. Names the line.
    """
    spec = read_sections(path, "DatasetExportConfig")
    spec.require("kitti_config")
    section = spec.section("kitti_config")
    section.require("root_directory_path")
    section.only("partition_mode", "random")
    values = {
        name: getattr(section.message, name)
        for name in ("image_dir_name", "label_dir_name")
        if section.has(name)
    }
    folds = section.given({"num_partitions": (2, 1000)})
    if folds:
        values["folds"] = int(folds["num_partitions"])
    share = section.given({"val_split": (0.0, 100.0)})
    if share:
        values["validation_share"] = share["val_split"] / 100
    return KittiFolder(
        Path(section.message.root_directory_path),
        image_extension=section.message.image_extension.lstrip("."),
        **values,
    )


def kitti_source(section: Section, kitti: KittiFolder | None) -> DataSource:
    """Return the folders of a ``data_sources`` group.

    Args:
        section: The group.
        kitti: Names the folders within the KITTI folder that it is about.

    Raises:
        DataError: ``image_directory_path`` is missing.
    """
    section.require("image_directory_path")
    root = Path(section.message.image_directory_path)
    if kitti is not None and kitti.root == root:
        return kitti.source
    return DataSource(root / IMAGES, root / LABELS)
