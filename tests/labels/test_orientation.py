"""Labels turned upright, held against the pixels that Pillow turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.errors import DataError
from facekit.labels.photo_labels import PhotoLabels, stored_view, upright_labels
from facekit.photos.header import upright_boxes, upright_points, upright_size
from tests.photo_files import oriented_jpeg, stored

SIZE_WH = (40, 30)
UPRIGHT_BOX = (5, 8, 17, 14)


def stored_box(orientation: int) -> tuple[tuple[int, int], np.ndarray]:
    """The stored size, and the box of what is white there."""
    pixels = np.zeros((SIZE_WH[1], SIZE_WH[0]), np.uint8)
    x1, y1, x2, y2 = UPRIGHT_BOX
    pixels[y1:y2, x1:x2] = 255
    image = stored(Image.fromarray(pixels), orientation)
    box = image.getbbox()
    assert box is not None
    return image.size, np.array([box], np.float32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_points_follow_the_pixels(orientation: int) -> None:
    size_wh, boxes = stored_box(orientation)
    assert upright_size(size_wh, orientation) == SIZE_WH
    turned = upright_boxes(boxes, size_wh, orientation)
    assert turned.dtype == np.float32
    np.testing.assert_array_equal(turned, [UPRIGHT_BOX])
    points = np.array([[boxes[0, :2], boxes[0, 2:]], [[np.nan, np.nan]] * 2], np.float32)
    found = upright_points(points, size_wh, orientation)
    assert found.shape == points.shape and np.isnan(found[1]).all()
    assert sorted(found[0, :, 0]) == [5, 17] and sorted(found[0, :, 1]) == [8, 14]
    assert upright_boxes(np.zeros((0, 4), np.float32), size_wh, orientation).shape == (0, 4)


def labels_of(boxes: np.ndarray, size_wh: tuple[int, int] | None) -> PhotoLabels:
    points = boxes.reshape(2, 2)
    return PhotoLabels(
        Path("x.jpg"), size_wh, boxes, ("a",), np.zeros(1, bool), (points,), Path("x.xml")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_are_of_the_stored_pixels_unless_their_size_says_otherwise(orientation: int) -> None:
    size_wh, boxes = stored_box(orientation)
    for told in (None, size_wh):
        found = upright_labels(labels_of(boxes, told), size_wh, orientation)
        np.testing.assert_array_equal(found.boxes_xyxy, [UPRIGHT_BOX])
        assert found.size_wh == (None if told is None else SIZE_WH)
        points = found.points_xy[0]
        assert points is not None
        np.testing.assert_array_equal(points.min(axis=0), UPRIGHT_BOX[:2])
        assert replace(found, boxes_xyxy=boxes).class_names == ("a",)
    # Made on the upright picture, or of another photo altogether: left alone.
    for told in ([SIZE_WH] if orientation >= 5 else []) + [(7, 7)]:
        labels = labels_of(boxes, told)
        assert upright_labels(labels, size_wh, orientation) is labels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_says_how_it_is_stored(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "x.jpg"
    upright = Image.new("RGB", SIZE_WH, "white")
    path.write_bytes(oriented_jpeg(upright, orientation))
    expected = stored(upright, orientation).size
    assert stored_view(path) == (expected, orientation)


def test_photos_that_cannot_be_looked_at_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x.jpg: no such file"):
        stored_view(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_text("no photo")
    with pytest.raises(
        DataError, match=r"x.jpg: cannot be decoded: not a photo of an accepted kind"
    ):
        stored_view(tmp_path / "x.jpg")
