"""The two Kaggle sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.datasets.voc_sets import read_mask_detection, read_medical_masks
from facekit.errors import DataError
from facekit.labels.listing import split_of
from tests.datasets.face_sets import Row, voc_text, write_photo, write_voc_set
from tests.datasets.reports import Reports, faces, fail
from tests.datasets.tutorial_sets import SIZE, convert, labels, line


def test_medical_masks(tmp_path: Path) -> None:
    objects = [("mask", (10, 20, 30, 40)), ("none", (50, 0, 60, 9)), ("poor", (1, 1, 5, 5))]
    write_voc_set(tmp_path, "labels", {"b.jpg": objects, "a.png": [("none", (1, 2, 3, 4))]})
    assert faces(read_medical_masks(tmp_path, fail)) == {
        "a": [("No-Mask", (1, 2, 3, 4))],
        "b": [
            ("Mask", (10, 20, 30, 40)),
            ("No-Mask", (50, 0, 60, 9)),
            ("DontCare", (1, 1, 5, 5)),
        ],
    }


def test_mask_detection_is_split_by_name_and_keeps_its_third_class(tmp_path: Path) -> None:
    names = [f"maksssksksss{number}" for number in range(20)]
    box = (10, 20, 30, 40)
    kinds = ("with_mask", "without_mask", "mask_weared_incorrect")
    objects = [(kind, box) for kind in kinds]
    write_voc_set(tmp_path, "annotations", {f"{name}.jpg": objects for name in names})
    test = read_mask_detection(tmp_path, fail, evaluation=True)
    train = read_mask_detection(tmp_path, fail, evaluation=False)
    assert (
        {photo.name for photo in test}
        == {name for name in names if split_of(name) == "evaluation"}
        != set()
    )
    assert sorted(photo.name for photo in [*test, *train]) == sorted(names)
    assert faces(train)[train[0].name] == [
        ("Mask", box),
        ("No-Mask", box),
        ("incorrect-mask", box),
    ]


def test_class_that_a_set_does_not_know_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(f"m{n}" for n in range(20) if split_of(f"m{n}") != "evaluation")
    box = (10, 20, 30, 40)
    objects = [("with_maks", box), ("hat", box), ("without_mask", (50, 0, 60, 9))]
    good = next(f"m{n}" for n in range(20, 40) if split_of(f"m{n}") != "evaluation")
    photos = {f"{name}.jpg": objects, f"{good}.jpg": objects[2:]}
    write_voc_set(tmp_path / "k", "annotations", photos)
    out = tmp_path / "out"
    assert convert(out, "--mask-detection-path", str(tmp_path / "k"), *SIZE) == 1
    file = tmp_path / "k" / "annotations" / f"{name}.xml"
    told = capsys.readouterr().err
    assert f"{file}:4: unknown class with_maks; did you mean with_mask?" in told
    assert f"{file}:8: unknown class hat; known are with_mask, without_mask, mask_weared" in told
    # Without the photo: a face of no label would be trained as background.
    ((frame, lines),) = labels(out / "train").items()
    assert frame.endswith(f"_{good}") and [one.split()[0] for one in lines] == ["No-Mask"]


def test_classes_that_the_medical_set_leaves_out_are_told_from_slips(tmp_path: Path) -> None:
    box = (10, 20, 30, 40)
    objects = [("poor", box), ("maks", box), ("none", box)]
    others = [("poor", box), ("none", box)]
    write_voc_set(tmp_path, "labels", {"a.jpg": objects, "b.jpg": others})
    reports = Reports()
    found = faces(read_medical_masks(tmp_path, reports.append))
    assert found == {"b": [("DontCare", box), ("No-Mask", box)]}
    assert reports.texts(tmp_path) == ["labels/a.xml:8: unknown class maks; did you mean mask?"]


def test_problems_of_voc_files_are_reported_with_their_line(tmp_path: Path) -> None:
    good = [("mask", (10, 20, 30, 40))]
    names = ("damaged", "empty", "good", "missing", "unnamed", "words")
    write_voc_set(tmp_path, "labels", {f"{name}.jpg": good for name in names})
    labels = tmp_path / "labels"
    (labels / "damaged.xml").write_text("<annotation>\n<size>\n</annotation>")
    (labels / "empty.xml").write_text(voc_text([("none", (9, 9, 9, 20)), *good]))
    (labels / "missing.xml").unlink()
    (labels / "orphan.xml").write_text(voc_text(good))
    text = voc_text(good)
    (labels / "unnamed.xml").write_text(text.replace("<name>mask</name>", ""))
    (labels / "words.xml").write_text(text.replace("<xmin>10<", "<xmin>ten<"))
    reports = Reports()
    found = faces(read_medical_masks(tmp_path, reports.append))
    assert found == {name: [("Mask", (10, 20, 30, 40))] for name in ("empty", "good")}
    assert sorted(reports.texts(tmp_path)) == [
        "labels/damaged.xml:3: is not well-formed XML: mismatched tag",
        "labels/empty.xml:4: object 1 has an empty box [9.0, 9.0, 9.0, 20.0]",
        "labels/missing.xml: no such file",
        f"labels/orphan.xml: no photo orphan.* in {tmp_path / 'images'}".replace(
            f"{tmp_path}/", ""
        ),
        "labels/unnamed.xml:4: <object> has no <name>",
        "labels/words.xml:6: <bndbox/xmin> is not a number: 'ten'",
    ]


def test_mask_detection_reports_only_photos_of_its_part(tmp_path: Path) -> None:
    names = [f"maksssksksss{number}" for number in range(20)]
    write_voc_set(
        tmp_path, "annotations", {f"{n}.jpg": [("with_mask", (1, 1, 9, 9))] for n in names}
    )
    for name in names:
        (tmp_path / "annotations" / f"{name}.xml").unlink()
    (tmp_path / "annotations" / "other.xml").write_text(voc_text([]))
    reports = Reports()
    assert read_mask_detection(tmp_path, reports.append, evaluation=True) == []
    missing = {error.path.stem for error in reports} - {"other"}
    assert missing == {name for name in names if split_of(name) == "evaluation"}


def test_a_photo_without_objects_is_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [("poor", (1, 1, 5, 5))]
    names: dict[str, list[tuple[str, Row]]] = {"bare.jpg": [], "others.jpg": others}
    write_voc_set(tmp_path / "k", "labels", {**names, "face.jpg": [("mask", (10, 20, 30, 40))]})
    # All that it lists is unusable, so there may be faces in it.
    text = voc_text([("none", (9, 9, 9, 20))])
    write_photo(tmp_path / "k" / "images" / "broken.jpg")
    (tmp_path / "k" / "labels" / "broken.xml").write_text(text)
    assert convert(tmp_path / "out", "--kaggle-dataset-path", str(tmp_path / "k"), *SIZE) == 1
    found = labels(tmp_path / "out" / "train")
    assert found == {"kaggle_bare": [], "kaggle_face": [line("Mask", 20, 80, 60, 160)]}
    assert (
        "kaggle: 2 photos written, 1 of them without a face, 1 left out by the set's rules, "
        "1 left out that can't be used"
    ) in capsys.readouterr().err


def test_labels_of_two_photos_are_of_neither(tmp_path: Path) -> None:
    good = [("mask", (10, 20, 30, 40))]
    write_voc_set(tmp_path, "labels", {"a.jpg": good, "x.jpg": good, "x.png": good})
    reports = Reports()
    assert list(faces(read_medical_masks(tmp_path, reports.append))) == ["a"]
    assert reports.texts(tmp_path) == [
        "labels/x.xml: may be of x.jpg and x.png: remove or rename all but one"
    ]


def test_a_set_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    write_voc_set(tmp_path, "labels", {"a.jpg": []})
    (tmp_path / "labels" / "a.xml").unlink()
    with pytest.raises(DataError, match=r"labels: contains no .xml"):
        read_medical_masks(tmp_path, fail)
    (tmp_path / "labels").rmdir()
    (tmp_path / "labels").write_text("")
    with pytest.raises(DataError, match="labels: is not a folder"):
        read_medical_masks(tmp_path, fail)
