from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from facekit.detection.parameters import ClusteringParameters  # noqa: E402
from facekit.detection.postprocess import Detections  # noqa: E402
from facekit.errors import DataError  # noqa: E402
from tests.training.facesets import write_sets  # noqa: E402
from training import runs  # noqa: E402
from training.data.photos import PORTRAIT_TEST_FOLDER, pts_photos  # noqa: E402
from training.detector import __main__ as detector_command  # noqa: E402
from training.detector import evaluate as detector_evaluate  # noqa: E402
from training.detector.network import DetectNet  # noqa: E402
from training.facenet.export import export as export_detector  # noqa: E402
from training.facenet.inference import Detector, served_parameters  # noqa: E402
from training.landmarks import evaluate as landmark_evaluate  # noqa: E402
from training.landmarks.export import export as export_landmarks  # noqa: E402
from training.landmarks.inference import Landmarker  # noqa: E402
from training.landmarks.network import LandmarkNet  # noqa: E402


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a detector that is sure of a face of 182 pixels at every cell."""
    folder = tmp_path_factory.mktemp("detector")
    model = DetectNet()
    torch.nn.init.zeros_(model.bbox.weight)
    torch.nn.init.zeros_(model.coverage.weight)
    torch.nn.init.constant_(model.bbox.bias, 2.6)
    torch.nn.init.constant_(model.coverage.bias, 2.0)
    state = {"average": model.state_dict(), "step": 1, "seed": 0}
    runs.save_checkpoint(folder / "checkpoint.pt", state)
    export_detector(folder / "checkpoint.pt", folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def landmark_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landmarks")
    state = {"average": LandmarkNet().state_dict(), "step": 1, "seed": 0}
    runs.save_checkpoint(folder / "checkpoint.pt", state)
    export_landmarks(folder / "checkpoint.pt", folder / "model.onnx")
    return folder / "model.onnx"


def test_served_parameters_are_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("mask\nno_mask\n")
    config = tmp_path / "config.pbtxt"
    config.write_text(
        'name: "x"\n# parameters { key: "dbscan_eps" value: { string_value: "9" } }\n'
        'parameters { key: "label_file" value: { string_value: "labels.txt" } }\n'
        'parameters { key: "clustering_algorithm" value: { string_value: "NMS" } }\n'
        'parameters { key: "nms_iou_threshold" value: { string_value: "0.4,0.6" } }\n'
    )
    assert served_parameters(tmp_path) == [
        ClusteringParameters("NMS", nms_iou_threshold=overlap) for overlap in (0.4, 0.6)
    ]
    config.write_text('name: "x"\n')
    with pytest.raises(DataError, match="sets no parameters"):
        served_parameters(tmp_path)
    config.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        served_parameters(tmp_path)
    assert len(served_parameters()) == 1


def test_detector_figures(
    tmp_path: Path, detector_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.facenet.proxy.PHOTO_COUNT", 2)
    data = write_sets(tmp_path, split="evaluation")
    figures = detector_evaluate.evaluate(data, detector_file)
    assert figures["voc gray, all: faces"] == 6
    assert figures["voc gray, all: AP50"] == pytest.approx(figures["voc rgb, 20 px or more: AP50"])
    assert 0 < figures["voc gray, all, served: precision"] < 0.1
    assert figures["portraits: faces"] == 3
    assert figures["without faces, served: photos with one"] == 3
    assert figures["without faces, served: false faces"] > 100
    # Nothing to choose thresholds by.
    assert not any("best_f1" in name or name.startswith("at ") for name in figures)


def test_thresholds_are_chosen_on_the_calibration_split(
    tmp_path: Path, detector_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_sets(tmp_path, split="calibration")
    arguments = ["evaluate", "--data", str(data), "--model", str(detector_file)]
    assert detector_command.main([*arguments, "--split", "calibration"]) == 0
    shown = capsys.readouterr().out
    assert "best_f1 threshold" in shown
    assert "portraits" not in shown
    assert "groups" not in shown
    assert detector_command.main(["evaluate", "--data", str(tmp_path / "no"), *arguments[3:]]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_landmark_figures(tmp_path: Path, detector_file: Path, landmark_file: Path) -> None:
    data = write_sets(tmp_path)
    figures = landmark_evaluate.evaluate(data, landmark_file, detector_file)
    for boxes in ("true boxes", "detected boxes"):
        assert figures[f"{boxes}: faces"] == 3
        assert figures[f"{boxes}: mean error"] > 0.08
        assert figures[f"{boxes}: missed or over 8%"] == 1
    assert figures["true boxes: missed"] == 0


class Finds(Detector):
    """A detector that gives the same boxes for every photo."""

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def detect(self, image: Image.Image, parameters: object, gray: bool = True) -> Detections:
        count = len(self.boxes)
        return Detections(self.boxes, np.ones(count, np.float32), np.zeros(count, np.int32))


def test_the_surest_box_on_the_face_counts_and_a_missed_face_fails(
    tmp_path: Path, landmark_file: Path
) -> None:
    photo = next(pts_photos(write_sets(tmp_path) / PORTRAIT_TEST_FOLDER, complete=True))
    x1, y1, x2, y2 = photo.boxes[0].tolist()
    loose = [x1 - 10, y1 - 10, x2 + 10, y2 + 10]
    elsewhere = [0.0, 0.0, 12.0, 12.0]
    found = landmark_evaluate.detected_box(Finds([elsewhere, loose, [x1, y1, x2, y2]]), photo, [])
    assert found is not None
    assert found.tolist() == loose
    assert landmark_evaluate.detected_box(Finds([elsewhere]), photo, []) is None
    assert landmark_evaluate.detected_box(Finds([]), photo, []) is None

    class Perfect(Landmarker):
        def __init__(self) -> None:
            pass

        def find(self, image: Image.Image, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.stack([photo.points[0]]), np.ones((1, 68), np.float32)

    seen = iter([photo.boxes[0], None])
    figures = landmark_evaluate.measure(Perfect(), [photo, photo], lambda _: next(seen))
    assert figures["missed"] == 1
    assert figures["mean error"] == 0
    assert figures["missed or over 8%"] == 0.5
