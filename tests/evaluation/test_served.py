from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from facekit.errors import DataError
from facekit.evaluation.label_classes import ClassMap
from facekit.evaluation.served import ScoringRules, ServedScore, fitted, score
from facekit.faces import Faces
from facekit.labels.photo_labels import PhotoLabels

SIZE = (832, 416)  # a frame pixel is a photo pixel down, and 832 / 736 of one across
Box = list[float]
A, B, C = [0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40]
SMALL = [300, 0, 315, 15]


def labeled(
    *objects: tuple[Box, str],
    ignored: list[bool] | None = None,
    points: list[np.ndarray | None] | None = None,
    size_wh: tuple[int, int] | None = None,
) -> PhotoLabels:
    count = len(objects)
    return PhotoLabels(
        Path("a.jpg"),
        size_wh,
        np.array([box for box, _ in objects], np.float32).reshape(-1, 4),
        tuple(name for _, name in objects),
        np.array(ignored or [False] * count, bool),
        tuple(points or [None] * count),
        Path("a.xml"),
    )


def served(
    *found: tuple[Box, float] | tuple[Box, float, int],
    points: list[np.ndarray] | None = None,
    classes: tuple[str, ...] = (),
) -> Faces:
    count = len(found)
    places = np.array(points, np.float32) if points else np.zeros((count, 0, 2), np.float32)
    return Faces(
        np.array([one[0] for one in found], np.float32).reshape(-1, 4),
        np.array([one[1] for one in found], np.float32),
        places,
        np.zeros(places.shape[:2], np.float32),
        SIZE,
        np.array([one[2] for one in found if len(one) == 3], np.int32),
        classes,
    )


def scored(
    photos: list[tuple[PhotoLabels, Faces]],
    rules: ScoringRules | None = None,
    classes: ClassMap | None = None,
) -> ServedScore:
    labels, answers = [pair[0] for pair in photos], [pair[1] for pair in photos]
    return score("server", labels, answers, classes or ClassMap(), rules or ScoringRules())


def test_nothing_scores_nothing() -> None:
    for photos in ([], [(labeled(), served())]):
        result = scored(photos)
        assert [row.name for row in result.classes] == ["any face"]
        assert result.classes[0].curve.faces == 0
        for value in (
            result.mean_average_precision,
            result.classes[0].precision,
            result.classes[0].recall,
            result.classes[0].lowest_score,
        ):
            assert math.isnan(value)
        assert all(band.faces == 0 for band in result.classes[0].bands)
        assert result.landmarks is None


def test_a_model_without_classes_is_scored_on_all_faces() -> None:
    photo = labeled((A, "with_mask"), (B, "without_mask"), (C, "mask_weared_incorrect"))
    result = scored([(photo, served((A, 0.9), (B, 0.8), (SMALL, 0.7), ([400, 0, 440, 40], 0.6)))])
    (row,) = result.classes
    # Two of three faces, one false one; that of 15 px does not count.
    assert (row.curve.faces, row.recall) == (3, pytest.approx(2 / 3))
    assert row.precision == pytest.approx(2 / 3)
    assert row.lowest_score == pytest.approx(0.6)
    assert row.average_precision == result.mean_average_precision == pytest.approx(2 / 3)


def test_a_model_with_classes_is_scored_by_class_and_on_all_faces() -> None:
    photo = labeled((A, "Mask"), (B, "No-Mask"), (C, "incorrect-mask"))
    found = served((A, 0.9, 0), (B, 0.8, 0), (C, 0.7, 0), classes=("mask", "no-mask"))
    result = scored([(photo, found)])
    figures = {row.name: (row.curve.faces, row.average_precision) for row in result.classes}
    # B is the wrong class. C is neither class, so that nothing found there is wrong.
    assert figures == {"mask": (1, 1), "no-mask": (1, 0), "any face": (3, 1)}
    assert {row.name: row.precision for row in result.classes}["mask"] == 0.5
    assert result.mean_average_precision == 0.5


def test_bands_begin_at_the_least_height() -> None:
    photo = labeled((A, "face"), (SMALL, "face"), ([400, 0, 500, 100], "face"))
    found = served((A, 0.9), (SMALL, 0.8))

    def bands(least: float) -> list[tuple[float, int, float]]:
        result = scored([(photo, found)], ScoringRules(minimum_height=least))
        return [(b.low, b.faces, b.average_precision) for b in result.classes[0].bands if b.faces]

    assert bands(0) == [(10, 1, 1), (40, 1, 1), (80, 1, 0)]
    assert bands(30) == [(40, 1, 1), (80, 1, 0)]
    assert bands(45) == [(80, 1, 0)]
    result = scored([(photo, found)], ScoringRules(minimum_height=45))
    low = [band.low for band in result.classes[0].bands]
    assert low == [45, 80, 160]


def test_rules_are_those_asked_for() -> None:
    shifted = [20, 0, 60, 40]  # an overlap of 1/3
    photo = labeled((A, "face"), (B, "face"))
    for rules, expected in (
        (ScoringRules(), 0),
        (ScoringRules(minimum_overlap=0.3), 0.5),
        (ScoringRules(minimum_overlap=0.3, mode="SAMPLE"), 6 / 11),
    ):
        result = scored([(photo, served((shifted, 0.9)))], rules)
        assert result.mean_average_precision == pytest.approx(expected)


def test_what_is_left_out_neither_counts_nor_punishes() -> None:
    photo = labeled((A, "face"), (B, "face"), (C, "car"), ignored=[False, True, False])
    found = served((A, 0.7), (B, 0.8), (C, 0.9))
    result = scored([(photo, found)], classes=ClassMap({"car": ""}))
    assert result.classes[0].curve.faces == 1
    assert result.mean_average_precision == 1


FACE = np.zeros((80, 2), np.float32)
FACE[36], FACE[45] = (0, 20), (40, 20)


def points(count: int, down: float = 0.0) -> np.ndarray:
    return FACE[:count] + np.float32([0, down])


def test_landmarks_of_the_faces_found() -> None:
    photo = labeled(
        (A, "face"), (B, "face"), (C, "face"), (SMALL, "face"), ([400, 0, 440, 40], "face"),
        ignored=[False, False, True, False, False],
        points=[points(68), None, points(68), points(68), points(68)],
    )  # fmt: skip
    lower = [points(68, down) for down in (2, 9, 9, 9)]
    found = served((A, 0.9), (B, 0.8), (C, 0.7), (SMALL, 0.6), points=lower)
    errors = scored([(photo, found)]).landmarks
    assert errors is not None
    # A is 2 px too low: 4 of its 80 crop pixels, 0.05 of the eye distance. B has no points, C is
    # left out, the next is too small, and the last is missed.
    assert errors.faces == 2
    assert errors.missed == 1
    assert errors.by_region()["all"] == pytest.approx((4, 0.05))
    assert errors.failed_share == 0.5


@pytest.mark.parametrize(("labels", "model"), [(68, 80), (80, 68)])
def test_landmarks_of_two_schemes_are_compared_where_they_agree(labels: int, model: int) -> None:
    photo = labeled((A, "face"), points=[points(labels)])
    errors = scored([(photo, served((A, 0.9), points=[points(model, 1)]))]).landmarks
    assert errors is not None
    assert np.isfinite(errors.crop_pixels).sum() == 68
    assert errors.by_region()["mouth"] == pytest.approx((2, 1 / 40))


def test_points_of_no_face_scheme_are_not_compared() -> None:
    # COCO's 17 of a body, and a model without points.
    body = np.zeros((17, 2), np.float32)
    photo = labeled((A, "face"), points=[body])
    assert scored([(photo, served((A, 0.9), points=[points(68)]))]).landmarks is None
    photo = labeled((A, "face"), points=[points(68)])
    assert scored([(photo, served((A, 0.9)))]).landmarks is None


def test_all_faces_missed() -> None:
    photo = labeled((A, "face"), points=[points(68)])
    none = Faces.empty(SIZE)
    errors = scored([(photo, none)]).landmarks
    assert errors is not None
    assert errors.missed_share == errors.failed_share == 1


def test_boxes_are_cut_to_the_photo() -> None:
    photo = labeled(([-5, -5, 30, 30], "face"), ([800, 400, 900, 500], "face"))
    boxes = fitted(photo, SIZE).boxes_xyxy
    assert boxes.tolist() == [[0, 0, 30, 30], [800, 400, 832, 416]]
    assert fitted(labeled(size_wh=SIZE), SIZE).boxes_xyxy.shape == (0, 4)


def test_labels_that_do_not_fit_their_photo() -> None:
    with pytest.raises(DataError, match="a.xml: labels of a photo of 416x832 pixels.* 832x416"):
        fitted(labeled((A, "face"), size_wh=(416, 832)), SIZE)
    outside = [900, 0, 940, 40]
    with pytest.raises(DataError, match=r"box 2 \(900, 0, 940, 40\) lies outside .* 832x416"):
        fitted(labeled((A, "face"), (outside, "face")), SIZE)
    # What is left out anyhow may lie anywhere.
    fitted(labeled((outside, "DontCare"), ignored=[True]), SIZE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("ignored", [False, True])
def test_boxes_that_are_not_finite_are_refused(value: float, ignored: bool) -> None:
    for place in range(4):
        box = [10.0, 10.0, 40.0, 40.0]
        box[place] = value
        with pytest.raises(DataError, match="a.xml: box 2 is not finite"):
            fitted(labeled((A, "face"), (box, "face"), ignored=[False, ignored]), SIZE)
