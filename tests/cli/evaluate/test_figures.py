"""What is measured, as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.cli import main
from tests.cli.evaluate.three_faces import HEIGHT, WIDTH, rows


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


def test_json_to_standard_output_is_json_alone(
    data: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--labels", str(data), "--url", url, "--json", "-", "--mode", "SAMPLE"]
    assert main([*argv, "--iou", "0.9", "--min-height", "0"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["average_precision_mode"], values["minimum_overlap"]) == ("SAMPLE", 0.9)
    assert values["minimum_height"] == 0 and values["photos"] == 2


def test_the_folders_of_what_is_written_are_made(data: Path, url: str, tmp_path: Path) -> None:
    plot, path = tmp_path / "new" / "a" / "curve.png", tmp_path / "new" / "b" / "out.json"
    argv = ["evaluate", "--labels", str(data), "--url", url]
    assert main([*argv, "--plot", str(plot), "--json", str(path)]) == 0
    assert plot.is_file() and path.is_file()


@pytest.mark.parametrize(
    ("option", "name"), [("--plot", "curve.png"), ("--json", "out.json"), ("--plot", "c.pdf")]
)
def test_only_files_that_it_wrote_are_replaced(
    data: Path, url: str, tmp_path: Path, option: str, name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / name
    argv = ["evaluate", "--labels", str(data), option, str(path), "--url"]
    assert main([*argv, url]) == 0 and main([*argv, url]) == 0
    path.write_text('{"labels": "by hand"}')
    assert main([*argv, "127.0.0.1:1"]) == 2
    assert f"{path}: exists and was not written by facekit" in capsys.readouterr().err
    assert path.read_text() == '{"labels": "by hand"}'
