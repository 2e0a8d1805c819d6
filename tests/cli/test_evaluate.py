from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from facekit.cli import main
from tests.fake_triton import FakeTriton

WIDTH, HEIGHT = 736, 416
FACE, OTHER, FALSE = [100, 100, 180, 200], [300, 100, 380, 200], [500, 100, 580, 200]
BOXES = np.array([FACE, OTHER, FALSE], np.float32)
SCORES = np.array([0.9, 0.8, 0.7], np.float32)
SIZE = np.array([[HEIGHT, WIDTH, 3]], np.int64)


def faces_of(
    model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
) -> dict[str, np.ndarray]:
    """Three faces in every photo, of which the mask detector calls the second unmasked."""
    (photo,) = inputs.values()
    if bytes(photo[0, :4]) != b"\x89PNG":
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "photo 1 of 1: not a photo but text")
    if model == "faces":
        keypoints = np.zeros((1, 3, 68, 2), np.float32)
        keypoints[0, :, 36, 0], keypoints[0, :, 45, 0] = 110, 160
        return {
            "boxes": BOXES[None],
            "scores": SCORES[None],
            "keypoints": keypoints,
            "keypoint_scores": np.full((1, 3, 68), 0.5, np.float32),
            "image_size": SIZE,
            "count": np.array([[3]], np.int32),
        }
    return {
        "true_boxes": BOXES[None],
        "true_proba": SCORES[None, :, None],
        "true_image_size": SIZE,
        "true_count": np.array([[3]], np.int32),
        "true_labels": np.array([[0, 1, 0]], np.int32),
    }


@pytest.fixture
def url() -> Iterator[str]:
    with FakeTriton(faces_of) as fake:
        yield fake.url


def kitti(*objects: tuple[str, list[int]]) -> str:
    return "".join(f"{n} 0 0 0 {' '.join(map(str, b))} 0 0 0 0 0 0 0\n" for n, b in objects)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos with KITTI labels: both faces found as they are, and one of the wrong class."""
    folder = tmp_path / "data"
    for name, text in (
        ("a", kitti(("Mask", FACE), ("No-Mask", OTHER))),
        ("b", kitti(("Mask", FACE), ("Mask", OTHER), ("incorrect-mask", FALSE))),
    ):
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        (folder / "images").mkdir(exist_ok=True)
        (folder / "labels" / f"{name}.txt").write_text(text)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / f"{name}.png")
    return folder


def rows(text: str, start: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(start)]


def test_faces_of_a_model_without_classes(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["evaluate", "--labels", str(data), "--url", url, "--model", "facenet_ensemble"]) == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    assert "2 photos with 5 faces." in out
    # Five of five found; of six boxes the one of photo a is false.
    figures = rows(out, "any face")
    assert figures[0][2:] == ["facenet_ensemble", "5", "0.967", "0.833", "1.000", "0.700"]
    assert figures[1][2:] == ["80-160", "px", "5", "0.967"]
    assert "Landmarks" not in out


def test_classes_and_models_side_by_side(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plot = tmp_path / "out" / "scores.json", tmp_path / "curves.png"
    argv = ["evaluate", "--labels", str(data), "--url", url, "--model", "facemask_ensemble"]
    assert main([*argv, "--model", "faces", "--json", str(path), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    # Masks: found at 0.9 in both, the other one of b is called unmasked, and FALSE of a is false
    # while that of b is a mask worn wrongly. Without: one of a found, one of b wrong, both at 0.8.
    assert rows(out, "mask")[0][1:] == [
        "facemask_ensemble",
        "3",
        "0.667",
        "0.667",
        "0.667",
        "0.700",
    ]
    assert rows(out, "no-mask")[0][1:] == [
        "facemask_ensemble",
        "1",
        "0.500",
        "0.500",
        "1.000",
        "0.800",
    ]
    assert rows(out, "mean of classes") == [["mean", "of", "classes", "facemask_ensemble", "0.583"]]
    assert [row[2] for row in rows(out, "any face")[:2]] == ["facemask_ensemble", "faces"]
    values = json.loads(path.read_text("utf-8"))
    mask, faces = values["servers"]
    assert mask["mean_average_precision"] == pytest.approx((2 / 3 + 0.5) / 2, abs=1e-6)
    assert [row["class"] for row in mask["classes"]] == ["mask", "no-mask", "any face"]
    assert [row["class"] for row in faces["classes"]] == ["any face"]
    assert mask["classes"][2] == faces["classes"][0]
    with Image.open(plot) as picture:
        assert picture.width > picture.height


def test_two_servers_are_compared_on_the_photos_that_both_answered(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def worse(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 2:
            context.abort(grpc.StatusCode.INTERNAL, "a bad day")
        answer = faces_of(model, inputs, context)
        answer["boxes"] = answer["boxes"] + np.float32(300)
        return answer

    with FakeTriton(worse) as other:
        assert main(["evaluate", "--labels", str(data), "--url", url, "--url", other.url]) == 1
    out = capsys.readouterr().out
    found = rows(out, "any face")
    assert [row[3] for row in found[:2]] == ["at", "at"]
    assert [row[4] for row in found[:2]] == [url, other.url]
    assert found[0][5] == found[1][5] in ("2", "3")
    assert float(found[0][6]) > 0.9 and float(found[1][6]) == 0
    assert "1 photo with" in out and "a bad day" in out


def test_landmarks_are_compared(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The server has the outer eye corners at (110, 0) and (160, 0) and all else at the origin.
    x, y = np.tile([100.0, 180.0], 34), np.tile([120.0, 200.0], 34)
    x[36], y[36], x[45], y[45] = 110, 150, 160, 150
    points = "".join(f"{a} {b}\n" for a, b in zip(x, y, strict=True))
    (tmp_path / "a_1.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}}}\n")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    path = tmp_path / "out.json"
    argv = ["evaluate", "--labels", str(tmp_path), "--url", url, "--json", str(path)]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "Landmarks: mean error in pixels of the 80x80 crop" in out
    found = np.zeros((68, 2))
    found[36, 0], found[45, 0] = 110, 160
    distances = np.linalg.norm(found - np.stack([x, y], axis=1), axis=1)
    # The box is 80 wide and, raised by a quarter, 100 high: a crop pixel is 1.25 of the photo.
    errors = json.loads(path.read_text("utf-8"))["servers"][0]["landmarks"]
    assert errors["missed"] == 0
    assert errors["by_region"]["all"]["crop_pixels"] == pytest.approx(
        distances.mean() / 1.25, abs=1e-4
    )
    assert errors["by_region"]["jaw"]["eye_share"] == pytest.approx(
        distances[:17].mean() / 50, abs=1e-4
    )


def test_coco_labels_with_a_crowd(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coco.json"
    boxes = [FACE, [290, 90, 600, 210]]  # a face, and a crowd around the other two
    annotations = [
        {
            "id": number,
            "image_id": 7,
            "category_id": 3,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": number,
        }
        for number, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "face"}],
    }
    path.write_text(json.dumps(content))
    argv = ["evaluate", "--labels", str(path), "--photos", str(data / "images"), "--url", url]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "1 photo with 1 face." in out
    assert rows(out, "any face")[0][3:] == ["1", "1.000", "1.000", "1.000", "0.900"]


def test_json_to_standard_output_is_json_alone(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--labels", str(data), "--url", url, "--json", "-", "--mode", "SAMPLE"]
    assert main([*argv, "--iou", "0.9", "--min-height", "0"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["average_precision_mode"], values["minimum_overlap"]) == ("SAMPLE", 0.9)
    assert values["minimum_height"] == 0 and values["photos"] == 2


def test_what_cannot_be_used_is_reported_and_stops_nothing(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = data / "images", data / "labels"
    (labels / "broken.txt").write_text(kitti(("Mask", FACE)) + "Mask 0 0\n")
    (labels / "gone.txt").write_text("")
    (labels / "text.txt").write_text("")
    (images / "text.png").write_text("no photo")
    (labels / "far.txt").write_text(kitti(("Mask", [800, 10, 900, 100])))
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "far.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "broken.png")
    assert main(["evaluate", "--labels", str(data), "--url", url]) == 1
    out = capsys.readouterr().out
    assert "2 photos with 5 faces." in out
    failures = out.split("Left out, 4 in all:\n")[1]
    assert "broken.txt:2: " in failures
    assert "gone.txt: no photo gone.*" in failures
    assert "text.png: not a photo but text" in failures
    assert "far.txt: box 1 (800, 10, 900, 100) lies outside its photo of 736x416" in failures


def test_a_list_and_a_split_choose_photos(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("b.png\n")
    argv = ["evaluate", "--labels", str(data), "--url", url]
    assert main([*argv, "--list", str(listed)]) == 0
    assert "1 photo with 3 faces." in capsys.readouterr().out
    # Neither name's SHA-1 is a multiple of 7.
    assert main([*argv, "--split", "evaluation"]) == 2
    assert "holds no photo of those asked for" in capsys.readouterr().err
    listed.write_text("z.png\n")
    assert main([*argv, "--list", str(listed)]) == 2
    assert "list.txt:1: no labels of a photo z" in capsys.readouterr().err


def test_unknown_classes_are_asked_about(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "labels" / "a.txt").write_text(kitti(("Mask", FACE), ("helmet", OTHER)))
    argv = ["evaluate", "--labels", str(data), "--url", url, "--model", "facemask_ensemble"]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert "classes (mask, no-mask) leave open what these labels are: helmet" in err
    assert main([*argv, "--class-map", "helmet=no-mask"]) == 0
    assert rows(capsys.readouterr().out, "no-mask")[0][2] == "1"
    assert main([*argv, "--class-map", "helmet="]) == 0
    assert rows(capsys.readouterr().out, "no-mask")[0][2:4] == ["0", "-"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "the following arguments are required: --labels"),
        (["--labels", "x", "--iou", "0"], 2, "expected a number above 0, up to 1, got 0"),
        (["--labels", "x", "--iou", "1.5"], 2, "expected a number above 0, up to 1, got 1.5"),
        (["--labels", "x", "--min-height", "-1"], 2, "expected pixels from 0 to 415, got -1"),
        (["--labels", "x", "--min-height", "416"], 2, "expected pixels from 0 to 415, got 416"),
        (["--labels", "x", "--mode", "MEAN"], 2, "invalid choice: 'MEAN'"),
        (["--labels", "x", "--split", "evaluation", "--list", "y"], 2, "not allowed with"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *options])
    assert caught.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "fpenet"], "expected one of faces, facenet_ensemble, facemask_ensemble"),
        (["--class-map", "mask"], "expected LABEL=CLASS,..., got 'mask'"),
        (["--photos", "nowhere"], "nowhere: no such folder"),
        (["--labels", "nowhere"], "nowhere: no such file or folder"),
        (["--list", "nowhere"], "nowhere: no such file"),
        (["--url", "http://localhost:1"], "expected host:port"),
    ],
)
def test_what_is_not_there_is_named_before_the_work(
    data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--labels", str(data), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_model_that_is_not_served_ends_the_run(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        context.abort(
            grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{model}' is not found"
        )
        raise AssertionError("abort raises")

    for number in range(40):
        (data / "labels" / f"more{number}.txt").write_text("")
        Image.new("RGB", (8, 8)).save(data / "images" / f"more{number}.png")
    with FakeTriton(missing) as fake:
        argv = ["evaluate", "--labels", str(data), "--url", fake.url]
        assert main([*argv, "--model", "facemask_ensemble"]) == 2
        assert len(fake.received) < 20  # not one request a photo
    assert "facemask_ensemble" in capsys.readouterr().err


def test_json_that_cannot_be_written_is_named(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = data / "images" / "a.png" / "out.json"
    assert main(["evaluate", "--labels", str(data), "--url", url, "--json", str(target)]) == 2
    out, err = capsys.readouterr()
    # What was measured is not lost with it.
    assert "any face" in out and "File exists" in err
