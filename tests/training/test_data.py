from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekit.datasets.splits import is_calibration, is_evaluation, split_of
from facekit.errors import DataError
from facekit.labels.pts import LEFT_TO_RIGHT_MIRROR, face_box, read_pts
from facekit.labels.voc import read_voc
from tests.training.facesets import OBJECT, VOC, face_points, write_pts, write_sets
from training.data.photos import (
    NO_FACE_FOLDER,
    PORTRAIT_FOLDER,
    load_image,
    no_face_photos,
    pts_photos,
    voc_photos,
)
from training.data.webfaces import read_webfaces


def test_split_follows_the_rule_and_never_overlaps() -> None:
    stems = [f"maksssksksss{k}" for k in range(741)]
    evaluation = {s for s in stems if is_evaluation(s)}
    calibration = {s for s in stems if is_calibration(s)}
    assert not evaluation & calibration
    assert 80 < len(evaluation) < 140
    assert {split_of(s) for s in evaluation} == {"evaluation"}


def test_pts_round_trip(tmp_path: Path) -> None:
    points = face_points((50, 60), 40)
    write_pts(tmp_path / "a.pts", points)
    np.testing.assert_allclose(read_pts(tmp_path / "a.pts"), points, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version: 1\n1 2\n", "no list of points"),
        ("{\n1 2\n3 4\n}", "holds 2 points, expected 68"),
        ("{\n" + "1 x\n" * 68 + "}", "not a number"),
        ("{\n" + "1 nan\n" * 68 + "}", "not finite"),
    ],
)
def test_malformed_pts_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.pts"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        read_pts(path)
    assert str(path) in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_pts, read_voc, load_image, read_webfaces):
        with pytest.raises(DataError, match="gone: no such file"):
            read(tmp_path / "gone")
    with pytest.raises(DataError, match="no such folder"):
        list(no_face_photos(tmp_path, "training"))


def test_face_box_is_raised_by_a_quarter() -> None:
    points = np.array([[10, 40], [30, 80]], dtype=np.float32)
    assert face_box(points).tolist() == [10, 30, 30, 80]


def test_mirror_is_its_own_inverse() -> None:
    mirror = np.array(LEFT_TO_RIGHT_MIRROR)
    assert (mirror[mirror] == np.arange(68)).all()
    assert mirror[36] == 45
    assert mirror[48] == 54


def test_voc_boxes_are_clipped_to_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(VOC.format(w=50, h=40, objects=OBJECT.format(-3, 5, 20, 99, name="with_mask")))
    annotation = read_voc(path)
    assert annotation.boxes.tolist() == [[0, 5, 20, 40]]
    assert annotation.labels == ("with_mask",)


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


def test_sets_are_read_whole(tmp_path: Path) -> None:
    root = write_sets(tmp_path)
    crowd = list(voc_photos(root, "training"))
    assert [len(photo.boxes) for photo in crowd] == [2, 2, 2]
    assert list(voc_photos(root, "evaluation")) == []
    portraits = list(pts_photos(root / PORTRAIT_FOLDER, complete=False))
    assert all(len(photo.points) == 1 and not photo.complete for photo in portraits)
    assert len(list(no_face_photos(root, "training"))) == 3
    held_out = read_webfaces(root / "caltech-webfaces-36px.npz", evaluation=True)
    assert len(held_out) == 2
    next((root / NO_FACE_FOLDER).glob("*.jpg")).write_bytes(b"nothing")
    with pytest.raises(DataError):
        list(no_face_photos(root, "training"))
