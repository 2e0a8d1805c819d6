from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")


from facekit.detection.parameters import ClusteringParameters  # noqa: E402
from facekit.detection.postprocess import Detections  # noqa: E402
from facekit.errors import ConfigError, DataError  # noqa: E402
from facekit.labels.listing import split_of  # noqa: E402
from facekit.landmarks.pose import MEAN_FACE, rotations_of  # noqa: E402
from tests.training.facesets import (  # noqa: E402
    face_points,
    write_all_sets,
    write_frames,
    write_pts,
    write_sets,
)
from training import checkpoints  # noqa: E402
from training.facenet import evaluate as face_evaluate  # noqa: E402
from training.facenet.__main__ import main as face_command  # noqa: E402
from training.facenet.export import export as export_detector  # noqa: E402
from training.facenet.network import FaceNetwork, save_weights  # noqa: E402
from training.facesets import PORTRAIT_TEST_FOLDER, Photo, pts_photos  # noqa: E402
from training.landmarks import evaluate as landmark_evaluate  # noqa: E402
from training.landmarks.frames import FRAME_FOLDER  # noqa: E402
from training.landmarks.network import LandmarkNet  # noqa: E402
from training.landmarks.recipe import export as export_landmarks  # noqa: E402


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a detector that is sure of a face of 182 pixels at every cell."""
    folder = tmp_path_factory.mktemp("detector")
    model = FaceNetwork()
    torch.nn.init.zeros_(model.bbox.weight)
    torch.nn.init.zeros_(model.coverage.weight)
    torch.nn.init.constant_(model.bbox.bias, 2.6)
    torch.nn.init.constant_(model.coverage.bias, 2.0)
    save_weights(folder / "weights.npz", model)
    export_detector(folder / "weights.npz", folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def landmark_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_landmark_file(tmp_path_factory.mktemp("landmarks"), 68)


def write_landmark_file(folder: Path, points: int) -> Path:
    state = {"average": LandmarkNet(points).state_dict(), "step": 1, "seed": 0}
    checkpoints.save_checkpoint(folder / "checkpoint.pt", state)
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
    assert face_evaluate.served_parameters(tmp_path) == [
        ClusteringParameters("NMS", nms_iou_threshold=overlap) for overlap in (0.4, 0.6)
    ]
    config.write_text('name: "x"\n')
    with pytest.raises(DataError, match="sets no parameters"):
        face_evaluate.served_parameters(tmp_path)
    config.unlink()
    with pytest.raises(ConfigError, match=r"config\.pbtxt: no such file"):
        face_evaluate.served_parameters(tmp_path)
    assert len(face_evaluate.served_parameters()) == 1


def test_detector_figures(tmp_path: Path, detector_file: Path) -> None:
    data = write_all_sets(tmp_path)
    figures = face_evaluate.evaluate(data, detector_file)
    assert 0 < figures["masks-ilc: AP50"] <= figures["masks-ilc: AP40"] < 1
    assert 0 < figures["masks-ilc, served: precision"] < 0.2
    assert figures["helen-test: recall"] == 1
    evaluation = [p for p in data.glob("no-faces*/*.jpg") if split_of(p.stem) == "evaluation"]
    assert figures["without faces: photos"] == len(evaluation)
    assert figures["without faces, served: false boxes"] > 10 * len(evaluation)
    # Nothing to choose thresholds by.
    assert not any("best_f1" in name or ": at " in name for name in figures)


def test_thresholds_are_chosen_on_the_calibration_split(
    tmp_path: Path, detector_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_all_sets(tmp_path)
    arguments = ["evaluate", "--data", str(data), "--model", str(detector_file)]
    assert face_command([*arguments, "--split", "calibration"]) == 0
    shown = capsys.readouterr().out
    assert "best_f1 threshold" in shown
    assert "helen-test" not in shown
    assert face_command(["evaluate", "--data", str(tmp_path / "no"), *arguments[3:]]) == 2
    assert "masks-ilc: no such file or folder" in capsys.readouterr().err


def test_landmark_figures(tmp_path: Path, detector_file: Path, landmark_file: Path) -> None:
    data = write_sets(tmp_path)
    figures = landmark_evaluate.evaluate(data, landmark_file, detector_file)
    for boxes in ("true boxes", "detected boxes"):
        assert figures[f"{boxes}: faces"] == 3
        assert figures[f"{boxes}: mean error"] > 0.08
        assert figures[f"{boxes}: missed or over 8%"] == 1
    assert figures["true boxes: missed"] == 0
    # Eye corners 24 px apart in a face box of 60 x 75 px: a crop pixel is 75 / 80 px.
    for region in ("eyes", "mouth"):
        share, pixels = (figures[f"true boxes: {region}{unit}"] for unit in ("", ", crop pixels"))
        assert pixels * (75 / 80) == pytest.approx(share * eye_distance(), rel=1e-3)


def test_frames_of_people_for_evaluation_are_measured_by_yaw(
    tmp_path: Path, landmark_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_frames(write_sets(tmp_path))
    folder = data / FRAME_FOLDER
    straight = (MEAN_FACE[:, :2] * 25 + (60, 65)).astype(np.float32)
    turned = MEAN_FACE @ rotations_of([[-40, 0, 0]])[0].T
    write_pts(folder / "q4_1_1.pts", straight)
    write_pts(folder / "q4_2_1.pts", (turned[:, :2] * 25 + (60, 65)).astype(np.float32))
    figures = landmark_evaluate.evaluate(data, landmark_file)
    faces = {name: value for name, value in figures.items() if name.endswith("faces")}
    for yaw in (0, 30):
        assert faces.pop(f"frames, yaw from {yaw}: faces") == 1
        for region in ("all", "jaw", "eyes"):
            assert figures[f"frames, yaw from {yaw}: {region}, crop pixels"] > 1
    assert faces == {"true boxes: faces": 3}
    # A face without all of its points has no yaw; the points past the 68th need not be there.
    more = np.full((80, 2), np.nan, np.float32)
    more[:68] = straight
    image, box = Image.new("RGB", (120, 140)), np.array([[30, 40, 90, 110]], np.float32)
    photos = [Photo("whole", image, box, points=(more.copy(),))]
    more[5] = np.nan
    photos.append(Photo("part", image, box, points=(more,)))
    whole = write_landmark_file(tmp_path, 80)
    found = landmark_evaluate.by_yaw(landmark_evaluate.Landmarker(whole), photos)
    assert found["yaw from 0: faces"] == 1
    assert "part: not all of its 68 points are annotated" in caplog.text


def eye_distance() -> float:
    points = face_points((60, 75), 60)
    return float(np.linalg.norm(points[36] - points[45]))


def test_a_folder_of_one_s_own_is_measured_and_damage_is_left_out(
    tmp_path: Path, landmark_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_sets(tmp_path) / PORTRAIT_TEST_FOLDER
    first, second, _ = sorted(folder.glob("*.pts"))
    first.write_text("nothing")
    # A face that lies outside of its photo can't be cut out of it.
    write_pts(second, face_points((900, 900), 60))
    figures = landmark_evaluate.evaluate(folder, landmark_file)
    assert figures["true boxes: faces"] == 1
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2
    assert first.name in said[0]
    assert "outside the photo" in said[1]
    for path in folder.glob("*.pts"):
        path.write_text("nothing")
    with pytest.raises(DataError, match="no face to measure on"):
        landmark_evaluate.evaluate(folder, landmark_file)


def test_a_file_that_is_no_landmark_network_is_named(tmp_path: Path, detector_file: Path) -> None:
    data = write_sets(tmp_path)
    with pytest.raises(DataError, match=r"model\.onnx: has no output softargmax"):
        landmark_evaluate.evaluate(data, detector_file)
    with pytest.raises(DataError, match="gone: no such file"):
        landmark_evaluate.evaluate(data, tmp_path / "gone")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"damaged")
    with pytest.raises(DataError, match="not a network that onnxruntime can run"):
        landmark_evaluate.evaluate(data, damaged)


def test_the_surest_box_on_the_face_counts_and_a_missed_face_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = next(pts_photos(write_sets(tmp_path) / PORTRAIT_TEST_FOLDER, complete=True))
    x1, y1, x2, y2 = photo.boxes[0].tolist()
    loose = [x1 - 10, y1 - 10, x2 + 10, y2 + 10]
    elsewhere = [0.0, 0.0, 12.0, 12.0]

    def chosen(*boxes: list[float]) -> np.ndarray | None:
        count = len(boxes)
        scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        found = Detections(xyxy, scores, np.zeros(count, np.int32))
        monkeypatch.setattr(landmark_evaluate, "find_boxes", lambda *_, **__: found)
        (box,) = landmark_evaluate.boxes_of(None)(photo)  # type: ignore[arg-type]
        return box

    found = chosen(elsewhere, loose, [x1, y1, x2, y2])
    assert found is not None
    assert found.tolist() == loose
    assert chosen(elsewhere) is None
    assert chosen() is None

    class Perfect(landmark_evaluate.Landmarker):
        point_count = 68

        def __init__(self) -> None:
            pass

        def find(self, image: Image.Image, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.stack([photo.points[0]]), np.ones((1, 68), np.float32)

    seen = iter([[photo.boxes[0]], [None]])
    errors = landmark_evaluate.measure(Perfect(), [photo, photo], lambda _: next(seen))
    figures = landmark_evaluate.figures_of(errors)
    assert figures["missed"] == 1
    assert figures["mean error"] == 0
    assert figures["missed or over 8%"] == 0.5
