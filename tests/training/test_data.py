from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.errors import DataError
from facekit.labels.listing import split_of
from facekit.labels.pts import read_pts
from facekit.labels.voc import read_voc
from tests.training.facesets import OBJECT, VOC, face_points, write_pts, write_sets
from training.facenet.photos import labeled_photos
from training.facesets import (
    PORTRAIT_FOLDER,
    WEBFACE_FILE,
    load_image,
    pts_photos,
    read_webfaces,
)


def test_split_follows_the_rule_and_never_overlaps() -> None:
    stems = [f"maksssksksss{k}" for k in range(741)]
    evaluation = {s for s in stems if split_of(s) == "evaluation"}
    calibration = {s for s in stems if split_of(s) == "calibration"}
    assert not evaluation & calibration
    assert 80 < len(evaluation) < 140
    assert {split_of(s) for s in evaluation} == {"evaluation"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_pts, read_voc, load_image, read_webfaces):
        with pytest.raises(DataError, match="gone: no such file"):
            read(tmp_path / "gone")


def test_voc_boxes_are_clipped_to_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(VOC.format(w=50, h=40, objects=OBJECT.format(-3, 5, 20, 99, name="with_mask")))
    annotation = read_voc(path)
    assert annotation.boxes_xyxy.tolist() == [[0, 5, 20, 40]]
    assert annotation.class_names == ("with_mask",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation>", "not well-formed"),
        ("<annotation></annotation>", "no <size/width>"),
        (VOC.format(w="x", h=4, objects=""), "not a number"),
        (VOC.format(w=9, h=9, objects=OBJECT.format(1, 1, 5, 5, name="cat")), "unknown class"),
        (VOC.format(w=9, h=9, objects=OBJECT.format(5, 1, 5, 5, name="with_mask")), "empty box"),
    ],
)
def test_malformed_voc_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        read_voc(path)
    assert str(path) in str(caught.value)


def test_damaged_photos_and_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(b"\xff\xd8\xff not a photo")
    with pytest.raises(DataError, match="cannot be decoded"):
        load_image(path)
    archive = tmp_path / "bad.npz"
    archive.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="cannot be read"):
        read_webfaces(archive)
    np.savez(archive, faces=np.zeros((2, 30, 30), np.uint8))
    with pytest.raises(DataError, match="not uint8"):
        read_webfaces(archive)
    np.savez(archive, other=np.zeros(1))
    with pytest.raises(DataError, match="no array named 'faces'"):
        read_webfaces(archive)


def sideways(path: Path, image: Image.Image) -> None:
    """Store an upright picture turned, as phones do, with the orientation that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path.parent.mkdir(parents=True, exist_ok=True)
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def with_square(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGB", size_wh)
    image.paste((255, 255, 255), box)
    return image


def bright_box(image: Image.Image) -> list[int]:
    rows, columns = np.nonzero(np.asarray(image.convert("L")) > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("labeled_stored", [True, False])
def test_photos_are_turned_upright_with_their_boxes(tmp_path: Path, labeled_stored: bool) -> None:
    stem = next(s for k in range(99) if split_of(s := f"maksssksksss{k}") == "training")
    folder = tmp_path / "face-mask-detection"
    box = (8, 16, 24, 40)
    sideways(folder / f"images/{stem}.jpg", with_square((96, 64), box))
    # The stored pixels are 64 wide and 96 high: x is what y was, y counts from the right.
    size, labeled = ((64, 96), (16, 72, 40, 88)) if labeled_stored else ((96, 64), box)
    (folder / "annotations").mkdir()
    objects = OBJECT.format(*labeled, name="with_mask")
    text = VOC.format(w=size[0], h=size[1], objects=objects)
    (folder / f"annotations/{stem}.xml").write_text(text)
    ((photo, labels),) = labeled_photos(folder)
    image = load_image(photo)
    assert image.size == (96, 64)
    assert bright_box(image) == list(box)
    assert labels.boxes_xyxy.tolist() == [list(box)]


def test_portraits_are_turned_upright_with_their_points(tmp_path: Path) -> None:
    points = face_points((60, 75), 60)
    for name, turned in (("plain", False), ("turned", True)):
        image = with_square((120, 150), (10, 20, 40, 70))
        if turned:
            sideways(tmp_path / f"{name}.jpg", image)
            # Upright (x, y) lies at (y, width - x) of the pixels that are stored; a .pts file's
            # own origin is the center of the first pixel.
            stored = np.stack([points[:, 1], 120 - points[:, 0]], axis=1)
        else:
            image.save(tmp_path / f"{name}.jpg", quality=95)
            stored = points
        write_pts(tmp_path / f"{name}_1.pts", stored.astype(np.float32))
    plain, turned_photo = pts_photos(tmp_path, complete=True)
    assert plain.image.size == turned_photo.image.size
    assert bright_box(plain.image) == bright_box(turned_photo.image)
    np.testing.assert_allclose(turned_photo.points[0], plain.points[0], atol=0.01)
    np.testing.assert_allclose(turned_photo.boxes, plain.boxes, atol=0.01)


def test_a_photo_of_too_many_pixels_is_named(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
    )
    with pytest.raises(DataError, match=r"huge\.png: cannot be decoded: .*pixels"):
        load_image(path)


def test_portraits_are_read_whole(tmp_path: Path) -> None:
    root = write_sets(tmp_path)
    portraits = list(pts_photos(root / PORTRAIT_FOLDER, complete=False))
    assert len(portraits) == 3
    assert all(len(photo.points) == 1 and not photo.complete for photo in portraits)
    assert read_webfaces(root / WEBFACE_FILE).shape == (14, 36, 36)


def test_what_is_wrong_with_a_portrait_is_reported_and_it_is_left_out(tmp_path: Path) -> None:
    folder = write_sets(tmp_path, count=5) / PORTRAIT_FOLDER
    whole, cut, damaged, few, part = sorted(folder.glob("*.jpg"))
    cut.with_name(f"{cut.stem}_1.pts").write_text("{ 1 2 }")
    damaged.write_bytes(b"nothing")
    for photo, absent in ((few, range(40)), (part, range(17))):
        points = face_points((60, 75), 60)
        points[list(absent)] = -1
        write_pts(photo.with_name(f"{photo.stem}_1.pts"), points)
    wrong: list[DataError] = []
    photos = list(pts_photos(folder, complete=True, point_count=80, report=wrong.append))
    assert [photo.name for photo in photos] == [whole.stem, part.stem]
    assert [error.path.name for error in wrong] == [
        f"{cut.stem}_1.pts",
        damaged.name,
        f"{few.stem}_1.pts",
    ]
    assert "a face has 41% of the 68 points" in str(wrong[2])
    gone = np.flatnonzero(np.isnan(photos[1].points[0]).any(axis=1))
    assert gone.tolist() == [*range(17), *range(68, 80)]
    assert np.isfinite(photos[1].boxes).all()
    # Of two faces in a photo, the one that is annotated well enough stays.
    write_pts(few.with_name(f"{few.stem}_2.pts"), face_points((60, 75), 50))
    photos = list(pts_photos(folder, complete=True, report=wrong.append))
    assert [len(photo.points) for photo in photos] == [1, 1, 1]
    np.testing.assert_allclose(np.ptp(photos[1].points[0][:, 0]), 50, atol=0.1)
    few.with_name(f"{few.stem}_2.pts").unlink()
    with pytest.raises(DataError):
        list(pts_photos(folder, complete=True))
    for path in (cut, damaged, few):
        path.unlink()
        path.with_name(f"{path.stem}_1.pts").unlink()
    # The recipe that needs every point refuses a face that lacks some.
    with pytest.raises(DataError, match="needed 100%"):
        list(pts_photos(folder, complete=True))
