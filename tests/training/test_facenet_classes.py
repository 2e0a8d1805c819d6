"""``training.facenet`` with classes: masks drawn on, the class head, and its file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from facekit.errors import DataError  # noqa: E402
from facekit.evaluation.class_scores import NO_CLASS  # noqa: E402
from tests.training.facesets import write_class_sets  # noqa: E402
from training.facenet import frames  # noqa: E402
from training.facenet.frames import Frame, FrameMaker, class_weights, frame_targets  # noqa: E402
from training.facenet.masks import draw_mask  # noqa: E402
from training.facenet.network import FaceNetwork, load_weights, save_weights  # noqa: E402
from training.facenet.photos import Photos, Sample, as_boxes  # noqa: E402
from training.facenet.recipe import class_loss  # noqa: E402

CLASSES = ("mask", "no-mask")
NO_WEB_FACES = np.zeros((0, 36, 36), np.uint8)


def face_points(center: tuple[float, float], width: float) -> Any:
    """Return 68 points of an upright face: jaw from ear to ear, nose, eyes, mouth."""
    turn = np.linspace(0, np.pi, 17)
    points = np.zeros((68, 2))
    points[:17] = np.stack([-0.5 * np.cos(turn), 0.65 * np.sin(turn)], axis=1)
    points[17:27] = np.stack([np.linspace(-0.4, 0.4, 10), np.full(10, -0.2)], axis=1)
    points[27:31, 1] = np.linspace(-0.05, 0.25, 4)
    points[31:36] = np.stack([np.linspace(-0.1, 0.1, 5), np.full(5, 0.28)], axis=1)
    points[36:48] = np.repeat([[-0.2, -0.05], [0.2, -0.05]], 6, axis=0)
    points[48:] = [0.0, 0.42]
    return (points * width + center).astype(np.float32)


@pytest.mark.parametrize("seed", range(24))
def test_a_mask_covers_mouth_and_nose_and_no_eye(seed: int) -> None:
    before = Image.fromarray(np.random.default_rng(0).integers(90, 160, (300, 300, 3), np.uint8))
    after = before.copy()
    draw_mask(after, face_points((150, 130), 140), np.random.default_rng(seed))
    changed = (np.asarray(before) != np.asarray(after)).any(axis=2)
    assert changed[175:195, 135:165].mean() > 0.9  # the mouth
    assert changed[160:166, 147:154].mean() > 0.8  # below the tip of the nose
    assert not changed[113:122, 112:130].any() and not changed[113:122, 170:188].any()
    assert not changed[:95].any()


@pytest.mark.parametrize("center", [(2.0, 5.0), (98.0, 140.0), (-400.0, 10.0), (50.0, 900.0)])
def test_a_face_at_the_edge_or_outside_gets_what_is_visible_of_its_mask(center: Any) -> None:
    for width in (0.0, 1.0, 60.0):
        for seed in range(8):
            image = Image.new("RGB", (100, 150), "gray")
            shows = draw_mask(image, face_points(center, width), np.random.default_rng(seed))
            assert image.size == (100, 150)
            assert shows == (0 <= center[0] < 100 and center[1] < 150)
            assert shows or np.ptp(np.asarray(image)) == 0


def photos(classes: tuple[str, ...], points: bool = True) -> Any:
    sample = Sample(
        *("a", "portrait", "training", (200, 200)),
        *(as_boxes([[60, 40, 140, 150]] * len(classes)), as_boxes([]), True),
        classes=classes,
        points=(face_points((100, 85), 80),) * len(classes) if points else (),
    )
    image = Image.new("RGB", (200, 200), "gray")
    return SimpleNamespace(path=Path("index.json"), samples=[sample], image=lambda _: image.copy())


def test_about_half_of_the_faces_with_points_get_a_mask_and_its_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = np.ones(1, np.float32)
    bare_and_unknown = photos(("without_mask", "with_mask", "x"))
    monkeypatch.setattr(frames, "MASKED_SHARE", 0.0)
    maker = FrameMaker(bare_and_unknown, shown, NO_WEB_FACES, CLASSES)
    assert maker._dressed(np.random.default_rng(0), 0)[1].tolist() == [1, 0, NO_CLASS]
    monkeypatch.setattr(frames, "MASKED_SHARE", 1.0)
    image, labels = maker._dressed(np.random.default_rng(0), 0)
    assert labels.tolist() == [0, 0, 0] and np.ptp(np.asarray(image)) > 0
    assert maker.labels[0].tolist() == [1, 0, NO_CLASS]
    # Where faces are not told apart, none gets one.
    image, labels = FrameMaker(bare_and_unknown, shown, NO_WEB_FACES)._dressed(
        np.random.default_rng(0), 0
    )
    assert np.ptp(np.asarray(image)) == 0 and (labels == NO_CLASS).all()


def test_a_class_without_a_photo_is_an_error() -> None:
    with pytest.raises(DataError, match=r"index\.json: .* no training photos .* class no-mask"):
        FrameMaker(photos(("with_mask",)), np.ones(1, np.float32), NO_WEB_FACES, CLASSES)


def test_faces_of_known_class_alone_teach_it() -> None:
    boxes: list[Any] = [np.array(c, np.float32) for c in ([16, 16, 80, 80], [200, 16, 264, 80])]
    frame = Frame(Image.new("L", (384, 224)), boxes, labels=[1, NO_CLASS])
    weights, targets = class_weights(frame, 2), frame_targets(frame)
    assert weights.shape == (2, 14, 24) and not weights[0].any()
    assert np.array_equal(weights[1, :, :8], targets.box_weight[0, :, :8] ** 2)
    covered = targets.covered[0, :, :8] == 1
    assert weights[1, :, :8][covered].sum() == pytest.approx(1)
    assert weights[1].any() and not weights[:, :, 8:].any()
    told = torch.zeros(1, 2, 14, 24, requires_grad=True)
    class_loss(told, torch.from_numpy(weights[None])).backward()
    assert torch.equal(told.grad[0, 1] < 0, torch.from_numpy(weights[1] > 0))
    assert class_loss(told, torch.zeros(1, 2, 14, 24)) == 0


def test_a_class_scores_the_coverage_times_its_share() -> None:
    torch.manual_seed(0)
    model = FaceNetwork(CLASSES).eval()
    frame = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        bbox, logit, told = model.logits(frame)
        boxes, scores = model(frame)
    assert torch.equal(boxes, torch.cat([bbox, bbox], dim=1))
    share = torch.softmax(told, dim=1)
    torch.testing.assert_close(scores, torch.sigmoid(logit) * share)
    model.calibration = np.array([[1, 0], [2, -1]], np.float32)
    with torch.no_grad():
        calibrated = model(frame)[1]
    torch.testing.assert_close(calibrated[:, 0], scores[:, 0])
    torch.testing.assert_close(torch.logit(calibrated[:, 1]), 2 * torch.logit(scores[:, 1]) - 1)


def test_the_index_keeps_classes_and_points(tmp_path: Path) -> None:
    write_class_sets(tmp_path)
    found = {sample.kind: sample for sample in Photos(tmp_path / "cache").samples}
    assert found["crowd"].classes == ("with_mask",) and found["people"].classes == ("without_mask",)
    portrait = found["portrait"]
    assert portrait.classes == ("without_mask",) and portrait.points[0].shape == (68, 2)


def test_weights_of_other_classes_are_named(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.npz", FaceNetwork(CLASSES))
    arrays = dict(np.load(tmp_path / "a.npz"))
    del arrays["sorter.1.weight"]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match="is not a file of this network's weights"):
        load_weights(tmp_path / "a.npz")
