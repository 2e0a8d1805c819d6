from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from facekit.errors import DataError  # noqa: E402
from training.detector.losses import detection_loss  # noqa: E402
from training.detector.targets import decode, stack_targets  # noqa: E402
from training.facenet import frames  # noqa: E402
from training.facenet.frames import Frame, FrameMaker, frame_targets  # noqa: E402
from training.facenet.paste import Paster  # noqa: E402
from training.facenet.photos import Sample, as_boxes  # noqa: E402
from training.facenet.recipe import background_cost  # noqa: E402

SIZE = (384, 224)


def box(*corners: float) -> Any:
    return np.array(corners, np.float32)


def photos(boxes: list[list[float]], complete: bool = True) -> Any:
    """Return one black photo whose faces are white."""
    image = Image.new("L", (400, 300))
    for corners in boxes:
        image.paste(255, tuple(int(v) for v in corners))
    sample = Sample("a", "crowd", "training", image.size, as_boxes(boxes), as_boxes([]), complete)
    return SimpleNamespace(path=Path("index.json"), samples=[sample], image=lambda _: image)


def test_boxes_follow_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "degrade", lambda image, _: image)
    monkeypatch.setattr(frames, "PASTED", 0)
    monkeypatch.setattr(frames, "EMPTY_PASTED", 0)
    none = np.zeros((0, 36, 36), np.uint8)
    maker = FrameMaker(photos([[150, 100, 230, 200]]), np.ones(1, np.float32), none)
    seen = 0
    for seed in range(60):
        frame = maker.draw(np.random.default_rng(seed), SIZE)
        pixels = np.asarray(frame.image)
        for x1, y1, x2, y2 in frame.boxes:
            assert 0 <= x1 < x2 <= SIZE[0] and 0 <= y1 < y2 <= SIZE[1]
            if x2 - x1 < 12 or y2 - y1 < 12:
                continue
            seen += 1
            inner = pixels[int(y1) + 3 : int(y2) - 3, int(x1) + 3 : int(x2) - 3]
            assert inner.min() > 200
            if len(frame.sources) == 1 and x1 > 6 and x2 < SIZE[0] - 6:
                row = pixels[int((y1 + y2) / 2)]
                assert row[int(x1) - 5] != 255 and row[int(x2) + 4] != 255
    assert seen > 30


def test_pasted_heads_are_faces_and_hide_none() -> None:
    known = box(100, 60, 180, 160)
    paster = Paster(photos([]), np.full((1, 36, 36), 255, np.uint8))
    counts = []
    for seed in range(30):
        frame = Frame(Image.new("L", SIZE), [known], sources=[0])
        frame.image.paste(7, (100, 60, 180, 160))
        paster.paste(np.random.default_rng(seed), frame)
        pixels = np.asarray(frame.image)
        assert frame.sources == [0, -1] and pixels[110, 140] == 7
        for x1, y1, x2, y2 in frame.boxes[1:]:
            assert 0 <= x1 < x2 <= SIZE[0] and 0 <= y1 < y2 <= SIZE[1]
            assert pixels[int((y1 + y2) / 2), int((x1 + x2) / 2)] == 255
        others = frame.boxes[1:]
        alone = (Frame(frame.image, [each]) for each in others)
        assert sum(each.meets(b) for each in alone for b in others) == len(others)
        counts.append(len(others))
    assert min(counts) < 5 < 20 < max(counts)
    for seed in range(3000):  # with wide gaps no place may be left
        paster.paste(np.random.default_rng(seed), Frame(Image.new("L", (96, 224))))


@pytest.mark.parametrize("complete", [True, False])
def test_without_heads_or_backgrounds_badges_are_pasted(
    complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "PASTED", 1)
    none = np.zeros((0, 36, 36), np.uint8)
    crowd = photos([[150, 100, 230, 200]], complete)
    maker = FrameMaker(crowd, np.ones(1, np.float32), none)
    pasted = 0
    for seed in range(10):
        frame = maker.draw(np.random.default_rng(seed), SIZE)
        pasted += -1 in frame.sources
        assert len(frame.boxes) <= 4
    assert pasted == 10


def test_photos_without_faces_alone_are_an_error() -> None:
    none = np.zeros((0, 36, 36), np.uint8)
    with pytest.raises(DataError, match=r"index\.json: contains no training photos with faces"):
        FrameMaker(photos([]), np.ones(1, np.float32), none)


def test_a_face_that_is_mostly_cut_off_is_ignored() -> None:
    frame = Frame(Image.new("L", SIZE))
    limits = box(0, 0, *SIZE)
    frames._add(frame, box(-30, 10, 70, 110), limits, True)
    frames._add(frame, box(-70, 10, 30, 110), limits, True)
    frames._add(frame, box(50, 50, 57, 57), limits, True)
    frames._add(frame, box(400, 50, 450, 100), limits, True)
    assert [list(b) for b in frame.boxes] == [[0, 10, 70, 110]]
    assert [list(b) for b in frame.ignored] == [[0, 10, 30, 110], [50, 50, 57, 57]]


def test_a_mirrored_frame_has_mirrored_boxes() -> None:
    frame = Frame(Image.new("L", SIZE), [box(0, 10, 70, 110)], [box(100, 0, 120, 30)])
    frames._mirror(frame)
    assert list(frame.boxes[0]) == [314, 10, 384, 110]
    assert list(frame.ignored[0]) == [264, 0, 284, 30]


def test_targets_have_covered_cells_a_ring_and_regions_without_cost() -> None:
    frame = Frame(
        Image.new("L", SIZE),
        [box(50, 50, 150, 150), box(300, 92, 308, 100)],
        ignored=[box(200, 0, 260, 60)],
        doubtful=[box(0, 160, 384, 224)],
    )
    targets = frame_targets(frame)
    covered, weight, box_weight = (
        each[0] for each in (targets.covered, targets.coverage_weight, targets.box_weight)
    )
    assert covered[6, 6] == 1 and weight[6, 6] > 0
    assert covered[:, 17:21].sum() == 1  # a tiny face has one cell
    ring = (box_weight > 0) & (covered == 0)
    assert ring.any() and not weight[ring].any()
    assert list(targets.boxes[0, :, 6, 6]) == [50, 50, 150, 150]
    assert not weight[1:3, 13:16].any() and not covered[1:3, 13:16].any()
    assert (weight[11:] == -1).all() and weight[6, 12] == 1


def batch_of(*frames_: Frame) -> dict[str, Any]:
    return stack_targets([frame_targets(frame) for frame in frames_])


def losses(batch: dict[str, Any], logit: Any, bbox: Any) -> Any:
    names = ("boxes", "covered", "box_weight", "coverage_weight")
    parts = detection_loss(decode(bbox), logit, *(batch[name] for name in names))
    return torch.stack(list(parts.values())).sum()


@pytest.mark.parametrize("level", [-60.0, 0.0, 60.0])
def test_losses_are_finite_and_ignored_regions_have_no_gradient(level: float) -> None:
    region = [box(200, 0, 260, 60)]
    frame = Frame(Image.new("L", SIZE), [box(50, 50, 150, 150)], region)
    logit = torch.full((1, 1, 14, 24), level, requires_grad=True)
    bbox = torch.full((1, 4, 14, 24), level / 10, requires_grad=True)
    loss = losses(batch_of(frame), logit, bbox)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logit.grad).all()
    assert torch.isfinite(bbox.grad).all()
    assert not logit.grad[..., 1:3, 13:16].any() and not bbox.grad[..., 1:3, 13:16].any()
    empty = losses(batch_of(Frame(Image.new("L", SIZE), ignored=region)), logit, bbox)
    assert torch.isfinite(empty)


def test_cost_of_the_background_counts_what_is_taken_for_a_face() -> None:
    batch = batch_of(
        Frame(Image.new("L", SIZE)),
        Frame(Image.new("L", SIZE), ignored=[box(0, 0, *SIZE)]),
        Frame(Image.new("L", SIZE), [box(54, 54, 76, 76)]),
    )
    logit = torch.full((3, 1, 14, 24), -9.0)
    assert background_cost(logit, batch).max() < 1e-3
    logit[:, 0, 4, 4] = 3.0
    costs = background_cost(logit, batch)
    assert costs[0] > 2 and costs[1] == 0 and costs[2] < 1e-3
