"""What a spec says of the photos: where they lie, how they are split, how they become frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from facekit.contract import GRID_STRIDE
from training.experiment.group import (
    Count,
    Group,
    Number,
    Positive,
    Share,
    Text,
    Whole,
    ignored,
    must,
    read_group,
    within,
)

IMAGES, LABELS = "images", "labels"
SIDES = (2 * GRID_STRIDE, 8192)
"""Least and largest side of a frame, in pixels."""
Pixels = Annotated[
    Whole,
    within(*SIDES),
    must(lambda value: value % GRID_STRIDE == 0, f"it must be a multiple of {GRID_STRIDE}"),
]
Zoom = Annotated[Number, within(0.05, 20)]


class DataSourceConfig(Group):
    """A KITTI folder; it is read itself, not the records that TLT makes of it."""

    without_effect = ignored("tfrecords_path source_weight")
    image_directory_path: Text

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self.image_directory_path)


class FacekitDataset(Group):
    """The share of the photos in fold 0; TLT has it in the spec of ``dataset_convert``."""

    validation_share: Annotated[Number, within(0, 0.99)] = 0.2


class DatasetConfig(Group):
    """Which photos to train and to measure on."""

    without_effect = ignored("dataloader_mode sampling_mode")
    exclusive = ("validation_fold", "validation_data_source")
    data_sources: tuple[DataSourceConfig, ...]
    image_extension: Text = ""
    target_class_mapping: dict[str, Text]
    validation_fold: (
        Annotated[Whole, must(lambda fold: fold in (0, 1), "there are 2 folds, 0 and 1")] | None
    ) = None
    validation_data_source: DataSourceConfig | None = None
    facekit: FacekitDataset = FacekitDataset()

    @cached_property
    def class_of(self) -> dict[str, str]:
        """Class name by the lower-case name in the label files, whose case does not matter."""
        return {key.lower(): value for key, value in self.target_class_mapping.items()}

    def check(self) -> None:
        """Check that names which differ in case alone are of one class."""
        found: dict[str, str] = {}
        for key, value in self.target_class_mapping.items():
            if (other := found.setdefault(key.lower(), value)) != value:
                reason = f"is {value!r}, but the same name in another case is {other!r}"
                raise self.error(
                    "target_class_mapping", f"{reason}; case does not matter here", key
                )


class Preprocessing(Group):
    """The frame; faces smaller than the least box (frame pixels) are ignored."""

    without_effect = ignored(
        "output_image_min output_image_max enable_auto_resize crop_left crop_top crop_right "
        "crop_bottom scale_width scale_height"
    )
    output_image_width: Pixels
    output_image_height: Pixels
    output_image_channel: Literal[3] = 3
    min_bbox_width: Positive = 0.0
    min_bbox_height: Positive = 0.0


class SpatialAugmentation(Group):
    """Mirroring, zoom, shift in pixels of the frame, and rotation."""

    without_effect = ignored("rotate_probability")
    hflip_probability: Share = 0.0
    vflip_probability: Share = 0.0
    zoom_min: Zoom = 1.0
    zoom_max: Zoom = 1.0
    translate_max_x: Positive = 0.0
    translate_max_y: Positive = 0.0
    rotate_rad_max: Annotated[Number, within(0, 3.1416)] = 0.0

    def check(self) -> None:
        """Check the order of the zooms."""
        if self.zoom_min > self.zoom_max:
            raise self.error("zoom_min", "is more than zoom_max")


class ColorAugmentation(Group):
    """Changes of color: a channel's shift and the contrast's center as shares of white."""

    color_shift_stddev: Share = 0.0
    hue_rotation_max: Annotated[Number, within(0, 360)] = 0.0
    saturation_shift_max: Share = 0.0
    contrast_scale_max: Share = 0.0
    contrast_center: Share = 0.5


class FacekitAugmentation(Group):
    """Not TLT's: gray frames, frames of four photos, and training on parts of frames.

    With a crop (0: none), every ``whole_frame_period``-th batch shows whole frames.
    """

    gray_probability: Share = 0.0
    mosaic_probability: Share = 0.0
    crop_width: Count = 0
    crop_height: Count = 0
    whole_frame_period: Count = 0

    def check(self) -> None:
        """Check that a crop has two sides."""
        if bool(self.crop_width) != bool(self.crop_height):
            raise self.error("crop_width", "and crop_height are only set together")


class AugmentationConfig(Group):
    """How photos become frames."""

    preprocessing: Preprocessing
    spatial_augmentation: SpatialAugmentation = SpatialAugmentation()
    color_augmentation: ColorAugmentation = ColorAugmentation()
    facekit: FacekitAugmentation = FacekitAugmentation()

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the frame in pixels, multiples of 16."""
        return self.preprocessing.output_image_width, self.preprocessing.output_image_height

    @property
    def crop_wh(self) -> tuple[int, int] | None:
        """Width and height of the parts of frames to train on, None to train on whole ones."""
        ours = self.facekit
        return (ours.crop_width, ours.crop_height) if ours.crop_width else None

    def check(self) -> None:
        """Check that a crop is a whole number of cells and lies within the frame."""
        sides = zip(("crop_width", "crop_height"), self.crop_wh or (), self.size_wh, strict=False)
        for name, side, whole in sides:
            wanted = "" if side % GRID_STRIDE == 0 else f"a multiple of {GRID_STRIDE}"
            if not SIDES[0] <= side <= whole:
                wanted = f"between {SIDES[0]} and {whole}"
            if wanted:
                raise self.facekit.error(name, f"is {side}; it must be {wanted}")


class KittiConfig(Group):
    """A KITTI folder and how its photos are split; nothing is written in shards."""

    without_effect = ignored(
        "num_shards point_clouds_dir calibrations_dir kitti_sequence_to_frames_file"
    )
    root_directory_path: Text
    image_dir_name: Text = IMAGES
    label_dir_name: Text = LABELS
    image_extension: Text = ""
    # TAO splits into two parts at random; more follow from the sequences of a video.
    partition_mode: Literal["random"] = "random"
    num_partitions: Literal[2] = 2
    val_split: Annotated[Number, within(0, 100)] | None = None

    @property
    def root(self) -> Path:
        """The KITTI folder."""
        return Path(self.root_directory_path)

    @property
    def source(self) -> DataSource:
        """The folders to read."""
        line = self.line_of("root_directory_path")
        return DataSource(self.root / self.image_dir_name, self.root / self.label_dir_name, line)

    @property
    def validation_share(self) -> float | None:
        """Share of the photos in part 0 of two; None where the spec sets none."""
        return None if self.val_split is None else self.val_split / 100


class DatasetExportConfig(Group):
    """A spec of TLT's ``dataset_convert``: here it says where a KITTI folder is and its split."""

    without_effect = ignored(
        "image_directory_path target_class_mapping",
        coco_config="root_directory_path img_dir_names annotation_files num_partitions num_shards",
        sample_modifier_config="filter_samples_containing_only dominant_target_classes "
        "minimum_target_class_imbalance num_duplicates max_training_samples "
        "source_to_target_class_mapping",
    )
    exclusive = ("kitti_config", "coco_config")
    kitti_config: KittiConfig


def read_kitti_config(path: Path) -> KittiConfig:
    """Read a tfrecords spec (``read_group``), of which no records are made."""
    return read_group(path, DatasetExportConfig)[0].kitti_config


@dataclass(frozen=True)
class DataSource:
    """A KITTI folder.

    ``line`` is that of the spec that names it.
    """

    image_folder: Path
    label_folder: Path
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Dataset:
    """Which photos to train and to measure on.

    Attributes:
        training: Folders to train on.
        validation: Folders to measure on; empty where ``validation_fold`` says which photos.
        image_extension: Suffix of the photos, without the dot; empty for any.
        class_names: The network's classes in the order of its channels.
        class_of: Class name by the lower-case name in the label files. An object of another
            name is ignored: neither a face nor background.
        validation_fold: Which part of the training photos is held out, None for none: 0, which
            holds ``validation_share`` of the photos, or 1, which holds the others.
    """

    training: tuple[DataSource, ...]
    validation: tuple[DataSource, ...]
    image_extension: str
    class_names: tuple[str, ...]
    class_of: dict[str, str]
    validation_fold: int | None = None
    validation_share: float = 0.2


def make_dataset(
    config: DatasetConfig,
    class_names: tuple[str, ...],
    kitti: KittiConfig | None = None,
    measuring: bool = False,
) -> Dataset:
    """Return a spec's data as a tfrecords spec (``kitti``) completes them.

    Where photos are only measured on (``measuring``), a folder of ``kitti`` that is not trained on
    is the one to measure, all of it. Raises DataError if the tfrecords spec is about a folder that
    the spec does not name, or leaves nothing to train on.
    """
    parts = config.data_sources, tuple(filter(None, [config.validation_data_source]))
    training, validation = (tuple(_source(source, kitti) for source in part) for part in parts)
    trained, measured = ([source.root.resolve() for source in part] for part in parts)
    fold, share = config.validation_fold, config.facekit.validation_share
    extension = config.image_extension
    if kitti is None:
        pass
    elif kitti.root.resolve() in trained:
        _check_shares(config, kitti)
        share = share if kitti.validation_share is None else kitti.validation_share
    elif measuring and kitti.root.resolve() not in measured:
        validation, fold = (kitti.source,), None
        extension = kitti.image_extension or extension
    elif kitti.root.resolve() not in measured:
        roots = ", ".join(dict.fromkeys(str(each.root) for part in parts for each in part))
        raise kitti.error("root_directory_path", f"is {kitti.root}; the spec has {roots}")
    if fold == 1 and not validation and not share:
        reason = "is 1 and fold 0 empty: no photo is left to train on"
        raise config.error("validation_fold", reason)
    kind = extension.lstrip(".")
    return Dataset(training, validation, kind, class_names, config.class_of, fold, share)


def _source(config: DataSourceConfig, kitti: KittiConfig | None) -> DataSource:
    line = config.line_of("image_directory_path")
    if kitti is not None and kitti.root.resolve() == config.root.resolve():
        return replace(kitti.source, line=line)
    return DataSource(config.root / IMAGES, config.root / LABELS, line)


def _check_shares(config: DatasetConfig, kitti: KittiConfig) -> None:
    """Check that a spec and its tfrecords spec split the photos alike, and leave some."""
    fold, share, ours = config.validation_fold, kitti.validation_share, config.facekit
    if fold == 0 and share == 1:
        raise kitti.error("val_split", "is 100; that leaves no photo to train on")
    both = fold is not None and ours.has("validation_share") and share is not None
    if both and share != ours.validation_share:
        where = f"{kitti.path}:{kitti.line_of('val_split')}"
        reason = f"is {ours.validation_share:g}, but val_split of {where} is {kitti.val_split:g}"
        raise ours.error("validation_share", f"{reason}: they must be the same")
