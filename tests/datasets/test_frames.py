"""One photo made into a frame: orientation, edges, rounding, resampling."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.datasets.convert import Converted, convert_photo
from facekit.datasets.source import Box, SourceFace, SourcePhoto
from tests.photo_files import exif, stored

UPRIGHT_WH = (60, 40)
UPRIGHT_BOX = (10, 5, 35, 21)
FRAME_WH = (180, 120)
FRAME_BOX = (30, 15, 105, 63)


def rows(converted: Converted) -> list[tuple[str, Box]]:
    found: list[tuple[str, Box]] = []
    for line in converted.labels.splitlines():
        fields = line.split()
        x1, y1, x2, y2 = (float(value) for value in fields[4:8])
        found.append((fields[0], (x1, y1, x2, y2)))
    return found


def frame_of(converted: Converted) -> Image.Image:
    assert converted.jpeg is not None
    return Image.open(io.BytesIO(converted.jpeg))


def photo_of(path: Path, *boxes: Box, class_name: str = "Mask", **about: object) -> SourcePhoto:
    faces = tuple(SourceFace(box, class_name, 7) for box in boxes)
    return SourcePhoto("x", path, Path("labels.mat"), faces, **about)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", ["nothing", "stored", "upright"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_and_boxes_are_upright(tmp_path: Path, orientation: int, told: str) -> None:
    pixels = np.zeros((UPRIGHT_WH[1], UPRIGHT_WH[0], 3), np.uint8)
    x1, y1, x2, y2 = UPRIGHT_BOX
    pixels[y1:y2, x1:x2] = 255
    kept = stored(Image.fromarray(pixels), orientation)
    path = tmp_path / "x.png"
    kept.save(path, exif=exif(orientation))
    box = kept.convert("L").getbbox()
    size_wh = None
    if told == "stored":
        size_wh = kept.size
    if told == "upright":
        size_wh = UPRIGHT_WH
        if kept.size != UPRIGHT_WH:  # else no size can tell
            box = UPRIGHT_BOX
    assert box is not None
    source = photo_of(path, (box[0], box[1], box[2], box[3]), size_wh=size_wh)
    converted = convert_photo(source, FRAME_WH, dont_care=False)
    assert rows(converted) == [("Mask", FRAME_BOX)]
    frame = frame_of(converted)
    assert frame.size == FRAME_WH and frame.getexif().get(0x0112, 1) == 1
    white = frame.convert("L").point(lambda value: 255 * (value > 128)).getbbox()
    assert white is not None
    np.testing.assert_allclose(white, FRAME_BOX, atol=1)


def test_a_size_that_fits_neither_view_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    stored(Image.new("RGB", (60, 40)), 6).save(path, exif=exif(6))
    converted = convert_photo(photo_of(path, (1, 1, 9, 9), size_wh=(60, 41)), FRAME_WH, False)
    (problem,) = converted.problems
    assert str(problem) == f"{path}: is 40 x 60, labels.mat says 60 x 41"


def test_boxes_at_the_edges(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (100, 50)).save(path)
    outside = [(-9, 5, 0, 9), (5, -9, 9, 0), (100, 5, 109, 9), (5, 50, 9, 59)]
    across = [(-9, 5, 1, 9), (5, -9, 9, 1), (99, 5, 109, 9), (5, 49, 9, 59)]
    converted = convert_photo(photo_of(path, *outside, *across), (100, 50), dont_care=False)
    assert [box for _, box in rows(converted)] == [
        (0, 5, 1, 9),
        (5, 0, 9, 1),
        (99, 5, 100, 9),
        (5, 49, 9, 50),
    ]
    assert [str(problem) for problem in converted.problems] == [
        f"labels.mat:7: a box outside the photo of 100 x 50: {', '.join(map(str, box))}"
        for box in outside
    ]
    assert converted.counts == {"Mask": 4}


def test_boxes_without_area_once_they_are_rounded(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (4000, 50)).save(path)
    thin, good = (10.0, 5.0, 10.1, 9.0), (20.0, 5.0, 30.0, 9.0)
    source = photo_of(path, thin, good, unlabeled_xyxy=((40, 5, 40.1, 9), (50, 5, 60, 9)))
    converted = convert_photo(source, (100, 50), dont_care=False)
    assert rows(converted) == [("Mask", (0.5, 5, 0.75, 9)), ("DontCare", (1.25, 5, 1.5, 9))]
    (problem,) = converted.problems
    assert str(problem) == (
        "labels.mat:7: a box without area in a frame of 100 x 50: 10, 5, 10.1, 9"
    )
    assert converted.counts == {"Mask": 1}
    # Faces that the rules leave out are no loss.
    source = SourcePhoto("x", path, path, (SourceFace(thin, "DontCare"), SourceFace(good, "Mask")))
    converted = convert_photo(source, (100, 50), dont_care=True)
    assert (len(rows(converted)), converted.problems) == (1, ())
    # Without its only face a photo is not written.
    converted = convert_photo(photo_of(path, thin), (100, 50), dont_care=False)
    assert converted.jpeg is None and len(converted.problems) == 1 and not converted.left_out


def test_frames_are_resampled_bicubically(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    rng = np.random.default_rng(0)
    photo = Image.fromarray(np.repeat(rng.integers(0, 256, (24, 24, 1), np.uint8), 3, axis=2))
    photo.save(path)
    frame = frame_of(convert_photo(photo_of(path, (1, 1, 9, 9)), (96, 96), dont_care=False))
    pixels = np.asarray(frame).astype(float)
    distance = {
        filter_: np.abs(np.asarray(photo.resize((96, 96), filter_)).astype(float) - pixels).mean()
        for filter_ in Image.Resampling
    }
    assert min(distance, key=lambda filter_: distance[filter_]) == Image.Resampling.BICUBIC


@pytest.mark.parametrize(("size_wh", "taken"), [((50, 50), True), ((50, 51), False)])
def test_a_square_photo_is_not_higher_than_wide(
    tmp_path: Path, size_wh: tuple[int, int], taken: bool
) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", size_wh).save(path)
    converted = convert_photo(photo_of(path, (1, 1, 9, 9), wide_only=True), (50, 50), False)
    assert (converted.jpeg is not None) == taken and converted.left_out == (not taken)
