"""Where photos and labels in KITTI's form lie, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from facekit.errors import DataError
from training.experiment.sections import Section, read_sections
from training.experiment.settings import Dataset, DataSource

IMAGES, LABELS = "images", "labels"


@dataclass(frozen=True)
class KittiFolder:
    """What a spec of TLT's ``dataset_convert`` says.

    Attributes:
        root: The KITTI folder.
        image_dir_name: Folder of the photos in it.
        label_dir_name: Folder of the label files in it.
        image_extension: Suffix of the photos, without the dot; empty for any.
        validation_share: Share of the photos in part 0 of two; None where the spec sets none.
        path: The spec's file, and where it names the folder and the share, for messages.
        root_line: Likewise.
        share_line: Likewise.
    """

    root: Path
    image_dir_name: str = IMAGES
    label_dir_name: str = LABELS
    image_extension: str = ""
    validation_share: float | None = None
    path: Path = field(default=Path(), compare=False)
    root_line: int = field(default=1, compare=False)
    share_line: int = field(default=1, compare=False)

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
    # TAO splits into two parts at random; more follow from the sequences of a video.
    section.only("num_partitions", 2)
    share = section.given({"val_split": (0.0, 100.0)})
    if share:
        values["validation_share"] = share["val_split"] / 100
    return KittiFolder(
        Path(section.message.root_directory_path),
        image_extension=section.message.image_extension.lstrip("."),
        path=path,
        root_line=section.line_of("root_directory_path"),
        share_line=section.line_of("val_split"),
        **values,
    )


def take_kitti(
    dataset: Dataset,
    training: list[Path],
    validation: list[Path],
    kitti: KittiFolder,
    measuring: bool,
) -> Dataset:
    """Return a spec's data as a tfrecords spec completes them.

    Args:
        dataset: The data, with the names of the folders taken over (``kitti_source``).
        training: The folders that the spec trains on, ``image_directory_path``.
        validation: Those that it measures on.
        kitti: What the tfrecords spec says.
        measuring: The photos are only measured on: a folder that is none to train on is then
            the one to measure, all of it.

    Raises:
        DataError: The tfrecords spec is about a folder that the spec does not name, or leaves
            nothing to train on.
    """
    if _same(kitti.root, training):
        share = kitti.validation_share
        if share == 1.0 and dataset.validation_fold == 0 and not dataset.validation:
            raise DataError(
                kitti.path, "val_split is 100; that leaves no photo to train on", kitti.share_line
            )
        return dataset if share is None else replace(dataset, validation_share=share)
    if _same(kitti.root, validation):
        return dataset
    if measuring:
        extension = kitti.image_extension or dataset.image_extension
        return replace(
            dataset, validation=(kitti.source,), validation_fold=None, image_extension=extension
        )
    raise DataError(
        kitti.path,
        f"root_directory_path is {kitti.root}; the spec has "
        f"{', '.join(str(root) for root in dict.fromkeys(training + validation))}",
        kitti.root_line,
    )


def _same(root: Path, others: list[Path]) -> bool:
    return root.resolve() in [other.resolve() for other in others]


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
    if kitti is not None and _same(kitti.root, [root]):
        return kitti.source
    return DataSource(root / IMAGES, root / LABELS)
