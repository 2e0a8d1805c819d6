"""Score what detectors found in labeled photos, all by the kit's evaluation, and print a table.

Conventions of boxes differ: where a face's box begins above the brows is each set's and each
detector's own choice. AP at an overlap (IoU) of 0.4 beside 0.5 shows how much of a difference is
the convention's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekit.evaluation.average_precision import average_precision
from facekit.evaluation.class_scores import ClassEvaluation, ScoredPhoto, frame_scale, height_curve
from facekit.evaluation.label_classes import ClassMap
from facekit.evaluation.landmark_errors import LandmarkErrors, faces_on
from facekit.labels.photo_labels import PhotoLabels
from facekit.landmarks.scheme import OUTER_EYE_CORNERS, groups
from facekit.text import table

SMALLEST_COUNTED = 20.0
"""Height from which faces count, in pixels of the 416-pixel frame, as in ``facekit evaluate``."""
WANTED_PRECISION = 0.9
"""Recalls compare where as many of the boxes are right: each detector's least score is another."""
POINT_COUNT = 68
_NOSE_AND_MOUTH = (30, 48, 54)
"""Tip of the nose and corners of the mouth among iBUG's points, from 0."""

Row = dict[str, Any]
"""An answer of ``benchmarks.peer_runner`` with its photo and run; or a detector's scores."""
_COLUMNS = (
    ("AP50", "AP50", "{:.3f}"),
    ("AP40", "AP40", "{:.3f}"),
    ("recall", "recall", "{:.3f}"),
    ("recall_at_precision", f"recall at\nprecision {WANTED_PRECISION:g}", "{:.3f}"),
    ("error_5", "5 points", "{:.2%}"),
    ("error_68", "68 points", "{:.2%}"),
    ("missed", "missed", "{:.1%}"),
    ("ms", "ms", "{:.1f}"),
    ("time_ratio", "ms ratio", "{:.2f}"),
)


def five_points(points: NDArray[Any]) -> NDArray[Any]:
    """Return the eyes' centers, the tip of the nose and the corners of the mouth: [5, 2].

    Of points [68, 2] an eye's center is the mean of its six; points [5, 2] are these already. What
    lies to the left in an upright face comes first.
    """
    if len(points) != POINT_COUNT:
        return points
    parts = groups(POINT_COUNT)
    eyes = [points[parts[eye]].mean(axis=0) for eye in ("right_eye", "left_eye")]  # the subject's
    return np.stack([*eyes, *points[list(_NOSE_AND_MOUTH)]])


def score(name: str, photos: Sequence[PhotoLabels], rows: Sequence[Row]) -> Row:
    """Score a detector's answers for photos; where it failed on one, its faces are missed.

    ``recall`` is over all boxes and ``recall_at_precision`` down to ``WANTED_PRECISION``, both at
    an IoU of 0.4. ``error_5`` and ``error_68`` are mean distances over that of the outer eye
    corners, ``missed`` the share of the faces with points that had no box on them; all are None
    where there is nothing to measure. ``ms`` is the median of a photo.
    """
    scored = [_scored(labels, row) for labels, row in zip(photos, rows, strict=True)]
    curves = {iou: height_curve(scored, 0, iou, SMALLEST_COUNTED) for iou in (0.5, 0.4)}
    recalls, precise = curves[0.4].recall, curves[0.4].precision >= WANTED_PRECISION
    times = [row["ms"] for row in rows if "ms" in row]
    return {
        "detector": name,
        "faces": curves[0.5].faces,
        "AP50": _known(average_precision(curves[0.5])),
        "AP40": _known(average_precision(curves[0.4])),
        "recall": float(recalls.max(initial=0.0)),
        "recall_at_precision": float(recalls[precise].max(initial=0.0)),
        **_landmarks(photos, scored, rows),
        "ms": float(np.median(times)) if times else None,
        "runs": sorted({row["run"] for row in rows}),
        "failed": {row["photo"]: row["error"] for row in rows if "error" in row},
    }


def time_ratio(rows: Sequence[Row], kit_rows: Sequence[Row]) -> float | None:
    """Return the median of a detector's time over the kit's, a photo; None unless both took turns.

    They did where a photo's answers are of the same run.
    """
    pairs = zip(rows, kit_rows, strict=True)
    ratios = [
        theirs["ms"] / kit["ms"]
        for theirs, kit in pairs
        if theirs["run"] == kit["run"] and "ms" in theirs and "ms" in kit
    ]
    return float(np.median(ratios)) if 2 * len(ratios) > len(rows) else None


def score_table(scores: Sequence[Row], *, markdown: bool = False) -> str:
    """Return the scores as a table; columns in which nothing was measured are left out."""
    columns = [c for c in _COLUMNS if any(row[c[0]] is not None for row in scores)]
    rows = [["detector", *(title for _, title, _ in columns)]]
    for row in scores:
        cells = ["-" if row[key] is None else form.format(row[key]) for key, _, form in columns]
        rows.append([row["detector"], *cells])
    if not markdown:
        return table(rows, "l" + "r" * len(columns))
    rows[1:1] = [["---"] * len(rows[0])]
    return "\n".join(f"| {' | '.join(cells)} |".replace("\n", " ") for cells in rows)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no NaN


def _scored(labels: PhotoLabels, row: Row) -> ScoredPhoto:
    assert labels.size_wh is not None
    # Labels end at the photo's edges; so do the boxes of some detectors.
    found = np.array(row.get("boxes", ()), np.float32).reshape(-1, 5)
    boxes = np.clip(found[:, :4], 0, np.array(labels.size_wh * 2, np.float32))
    return ScoredPhoto(
        boxes,
        found[:, 4],
        np.zeros(len(found), np.int32),
        labels.boxes_xyxy,
        ClassMap().faces(labels.class_names),
        labels.ignored,
        frame_scale(labels.size_wh),
    )


def _landmarks(
    photos: Sequence[PhotoLabels], scored: Sequence[ScoredPhoto], rows: Sequence[Row]
) -> Row:
    how = ClassEvaluation(minimum_height=SMALLEST_COUNTED)
    five: list[NDArray[Any]] = []
    found, true, boxes = [], [], []
    missed = 0
    for labels, photo, row in zip(photos, scored, rows, strict=True):
        chosen = faces_on(photo.boxes_xyxy, photo.scores, photo.true_boxes_xyxy)
        counted = photo.counted_truth(how)
        for index, places in enumerate(labels.points_xy):
            if places is None or len(places) != POINT_COUNT or not counted[index]:
                continue
            if chosen[index] < 0:
                missed += 1
                continue
            points = np.array(row["points"][chosen[index]], np.float32)
            right, left = (places[corner] for corner in OUTER_EYE_CORNERS)
            distances = np.linalg.norm(five_points(points) - five_points(places), axis=1)
            five.append(distances / np.linalg.norm(left - right))
            if len(points) == POINT_COUNT:
                found.append(points)
                true.append(places)
                boxes.append(labels.boxes_xyxy[index])
    if not five and not missed:
        return dict.fromkeys(("error_5", "error_68", "missed"))
    errors = LandmarkErrors.of_faces(found, true, boxes)
    return {
        "error_5": float(np.nanmean(five)) if five else None,
        "error_68": _known(errors.by_region()["all"][1]),
        "missed": missed / (missed + len(five)),
    }
