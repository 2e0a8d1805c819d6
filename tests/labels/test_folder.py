"""Labels of a folder of any format, with their photos."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.errors import DataError
from facekit.labels.folder import find_labels
from facekit.labels.photo_labels import PhotoLabels
from tests.datasets.face_sets import voc_text

ROW = "Mask 0 0 0 10 20 30 40 0 0 0 0 0 0 0\n"


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def usable(path: Path, photos: Path | None = None) -> list[PhotoLabels]:
    found = find_labels(path, photos)
    assert not [entry for entry in found if isinstance(entry, DataError)]
    return [entry for entry in found if isinstance(entry, PhotoLabels)]


def test_kitti_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        touch(tmp_path / "labels" / f"{name}.txt", ROW)
        touch(tmp_path / "images" / f"{name}.jpg")
    touch(tmp_path / "sources.json", "{}")
    for path in (tmp_path, tmp_path / "labels"):
        found = usable(path)
        assert [entry.photo for entry in found] == [
            tmp_path / "images" / "a.jpg",
            tmp_path / "images" / "b.jpg",
        ]
    (one,) = usable(tmp_path / "labels" / "b.txt")
    assert one.photo == tmp_path / "images" / "b.jpg" and one.class_names == ("Mask",)


def test_voc_folder(tmp_path: Path) -> None:
    touch(tmp_path / "annotations" / "a.xml", voc_text([("with_mask", (1, 2, 3, 4))]))
    touch(tmp_path / "images" / "a.PNG")
    (found,) = usable(tmp_path)
    assert found.photo == tmp_path / "images" / "a.PNG" and found.size_wh == (200, 100)
    assert found.class_names == ("with_mask",)
    np.testing.assert_array_equal(found.boxes_xyxy, [[1, 2, 3, 4]])


def test_labels_beside_their_photos_and_a_readme(tmp_path: Path) -> None:
    touch(tmp_path / "a.xml", voc_text([]))
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "readme.txt", "one set of photos")
    assert [entry.photo for entry in usable(tmp_path)] == [tmp_path / "a.jpg"]


def test_coco_file(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}],
        "categories": [],
        "annotations": [],
    }
    path = touch(tmp_path / "annotations" / "faces.json", json.dumps(data))
    touch(tmp_path / "images" / "a.jpg")
    for place in (path, tmp_path):
        first, second = find_labels(place)
        assert isinstance(first, PhotoLabels) and first.photo == tmp_path / "images" / "a.jpg"
        assert str(second).startswith(f"{path}: no photo gone.jpg in ")


def pts_text(points: list[str], count: int) -> str:
    lines = "\n".join(points + ["5 5"] * (count - len(points)))
    return f"version: 1\nn_points: {count}\n{{\n{lines}\n}}\n"


def test_points_of_several_faces(tmp_path: Path) -> None:
    touch(tmp_path / "a_1.jpg")
    touch(tmp_path / "b.jpg")
    touch(tmp_path / "c.jpg")
    touch(tmp_path / "a_1_1.pts", pts_text(["0 0", "10 20"], 68))
    touch(tmp_path / "a_1_2.pts", pts_text(["0 4", "10 24"], 68))
    touch(tmp_path / "b.pts", pts_text(["0 0", "10 20", "-1 -1"], 80))
    touch(tmp_path / "d_1.pts", pts_text([], 68))
    touch(tmp_path / "c_1.pts", "{}")
    first, second, bad, lost = find_labels(tmp_path)
    assert isinstance(first, PhotoLabels) and isinstance(second, PhotoLabels)
    assert (first.photo, second.photo) == (tmp_path / "a_1.jpg", tmp_path / "b.jpg")
    np.testing.assert_array_equal(first.boxes_xyxy, [[0, -5, 10, 20], [0, -1, 10, 24]])
    assert first.class_names == ("face", "face") and not first.ignored.any()
    shapes = [None if points is None else points.shape for points in first.points_xy]
    assert shapes == [(68, 2), (68, 2)]
    (points,) = second.points_xy
    assert points is not None and points.shape == (80, 2)
    assert np.isnan(points[2]).all() and np.isfinite(np.delete(points, 2, axis=0)).all()
    assert isinstance(bad, DataError) and bad.path == tmp_path / "c_1.pts"
    assert isinstance(lost, DataError) and "no photo d" in str(lost)


def test_photos_that_lie_elsewhere(tmp_path: Path) -> None:
    touch(tmp_path / "labels" / "a.txt", ROW)
    photo = touch(tmp_path / "elsewhere" / "a.jpeg")
    assert [entry.photo for entry in usable(tmp_path / "labels", photo.parent)] == [photo]
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_labels(tmp_path, tmp_path / "nowhere")


def test_one_bad_file_does_not_spoil_the_others(tmp_path: Path) -> None:
    for name in ("bad", "good", "lost"):
        touch(tmp_path / "labels" / f"{name}.txt", ROW)
        touch(tmp_path / "images" / f"{name}.jpg")
    touch(tmp_path / "labels" / "bad.txt", ROW + "Mask\n")
    (tmp_path / "images" / "lost.jpg").unlink()
    bad, good, lost = find_labels(tmp_path)
    assert isinstance(good, PhotoLabels)
    assert str(bad).startswith(f"{tmp_path / 'labels' / 'bad.txt'}:2: 1 fields")
    assert str(lost).startswith(f"{tmp_path / 'labels' / 'lost.txt'}: no photo lost.* in ")


def test_what_holds_no_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: no such file or folder"):
        find_labels(tmp_path / "gone")
    with pytest.raises(DataError, match=r"a.jpg: is not a label file"):
        find_labels(touch(tmp_path / "a.jpg"))
    with pytest.raises(DataError, match=r"contains no labels \(.xml"):
        find_labels(tmp_path)
    touch(tmp_path / "a.xml", voc_text([]))
    touch(tmp_path / "a_1.pts")
    with pytest.raises(DataError, match=r"several formats: a.xml, a_1.pts"):
        find_labels(tmp_path)


@pytest.mark.parametrize(
    "points",
    [
        # One point, two side by side, and pupils alone, which no face box goes by.
        ["3 4"] + ["-1 -1"] * 67,
        ["3 4", "9 4"] + ["-1 -1"] * 66,
        ["-1 -1"] * 68 + ["3 4"] * 8 + ["-1 -1"] * 4,
    ],
)
def test_points_that_span_no_face_box_are_refused(tmp_path: Path, points: list[str]) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "b.jpg")
    touch(tmp_path / "a_1.pts", pts_text(["0 0", "10 20"], 68))
    touch(tmp_path / "a_2.pts", pts_text(points, len(points)))
    touch(tmp_path / "b_1.pts", pts_text(["0 0", "10 20"], 68))
    wrong, good = find_labels(tmp_path)
    assert isinstance(good, PhotoLabels) and np.isfinite(good.boxes_xyxy).all()
    path = tmp_path / "a_2.pts"
    assert str(wrong) == f"{path}: the annotated points span no face box"


@pytest.mark.parametrize("suffix", [".xml", ".txt", ".pts"])
def test_a_label_that_may_be_of_two_photos(tmp_path: Path, suffix: str) -> None:
    for photo in (tmp_path / "a.jpg", tmp_path / "images" / "a.png"):
        touch(photo)
    text = {".xml": voc_text([]), ".txt": ROW, ".pts": pts_text(["0 0", "9 9"], 68)}[suffix]
    touch(tmp_path / f"a{suffix}", text)
    (wrong,) = find_labels(tmp_path)
    assert str(wrong) == (
        f"{tmp_path}/a{suffix}: may be of any of 2 photos: "
        f"{tmp_path}/a.jpg, {tmp_path}/images/a.png"
    )


def test_voc_says_which_photo_is_meant(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "a.png")
    root = "<annotation>"
    for name, expected in (("a.png", "a.png"), ("folder/a.jpg", "a.jpg"), ("a.bmp", None)):
        text = voc_text([]).replace(root, f"{root}<filename>{name}</filename>", 1)
        touch(tmp_path / "a.xml", text)
        (found,) = find_labels(tmp_path)
        if expected is None:
            assert "may be of any of 2 photos" in str(found)
        else:
            assert isinstance(found, PhotoLabels) and found.photo == tmp_path / expected
    # A single photo is the one, whatever it was called when it was labeled.
    (tmp_path / "a.png").unlink()
    assert [entry.photo for entry in usable(tmp_path)] == [tmp_path / "a.jpg"]


def test_photos_without_labels_are_told(tmp_path: Path) -> None:
    def told(path: Path) -> list[str]:
        names: list[Path] = []
        find_labels(path, None, names.append)
        return [photo.name for photo in names]

    for name in ("a", "b", "c", "broken"):
        touch(tmp_path / "images" / f"{name}.jpg")
    touch(tmp_path / "labels" / "a.txt", ROW)
    touch(tmp_path / "labels" / "broken.txt", "Mask\n")
    touch(tmp_path / "labels" / "gone.txt", ROW)
    assert told(tmp_path) == ["b.jpg", "c.jpg"]
    assert told(tmp_path / "labels" / "a.txt") == []
    (tmp_path / "labels" / "a.txt").rename(tmp_path / "labels" / "a.pts")
    touch(tmp_path / "labels" / "a.pts", pts_text(["0 0", "9 9"], 68))
    touch(tmp_path / "labels" / "b_1.pts", "{}")
    touch(tmp_path / "labels" / "b_2.pts", pts_text(["0 0", "9 9"], 68))
    assert told(tmp_path) == ["broken.jpg", "c.jpg"]
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub/b.jpg"}, {"id": 3}]
    data = {"images": images, "categories": [], "annotations": [{"image_id": 1, "bbox": 5}]}
    path = touch(tmp_path / "faces.json", json.dumps(data))
    assert told(path) == ["broken.jpg", "c.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.txt", ROW)
    closed = tmp_path / "images"
    closed.mkdir()
    listed = Path.iterdir

    def refuse(self: Path) -> Any:
        if self == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return listed(self)

    # The tests may run as root, whom no folder is closed to.
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="images: cannot be listed: Permission denied"):
        find_labels(tmp_path)
    closed.rename(tmp_path / "labels")
    closed = tmp_path / "labels"
    with pytest.raises(DataError, match="labels: cannot be listed: Permission denied"):
        find_labels(tmp_path)
