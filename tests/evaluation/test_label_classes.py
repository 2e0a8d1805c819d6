from __future__ import annotations

import re
from pathlib import Path

import pytest

from facekit.errors import ConfigError
from facekit.evaluation.label_classes import ClassMap, parse_class_map

MODEL = ("mask", "no-mask")


@pytest.mark.parametrize(
    ("given", "names", "faces", "labels"),
    [
        ({}, [], [], []),
        ({}, ["mask", "no-mask"], [0, 0], [0, 1]),
        ({}, ["Mask", "No-Mask", "NO_MASK", "no mask"], [0] * 4, [0, 1, 1, 1]),
        # Kaggle's two sets.
        ({}, ["with_mask", "without_mask", "mask_weared_incorrect"], [0, 0, 0], [0, 1, -1]),
        ({}, ["mask", "none"], [0, 0], [0, 1]),
        # A face of which no more is known, one that is worn wrongly, and KITTI's regions.
        ({}, ["face", "incorrect-mask", "DontCare"], [0, 0, -1], [-1, -1, -1]),
        # What is said goes before what is known.
        ({"mask": "no-mask", "face": "mask"}, ["mask", "face", "none"], [0, 0, 0], [1, 0, 1]),
        ({"incorrect_mask": ""}, ["incorrect-mask", "mask"], [-1, 0], [-1, 0]),
        ({"person": "face", "car": ""}, ["person", "car"], [0, -1], [-1, -1]),
        ({"DontCare": "mask"}, ["DontCare"], [0], [0]),
    ],
)
def test_labels_of_names(
    given: dict[str, str], names: list[str], faces: list[int], labels: list[int]
) -> None:
    classes = ClassMap(given)
    assert classes.faces(names).tolist() == faces
    assert classes.labels(names, MODEL).tolist() == labels


@pytest.mark.parametrize(
    ("given", "names", "classes", "unclear"),
    [
        ({}, [], MODEL, None),
        ({}, [], ("face",), None),
        ({}, ["face", "mask", "none", "incorrect-mask", "DontCare"], ("face",), None),
        ({}, ["face", "mask", "none", "incorrect-mask", "DontCare"], MODEL, None),
        ({}, ["person", "mask", "car"], ("face",), "car, person"),
        ({}, ["person"], MODEL, "person"),
        # A model may have any classes, and a label of one of them is clear.
        ({}, ["person", "bag"], ("person", "bag", "face"), None),
        ({}, ["mask"], ("person", "bag", "face"), "mask"),
        ({"person": "face", "car": ""}, ["person", "car"], ("face",), None),
        ({"person": "mask"}, ["person"], ("face",), None),
        ({"person": "mask"}, ["person"], MODEL, None),
    ],
)
def test_names_that_are_not_clear_are_refused(
    given: dict[str, str], names: list[str], classes: tuple[str, ...], unclear: str | None
) -> None:
    check = ClassMap(given).check
    files = {name: Path(f"{name}.txt") for name in names}
    if unclear is None:
        check(files, classes)
        return
    first = unclear.split(",")[0]
    words = f"labels are: {unclear} ({first} is in {first}.txt). Say --class-map {first}="
    with pytest.raises(ConfigError, match=re.escape(words)):
        check(files, classes)


@pytest.mark.parametrize(
    ("given", "names"), [({"person": "helmet"}, ["person"]), ({"mask": "face"}, ["mask", "none"])]
)
def test_class_that_the_model_does_not_have_is_refused(
    given: dict[str, str], names: list[str]
) -> None:
    classes = ClassMap(given)
    ((name, target),) = given.items()
    words = f"{name}={target}: {target} is not a class of the model (mask, no-mask)"
    for present in (names, []):
        with pytest.raises(ConfigError, match=re.escape(words)):
            classes.check(dict.fromkeys(present, Path("a.txt")), MODEL)
    classes.check(dict.fromkeys(names, Path("a.txt")), ("face",))


def test_names_that_no_label_has() -> None:
    classes = ClassMap({"with_maks": "mask", "No Mask": "no-mask", "car": ""})
    assert classes.unused(["with_mask", "no-mask"]) == ["with_maks", "car"]


def test_parse_class_map() -> None:
    assert parse_class_map("with_mask=mask, person =,a=b") == {
        "with_mask": "mask",
        "person": "",
        "a": "b",
    }
    for text in ("", "mask", "=mask", "a=b,", "-=mask"):
        with pytest.raises(ConfigError, match="expected LABEL=CLASS"):
            parse_class_map(text)
