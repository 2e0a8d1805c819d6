from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from facekit.errors import DataError
from facekit.labels.folder import select
from facekit.labels.listing import split_of
from facekit.labels.photo_labels import PhotoLabels


def labels(name: str) -> PhotoLabels:
    return PhotoLabels(
        Path("photos") / name,
        None,
        np.zeros((0, 4), np.float32),
        (),
        np.zeros(0, bool),
        (),
        Path("labels") / f"{Path(name).stem}.xml",
    )


def names(photos: list[PhotoLabels]) -> list[str]:
    return [photo.photo.name for photo in photos if photo.photo is not None]


def test_nothing_is_selected_from_nothing() -> None:
    for split in (None, "evaluation"):
        selection = select([], split=split)
        assert selection.labels == [] and selection.errors == []


def test_all_is_selected_where_nothing_is_asked_for() -> None:
    wrong = DataError(Path("labels/b.xml"), "is broken")
    selection = select([labels("a.jpg"), wrong])
    assert names(selection.labels) == ["a.jpg"]
    assert selection.errors == [wrong]


def test_a_split_goes_by_the_photos_name() -> None:
    stems = [f"photo{number}" for number in range(60)]
    numbers = {stem: int(hashlib.sha1(stem.encode()).hexdigest(), 16) for stem in stems}
    wanted = {
        "evaluation": [f"{stem}.jpg" for stem in stems if numbers[stem] % 7 == 0],
        "calibration": [f"{stem}.jpg" for stem in stems if numbers[stem] % 14 == 1],
    }
    for split, expected in wanted.items():
        selection = select([labels(f"{stem}.jpg") for stem in stems], split=split)
        assert names(selection.labels) == expected
        assert expected


def test_errors_of_photos_that_are_not_asked_for_are_none(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a\n")
    found = [
        labels("a.jpg"),
        labels("b.jpg"),
        DataError(Path("labels/c.xml"), "is broken"),
        DataError(Path("labels/a_1.pts"), "is broken"),
    ]
    selection = select(found, list_file=path)
    assert names(selection.labels) == ["a.jpg"]
    assert [error.path.name for error in selection.errors] == ["a_1.pts"]


@pytest.mark.parametrize(
    ("broken", "listed", "told"),
    [
        # Face 1 of a, or the photo a_1.
        ("a_1.pts", "a", True),
        ("a_1.pts", "a_1", True),
        # Other labels are of the photo with their own name.
        ("a_1.xml", "a", False),
        ("a_1.xml", "a_1", True),
        ("a_1.txt", "a", False),
        # No photo has an empty name.
        ("_1.pts", "a", False),
    ],
)
def test_only_points_are_of_a_photo_with_a_shorter_name(
    tmp_path: Path, broken: str, listed: str, told: bool
) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{listed}\n")
    wrong = DataError(Path("labels") / broken, "is broken")
    selection = select([labels("b.jpg"), wrong], list_file=path)
    missing = f"{path}:1: no labels of a photo {listed}"
    assert [str(error) for error in selection.errors] == [str(wrong) if told else missing]


def test_an_empty_name_is_of_no_split() -> None:
    stem = next(f"_{k}" for k in range(99) if split_of(f"_{k}") != split_of(""))
    wrong = DataError(Path(f"labels/{stem}.pts"), "is broken")
    splits = ("evaluation", "calibration", "training")
    told = [split for split in splits if select([wrong], split=split).errors]
    assert told == [split_of(stem)]


def test_photos_without_labels_are_those_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a\nb\n")
    without = [Path("b.jpg"), Path("c.jpg")]
    assert select([labels("a.jpg")], without).unlabeled == without
    assert select([labels("a.jpg")], without, list_file=path).unlabeled == without[:1]


def test_a_listed_photo_whose_labels_are_broken_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("b\n")
    wrong = DataError(Path("labels/b.xml"), "is broken")
    assert select([wrong], list_file=path).errors == [wrong]


def test_an_error_of_a_whole_file_is_one_of_every_selection(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a\n")
    wrong = DataError(Path("all.json"), "annotation 7 of b.jpg has an empty box")
    selection = select([labels("a.jpg"), wrong], list_file=path)
    assert selection.errors == [wrong]


def test_a_list_names_photos_as_people_do(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# of the first day\n\na\n some/where/b.JPG \nc.d\ne.xml\na\nmissing.png\n")
    found = [labels(name) for name in ("a.jpg", "b.jpg", "c.d.jpg", "e.png", "f.jpg")]
    selection = select(found, list_file=path)
    assert names(selection.labels) == ["a.jpg", "b.jpg", "c.d.jpg", "e.png"]
    assert [str(error) for error in selection.errors] == [f"{path}:8: no labels of a photo missing"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "does not name a photo"),
        (b"# a\n\n", "does not name a photo"),
        (b"\xff\n", "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        select([labels("a.jpg")], list_file=path)
