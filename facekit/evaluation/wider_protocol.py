"""WIDER FACE's own protocol: average precision of the easy, medium and hard faces.

It follows the evaluation tools of the set (``eval_tools``, MATLAB); the function that a rule is of
stands behind it.

- Scores of all photos together are mapped to 0..1 (``norm_score``).
- A box's overlap is taken with all faces of its photo, counted or not, and only the face of the
  largest overlap is looked at; the sides of boxes are a pixel longer than the difference of their
  corners (``boxoverlap``).
- From an overlap of 0.5 a box finds that face, or where the subset does not count the face, the
  box does not count. A second box on a face is a false one (``image_evaluation``).
- Precision and recall are read at 1,000 thresholds, 0.999 to 0 (``image_pr_info``). A photo without
  any face in the file adds none of its boxes (``evaluation``).
- The average precision is the area under the envelope, as in PASCAL VOC since 2010 (``VOCap``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from facekit.evaluation.average_precision import Array, Curve, average_precision
from facekit.labels.wider import WiderSubsets

THRESHOLDS = 1000
MINIMUM_OVERLAP = 0.5
Found = tuple[Array, Array]
"""Boxes float32 [n, 4], x1, y1, x2, y2 in pixels of the photo, and their scores, float32 [n]."""


def subset_precisions(subsets: WiderSubsets, found: Mapping[str, Found]) -> dict[str, float]:
    """Return the average precision of each subset, 0..1; NaN for one without faces.

    ``found`` is by photo as in ``subsets``; the faces of a photo that is missing are missed.
    """
    scores = np.concatenate([np.zeros(0), *(scores for _, scores in found.values())])
    least, most = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    span = most - least if most > least else 1.0  # the tools divide by 0 where scores are all one
    curves = {}
    for name, counted in subsets.counted.items():
        # Columns: boxes that count, and faces found, from each threshold on.
        totals = np.zeros((THRESHOLDS, 2))
        for photo, (boxes_xyxy, own) in found.items():
            truth = subsets.boxes_xywh.get(photo)
            if truth is None or not len(truth) or not len(own):
                continue
            order = np.argsort(-own, kind="stable")
            normal = (own[order].astype(np.float64) - least) / span
            totals += _photo_totals(boxes_xyxy[order], normal, truth, counted[photo])
        curves[name] = average_precision(
            _curve(totals, sum(int(c.sum()) for c in counted.values()))
        )
    return curves


def _photo_totals(
    boxes_xyxy: Array,
    scores: NDArray[np.float64],
    truth_xywh: NDArray[np.float64],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return boxes that count and faces found from each threshold on; the scores must fall."""
    overlaps = _overlaps(boxes_xyxy.astype(np.float64), truth_xywh)
    nearest = overlaps.argmax(axis=1)
    on_face = overlaps.max(axis=1) >= MINIMUM_OVERLAP
    proposal = ~(on_face & ~counted[nearest])
    hit = on_face & counted[nearest]
    first = np.zeros(len(hit), bool)
    first[np.flatnonzero(hit)[np.unique(nearest[hit], return_index=True)[1]]] = True
    sums = np.cumsum(np.column_stack([proposal, first]), axis=0)
    kept = np.searchsorted(-scores, -_thresholds(), side="right")
    return np.vstack([np.zeros(2), sums])[kept]


def _thresholds() -> NDArray[np.float64]:
    return 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS


def _overlaps(
    boxes_xyxy: NDArray[np.float64], truth_xywh: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the overlap of every box [n, 4] with every face [m, 4], [n, m]."""
    corners = np.hstack([truth_xywh[:, :2], truth_xywh[:, :2] + truth_xywh[:, 2:]])
    low = np.maximum(boxes_xyxy[:, None, :2], corners[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], corners[None, :, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(axis=2)
    areas = [(b[:, 2:] - b[:, :2] + 1).prod(axis=1) for b in (boxes_xyxy, corners)]
    result: NDArray[np.float64] = shared / (areas[0][:, None] + areas[1][None, :] - shared)
    return result


def _curve(totals: NDArray[np.float64], faces: int) -> Curve:
    boxes, hits = totals.T
    precision = hits / np.maximum(boxes, 1)
    return Curve(_thresholds().astype(np.float32), precision, hits / max(faces, 1), faces)
