from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from facekit.cli import evaluate, main
from facekit.data import probe_photo
from tests.fake_triton import FakeTriton

WIDTH, HEIGHT = 736, 416
FACE, OTHER, FALSE = [100, 100, 180, 200], [300, 100, 380, 200], [500, 100, 580, 200]
BOXES = np.array([FACE, OTHER, FALSE], np.float32)
SCORES = np.array([0.9, 0.8, 0.7], np.float32)
SIZE = np.array([[HEIGHT, WIDTH, 3]], np.int64)
PROBE = probe_photo()


def faces_of(
    model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
) -> dict[str, np.ndarray]:
    """Three faces in every photo, of which the mask detector calls the second unmasked."""
    (photo,) = inputs.values()
    if bytes(photo[0, :4]) not in (b"\x89PNG", PROBE[:4]):
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
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Image.new("RGB", (WIDTH, HEIGHT), "white")
    broken.save(data / "images" / "b.png")
    marked = (data / "images" / "b.png").read_bytes()

    def worse(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        if inputs["image"].tobytes() == marked:
            context.abort(grpc.StatusCode.INTERNAL, "a bad day")
        answer = faces_of(model, inputs, context)
        answer["boxes"] = answer["boxes"] + np.float32(300)
        return answer

    (data / "images" / "text.png").write_text("no photo")
    (data / "labels" / "text.txt").write_text("")
    path = tmp_path / "out.json"
    with FakeTriton(worse) as other:
        argv = ["evaluate", "--labels", str(data), "--url", url, "--url", other.url]
        assert main([*argv, "--json", str(path)]) == 1
    out = capsys.readouterr().out
    found = rows(out, "any face")
    assert [row[3] for row in found[:2]] == ["at", "at"]
    assert [row[4] for row in found[:2]] == [url, other.url]
    assert found[0][5] == found[1][5] == "2"
    assert float(found[0][6]) > 0.6 and float(found[1][6]) == 0
    assert "1 photo with 2 faces" in out
    # Each failure says whose it is.
    assert out.split("Left out, 2 in all:\n")[1].splitlines() == [
        f"  faces at {other.url}: {data}/images/b.png: faces: a bad day (INTERNAL)",
        f"  faces at {url}: {data}/images/text.png: not a photo but text",
        f"  faces at {other.url}: {data}/images/text.png: not a photo but text",
    ]
    failures = json.loads(path.read_text("utf-8"))["failures"]
    names = [f"faces at {one}" for one in (other.url, url, other.url)]
    assert [failure["server"] for failure in failures] == names


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
    assert "\n1 object marked as difficult, as a crowd or as DontCare: neither missed" in out
    # That of b is no image of the file.
    assert "\n1 photo without a label file: not looked at." in out
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
        (["--plot", "curve"], "curve: expected a name that ends in .png"),
        (["--plot", "curve.doc"], "curve.doc: expected a name that ends in .png"),
        (["--plot", "."], ".: expected a name that ends in .png"),
        (["--json", "."], "facekit: .: is a folder"),
        (["--json", f"{__file__}/folder/out.json"], f"{__file__}: is no folder"),
        (["--plot", f"{__file__}/out.png"], f"{__file__}: is no folder"),
    ],
)
def test_what_is_not_there_is_named_before_the_work(
    data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton(faces_of) as fake:
        assert main(["evaluate", "--labels", str(data), "--url", fake.url, *options]) == 2
        assert fake.received == []
    assert message in capsys.readouterr().err


def test_a_file_that_may_not_be_written_is_named_before_the_work(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with FakeTriton(faces_of) as fake:
        for option, name in (("--json", "out.json"), ("--plot", "new/out.png")):
            argv = ["evaluate", "--labels", str(data), "--url", fake.url]
            assert main([*argv, option, str(tmp_path / name)]) == 2
            assert capsys.readouterr().err == f"facekit: {tmp_path}: cannot be written to\n"
        assert fake.received == []


def test_all_servers_and_models_must_answer_before_one_is_asked(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_masks(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        if model == "facemask_ensemble":
            context.abort(grpc.StatusCode.INTERNAL, "out of memory")
        return faces_of(model, inputs, context)

    argv = ["evaluate", "--labels", str(data)]
    with FakeTriton(faces_of) as good:
        with FakeTriton(no_masks) as bad:
            both = ["--url", good.url, "--url", bad.url]
            assert main([*argv, *both, "--model", "faces", "--model", "facemask_ensemble"]) == 2
            # The kit's own photo, and none of the data's.
            sent = [
                photo for _, inputs in (good.received + bad.received) for photo in inputs.values()
            ]
            assert {photo.tobytes() for photo in sent} == {PROBE}
            err = capsys.readouterr().err
            assert f"facemask_ensemble at {bad.url} does not answer: " in err
            assert "out of memory" in err
        good.received.clear()
        assert main([*argv, *both]) == 2
        assert good.received == []
        assert f"no server is ready at {bad.url}" in capsys.readouterr().err


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
        assert len(fake.received) == 1
    assert "facemask_ensemble" in capsys.readouterr().err


def test_json_that_cannot_be_written_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.json"

    def meanwhile(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        target.mkdir(exist_ok=True)
        return faces_of(model, inputs, context)

    with FakeTriton(meanwhile) as fake:
        argv = ["evaluate", "--labels", str(data), "--url", fake.url, "--json", str(target)]
        assert main(argv) == 2
    out, err = capsys.readouterr()
    # What was measured is not lost with it.
    assert "any face" in out and f"{target}: Is a directory" in err


def test_the_folders_of_what_is_written_are_made(data: Path, url: str, tmp_path: Path) -> None:
    plot, path = tmp_path / "new" / "a" / "curve.png", tmp_path / "new" / "b" / "out.json"
    argv = ["evaluate", "--labels", str(data), "--url", url]
    assert main([*argv, "--plot", str(plot), "--json", str(path)]) == 0
    assert plot.is_file() and path.is_file()


def test_photos_without_labels_are_counted(
    data: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c", "d"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(data / "images" / f"{name}.png")
    path = tmp_path / "out.json"
    argv = ["evaluate", "--labels", str(data), "--url", url]
    assert main([*argv, "--json", str(path)]) == 0
    assert "\n2 photos without a label file: not looked at.\n" in capsys.readouterr().out
    assert json.loads(path.read_text("utf-8"))["photos_without_labels"] == 2
    # Of those asked for.
    listed = tmp_path / "list.txt"
    listed.write_text("a\nb\n")
    assert main([*argv, "--list", str(listed)]) == 0
    assert "without a label file" not in capsys.readouterr().out


def test_a_partly_annotated_face_is_not_a_missed_one(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = "".join(f"{x} {y}\n" for x, y in [FACE[:2], FACE[2:]] * 34)
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points: 68\n{{\n{whole}}}\n")
    pupils = "-1 -1\n" * 68 + "3 4\n" * 12
    (tmp_path / "b.pts").write_text(f"version: 1\nn_points: 80\n{{\n{pupils}}}\n")
    for name in "ab":
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.png")
    assert main(["evaluate", "--labels", str(tmp_path), "--url", url]) == 1
    out = capsys.readouterr().out
    assert rows(out, "faces missed") == [["faces", "missed", "0.00%"]]
    assert f"{tmp_path}/b.pts: the points that are annotated span no face box" in out


def test_what_needs_a_package_names_the_extra_of_the_subcommand(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton(faces_of) as fake:
        monkeypatch.setitem(sys.modules, "PIL", None)
        assert main(["evaluate", "--labels", str(data), "--url", fake.url]) == 2
        assert fake.received == []
    expected = "PIL is not installed: pip install 'facekit[evaluate]'"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "module", "extra"),
    [
        (["evaluate", "--labels", "x"], "matplotlib.figure", "evaluate"),
        (["evaluate", "--labels", "x"], "pytriton", "server"),
        (["data", "--train", "--kitti-base-path", "x"], "PIL", "data"),
        (["data", "--train", "--kitti-base-path", "x"], "scipy.io", "data"),
        (["bench"], "matplotlib", "bench"),
        (["detect", "x"], "PIL", "draw"),
    ],
)
def test_the_extra_is_that_of_the_subcommand(
    argv: list[str],
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(args: object) -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(f"facekit.cli.{argv[0]}.run", run)
    assert main(argv) == 2
    assert capsys.readouterr().err.endswith(f"pip install 'facekit[{extra}]'\n")


def test_an_error_of_the_system_names_its_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "/some/folder")

    monkeypatch.setattr(evaluate, "run", run)
    assert main(["evaluate", "--labels", str(data)]) == 2
    assert capsys.readouterr().err == "facekit: /some/folder: Permission denied\n"


def turned(box: list[int], orientation: int) -> list[int]:
    """Return a box of the upright photo in the pixels as they are stored: 6 a turn, 3 half one."""
    x1, y1, x2, y2 = box
    if orientation == 3:
        return [WIDTH - x2, HEIGHT - y2, WIDTH - x1, HEIGHT - y1]
    return [y1, WIDTH - x2, y2, WIDTH - x1]


@pytest.mark.parametrize(
    ("kind", "orientation"),
    # Half a turn leaves the size as it is: then the pixels as stored are meant.
    [
        *((kind, k) for kind in ("kitti", "pts", "stored", "neither") for k in (3, 6)),
        ("upright", 6),
    ],
)
def test_labels_of_a_photo_that_is_stored_turned(
    tmp_path: Path, url: str, kind: str, orientation: int, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (WIDTH, HEIGHT) if orientation == 3 else (HEIGHT, WIDTH)
    Image.new("RGB", stored).save(tmp_path / "a.png", exif=exif)
    boxes = [turned(box, orientation) for box in (FACE, OTHER, FALSE)]
    if kind == "kitti":
        (tmp_path / "a.txt").write_text(kitti(*(("face", box) for box in boxes)))
    elif kind == "pts":
        # Without the forehead, a fifth of the box and above the points once they are upright.
        faces = [[x1, y1 + (y2 - y1) // 5, x2, y2] for x1, y1, x2, y2 in (FACE, OTHER, FALSE)]
        for number, face in enumerate(faces):
            x1, y1, x2, y2 = turned(face, orientation)
            points = f"{x1} {y1}\n{x2} {y2}\n" * 34
            (tmp_path / f"a_{number}.pts").write_text(f"version: 1\n{{\n{points}}}\n")
    else:
        width, height = {"stored": stored, "upright": (WIDTH, HEIGHT), "neither": (9, 999)}[kind]
        boxes = [FACE, OTHER, FALSE] if kind == "upright" else boxes
        annotations = [
            {"image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for x1, y1, x2, y2 in boxes
        ]
        image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
        categories = [{"id": 1, "name": "face"}]
        content = {"images": [image], "annotations": annotations, "categories": categories}
        (tmp_path / "a.json").write_text(json.dumps(content))
    argv = ["evaluate", "--labels", str(tmp_path), "--url", url, "--model", "facenet_ensemble"]
    argv += ["--iou", "0.99"]
    if kind == "neither":
        assert main(argv) == 2
        assert "labels of a photo of 9x999 pixels, but upright it has 736x416" in (
            capsys.readouterr().err
        )
        return
    assert main(argv) == 0
    assert rows(capsys.readouterr().out, "any face")[0][3:5] == ["3", "1.000"]
