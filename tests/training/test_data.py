from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekit.datasets.splits import is_calibration, is_evaluation, split_of
from facekit.errors import DataError
from facekit.labels.pts import read_pts
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


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_pts, read_voc, load_image, read_webfaces):
        with pytest.raises(DataError, match="gone: no such file"):
            read(tmp_path / "gone")
    with pytest.raises(DataError, match="no such folder"):
        list(no_face_photos(tmp_path, "training"))


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
    assert [photo.name for photo in portraits] == sorted(photo.name for photo in crowd)
    assert len(list(no_face_photos(root, "training"))) == 3
    held_out = read_webfaces(root / "caltech-webfaces-36px.npz", evaluation=True)
    assert len(held_out) == 2
    next((root / NO_FACE_FOLDER).glob("*.jpg")).write_bytes(b"nothing")
    with pytest.raises(DataError):
        list(no_face_photos(root, "training"))


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
