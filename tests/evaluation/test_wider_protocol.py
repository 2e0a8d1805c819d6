"""WIDER's protocol, beside its MATLAB tools written down line by line."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facekit.evaluation.wider_protocol import Found, subset_precisions
from facekit.labels.wider import WiderSubsets


def overlap(face: list[float], box: list[float]) -> float:
    """``boxoverlap``."""
    width = min(face[2], box[2]) - max(face[0], box[0]) + 1
    height = min(face[3], box[3]) - max(face[1], box[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    own = (face[2] - face[0] + 1) * (face[3] - face[1] + 1)
    other = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return width * height / (own + other - width * height)


def tools_precision(subsets: WiderSubsets, subset: str, found: dict[str, Found]) -> float:
    """``norm_score``, ``evaluation`` and ``VOCap``."""
    everything = [float(score) for _, scores in found.values() for score in scores]
    least, most = min(everything), max(everything)
    proposals, hits = [0] * 1000, [0] * 1000
    faces = 0
    for photo, truth in subsets.boxes_xywh.items():
        keep = subsets.counted[subset][photo]
        faces += int(keep.sum())
        if photo not in found or not len(truth) or not len(found[photo][0]):
            continue
        boxes, scores = found[photo]
        order = sorted(range(len(scores)), key=lambda k: -scores[k])
        normal = [(float(scores[k]) - least) / (most - least) for k in order]
        corners = [[x, y, x + w, y + h] for x, y, w, h in truth.tolist()]
        recall_list = [0] * len(corners)
        proposal_list = [1] * len(order)
        pred_recall = []
        for h, k in enumerate(order):
            overlaps = [overlap(face, boxes[k].tolist()) for face in corners]
            index = overlaps.index(max(overlaps))
            if overlaps[index] >= 0.5:
                if not keep[index]:
                    recall_list[index] = -1
                    proposal_list[h] = -1
                elif recall_list[index] == 0:
                    recall_list[index] = 1
            pred_recall.append(recall_list.count(1))
        for t in range(1, 1001):
            kept = [h for h, score in enumerate(normal) if score >= 1 - t / 1000]
            if kept:
                proposals[t - 1] += proposal_list[: kept[-1] + 1].count(1)
                hits[t - 1] += pred_recall[kept[-1]]
    precision = [hit / all_ if all_ else 0.0 for hit, all_ in zip(hits, proposals, strict=True)]
    recall = [hit / faces for hit in hits]
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)))


def random_set(seed: int) -> tuple[WiderSubsets, dict[str, Found]]:
    """Faces, some near each other, boxes near them, twice on some, and boxes beside all."""
    rng = np.random.default_rng(seed)
    truth, counted, found = {}, {"easy": {}, "medium": {}, "hard": {}}, {}
    for number in range(12):
        name, faces = f"event/{number}", int(rng.integers(0, 9))
        places = rng.integers(0, 300, (faces, 2)).astype(float)
        boxes = np.hstack([places, rng.integers(8, 60, (faces, 2))])
        truth[name] = boxes if faces else np.zeros((int(number % 2), 4))
        counted["hard"][name] = rng.random(len(truth[name])) < 0.8 * bool(faces)
        counted["medium"][name] = counted["hard"][name] & (rng.random(len(truth[name])) < 0.7)
        counted["easy"][name] = counted["medium"][name] & (rng.random(len(truth[name])) < 0.5)
        near = np.repeat(truth[name], 2, axis=0)
        near = np.vstack([near, np.hstack([rng.integers(0, 300, (4, 2)), np.full((4, 2), 30)])])
        near = near[rng.random(len(near)) < 0.8]
        corners = np.hstack([near[:, :2], near[:, :2] + near[:, 2:]])
        corners += rng.normal(0, 3, corners.shape)
        if number != 5:  # a photo that the detector failed on
            scores = rng.random(len(corners)).round(2)
            found[name] = corners.astype(np.float32), scores.astype(np.float32)
    return WiderSubsets(truth, counted), found


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_tools(seed: int) -> None:
    subsets, found = random_set(seed)
    ours = subset_precisions(subsets, found)
    assert list(ours) == ["easy", "medium", "hard"]
    for subset, value in ours.items():
        assert value == pytest.approx(tools_precision(subsets, subset, found), abs=1e-12)
        assert 0.05 < value < 0.95


def one(counted: list[bool], *boxes: tuple[list[float], float]) -> float:
    faces = np.array([[10, 10, 20, 20], [100, 10, 20, 20]], float)
    subsets = WiderSubsets({"a/b": faces}, {"hard": {"a/b": np.array(counted)}})
    corners, scores = zip(*boxes, strict=True)
    found = {"a/b": (np.array(corners, np.float32), np.array(scores, np.float32))}
    return subset_precisions(subsets, found)["hard"]


FIRST, SECOND, NOWHERE = [10.0, 10.0, 30.0, 30.0], [100.0, 10.0, 120.0, 30.0], [200.0, 10, 220, 30]


def test_what_counts_as_found() -> None:
    assert one([True, True], (FIRST, 0.9), (SECOND, 0.5)) == 1
    assert one([True, True], (FIRST, 0.9), (NOWHERE, 0.5)) == 0.5
    # A face outside the subset is neither missed nor wrong to find.
    assert one([True, False], (SECOND, 0.9), (FIRST, 0.5)) == 1
    # A second box on a face is a false one.
    twice = one([True, True], (FIRST, 0.9), (FIRST, 0.8), (SECOND, 0.5))
    assert twice == pytest.approx(0.5 + 0.5 * 2 / 3)
    # Scores are told apart by a thousandth of their whole range.
    assert one([True, True], (FIRST, 0.5004), (NOWHERE, 0.5005), (SECOND, 0.0), (FIRST, 1)) < 1


def test_nothing_found_and_nothing_to_find() -> None:
    subsets = WiderSubsets({"a/b": np.zeros((1, 4))}, {"easy": {"a/b": np.zeros(1, bool)}})
    assert math.isnan(subset_precisions(subsets, {})["easy"])
    subsets = WiderSubsets({"a/b": np.ones((1, 4))}, {"easy": {"a/b": np.ones(1, bool)}})
    assert subset_precisions(subsets, {})["easy"] == 0
    alone = {"a/b": (np.array([[1, 1, 2, 2]], np.float32), np.array([0.9], np.float32))}
    assert subset_precisions(subsets, alone)["easy"] == 1
