from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from tests.training.tiny_detector import COLORS, SIZE, write_kitti  # noqa: E402
from training.detector.augment import Frame, draw_frame, recolor  # noqa: E402
from training.detector.frames import IGNORED, LabeledPhoto, read_photos  # noqa: E402
from training.experiment.data import (  # noqa: E402
    AugmentationConfig,
    ColorAugmentation,
    Dataset,
    DataSource,
    FacekitAugmentation,
    Preprocessing,
    SpatialAugmentation,
)


def plain(**changes: float) -> AugmentationConfig:
    """Return an augmentation that does nothing but the changes."""
    parts = {
        "preprocessing": Preprocessing,
        "spatial_augmentation": SpatialAugmentation,
        "color_augmentation": ColorAugmentation,
        "facekit": FacekitAugmentation,
    }
    size = {"output_image_width": SIZE[0], "output_image_height": SIZE[1]}
    values = {**size, **changes}
    made = {
        name: kind(**{key: values[key] for key in values.keys() & kind.model_fields.keys()})
        for name, kind in parts.items()
    }
    return AugmentationConfig(**made)  # type: ignore[arg-type]


PLAIN = plain()


def read(source: DataSource) -> tuple[LabeledPhoto, ...]:
    names = ("mask", "no-mask")
    dataset = Dataset((source,), (), "png", names, {name: name for name in names})
    return read_photos(dataset, "training").photos


def colored_box(image: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    near = (np.abs(np.asarray(image).astype(int) - color) < 60).all(axis=2)
    y, x = np.nonzero(near)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hflip_probability": 1.0},
        {"vflip_probability": 1.0},
        {"zoom_min": 0.5, "zoom_max": 0.5},
        {"zoom_min": 1.2, "zoom_max": 1.2},
        {"translate_max_x": 12.0, "translate_max_y": 9.0},
        {"crop_width": 96, "crop_height": 64},
    ],
)
def test_boxes_follow_the_picture(tmp_path: Path, changes: dict[str, float]) -> None:
    photos = read(write_kitti(tmp_path, 1))
    augmentation = plain(**changes)
    size = augmentation.crop_wh or SIZE
    compared = 0
    for seed in range(12):
        frame = draw_frame(np.random.default_rng(seed), photos, augmentation, size)
        assert frame.image.size == size
        for box, index in zip(frame.boxes_xyxy, frame.classes, strict=True):
            if index == IGNORED:
                continue
            found = colored_box(frame.image, COLORS[("Mask", "No-Mask")[index]])
            if (found[2:] - found[:2] > 50).any():
                continue  # the frame's chance filling is of the same color
            np.testing.assert_allclose(box, found, atol=2.0)
            compared += 1
    assert compared >= 12


def test_a_rotated_box_is_that_of_the_ellipse_in_it(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 1))
    turned = plain(rotate_rad_max=1.0)
    compared = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frame = draw_frame(rng, photos, turned, SIZE)
        kept = frame.classes == 0
        if not kept.any():
            continue
        box = frame.boxes_xyxy[kept][0]
        found = colored_box(frame.image, COLORS["Mask"])
        if (np.abs(np.subtract(frame.fill, COLORS["Mask"])) < 60).all():
            continue  # the chance filling is of the same color
        if (box[:2] <= 0).any() or (box[2:] >= SIZE).any():
            continue  # the frame cuts rectangle and ellipse differently
        compared += 1
        # The painted face is a rectangle, so its corners stick out of the ellipse's box.
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, (found[:2] + found[2:]) / 2, atol=2.5)
        assert (box[2:] - box[:2] <= found[2:] - found[:2] + 2).all()
    assert compared >= 3


def test_a_whole_frame_shows_any_part_of_a_photo(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 1))
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(SIZE[0])[None, :], np.arange(SIZE[1])[:, None]
    photo = replace(photos[0], pixels=pixels)
    zoomed = plain(zoom_min=2.0, zoom_max=2.0)
    corners = []
    for seed in range(40):
        image = draw_frame(np.random.default_rng(seed), (photo,), zoomed, SIZE).image
        corners.append(np.asarray(image)[0, 0, :2])
    corner = np.array(corners)
    # The upper left corner lies anywhere in the photo's upper left quarter.
    assert (corner.min(axis=0) <= (4, 4)).all()
    assert (corner.max(axis=0) >= (SIZE[0] / 2 - 5, SIZE[1] / 2 - 5)).all()
    assert (corner.max(axis=0) <= (SIZE[0] / 2 + 1, SIZE[1] / 2 + 1)).all()


def test_a_rotation_brings_in_the_chance_color(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 1))
    turned = plain(rotate_rad_max=1.0)
    compared = 0
    for seed in range(8):
        frame = draw_frame(np.random.default_rng(seed), photos, turned, SIZE)
        fill = np.random.default_rng(seed).integers(0, 256, size=3)
        pixels = np.asarray(frame.image)
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        if max(fill) > 80:  # the photos' ground is darker
            compared += int((corners == fill).all(axis=1).any())
    assert compared >= 5


def test_a_face_cut_off_or_too_small_is_ignored(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 1))
    tiny = plain(min_bbox_width=27.0)
    assert (draw_frame(np.random.default_rng(0), photos, tiny, SIZE).classes == IGNORED).all()
    left = float(photos[0].boxes_xyxy[0, 0])
    shifted = plain(translate_max_x=left + 24)
    states = Counter()
    for seed in range(40):
        frame = draw_frame(np.random.default_rng(seed), photos, shifted, SIZE)
        widths = frame.boxes_xyxy[:, 2] - frame.boxes_xyxy[:, 0]
        for width, index in zip(widths[:1], frame.classes[:1], strict=True):
            if frame.boxes_xyxy[0, 0] == 0:
                states[int(index)] += 1
                assert (index == IGNORED) == (width < 13)
    assert len(states) == 2


def test_most_crops_show_a_face_and_a_mosaic_four_photos(tmp_path: Path) -> None:
    photos = read(write_kitti(tmp_path, 4))
    crop = plain(crop_width=64, crop_height=48, zoom_min=2.0, zoom_max=2.0)
    rng = np.random.default_rng(0)
    frames = [draw_frame(rng, photos[:1], crop, (64, 48)) for _ in range(60)]
    assert sum(bool((frame.classes != IGNORED).any()) for frame in frames) > 40
    four = draw_frame(rng, photos, PLAIN, SIZE)
    assert len(four.classes) >= 4
    boxes = four.boxes_xyxy
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= SIZE).all()


def test_colors_change_as_asked() -> None:
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    assert recolor(rng, image, ColorAugmentation()) is image
    gray = np.asarray(recolor(rng, image, ColorAugmentation(), 1.0))
    assert (gray == gray[..., :1]).all()
    turned = ColorAugmentation(hue_rotation_max=40.0)
    hue = np.asarray(recolor(rng, image, turned), float)[0, 0]
    luma = np.array([0.299, 0.587, 0.114])
    assert abs(hue @ luma - np.array([200, 100, 50]) @ luma) < 2
    assert np.abs(hue - [200, 100, 50]).max() > 5
    contrast = ColorAugmentation(contrast_scale_max=0.5, contrast_center=0.4)
    middle = Image.new("RGB", (1, 1), (102, 102, 102))
    assert np.asarray(recolor(rng, middle, contrast)).tolist() == [[[102, 102, 102]]]


def test_frame_adds_nothing_by_itself() -> None:
    frame = Frame(Image.new("RGB", SIZE))
    assert frame.boxes_xyxy.shape == (0, 4)
    assert frame.classes.shape == (0,)
