"""Whole runs: which files come out, and which summary."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facekit.datasets
from facekit.cli import data
from facekit.labels.kitti import read_kitti
from tests.datasets.face_sets import (
    FRAME_WH,
    box_points,
    write_photo,
    write_pts,
    write_voc_set,
    write_wider,
)
from tests.datasets.tutorial_sets import (
    MASKED,
    SIZE,
    convert,
    labels,
    line,
    write_all,
)


def test_training_set_of_the_tutorial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tmp_path / "out", *write_all(tmp_path)) == 0
    train = tmp_path / "out" / "train"
    mafa = (20, 80, 80, 240)
    assert labels(train) == {
        "kaggle_x": [line("Mask", 20, 80, 60, 160), line("No-Mask", 100, 0, 120, 40)],
        "kaggle_y": [line("Mask", 20, 80, 60, 160)],
        "mafa_train_1": [line("Mask", *mafa)],
        "mafa_train_3": [line("No-Mask", *mafa)],
        "fddb_2002_1_x": [line("No-Mask", 40, 40, 200, 200)],
        "fddb_2002_2_x": [line("No-Mask", 0, 0, 36, 72)],
        "wider_4_a": [line("No-Mask", *mafa)],
    }
    for path in (train / "images").iterdir():
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == (FRAME_WH, "RGB", "JPEG")
            # JPEG's own table of the luminance at quality 95 starts so.
            assert image.quantization[0][:4] == [2, 1, 1, 2]
    assert capsys.readouterr().out == (
        "Kaggle Dataset: Total Mask faces: 2 and No-Mask faces:1\n"
        "Total Mask Labelled:2 and No-Mask Labelled:1\n"
        "\n"
        "MAFA Dataset: Total Mask faces: 1 and No-Mask faces:1\n"
        "Total Mask Labelled:3 and No-Mask Labelled:2\n"
        "\n"
        "FDDB Dataset: Mask Labelled:0 and No-Mask Labelled:2\n"
        "Total Mask Labelled:3 and No-Mask Labelled:4\n"
        "\n"
        "WideFace: Total Mask Labelled:0 and No-Mask Labelled:1\n"
        "----------------------------\n"
        "Final: Total Mask Labelled:3\n"
        "Total No-Mask Labelled:5\n"
        "----------------------------\n"
    )
    told = json.loads((train / "sources.json").read_text())
    sources = told["photos"]
    assert told["size_wh"] == list(FRAME_WH)
    assert sources["fddb_2002_1_x"] == "2002/1/x.jpg" and len(sources) == 7


def test_evaluation_set_of_the_tutorial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tmp_path / "out", *write_all(tmp_path), part="--val") == 0
    assert labels(tmp_path / "out" / "test") == {
        "mafa_test_1": [line("Mask", 20, 80, 80, 240), line("No-Mask", 120, 80, 180, 240)],
        "wider_4_a": [line("No-Mask", 20, 80, 80, 240)],
    }
    assert not (tmp_path / "out" / "train").exists()
    # Unlike in the tutorial's own script, bare faces of the test part count.
    assert "MAFA Dataset: Total Mask faces: 1 and No-Mask faces:1\n" in capsys.readouterr().out


def test_the_other_mask_set_and_ours(tmp_path: Path) -> None:
    kinds = ("with_mask", "without_mask", "mask_weared_incorrect")
    objects = [(kind, (10, 20, 30, 40)) for kind in kinds]
    names = [f"maksssksksss{number}" for number in range(9)]
    write_voc_set(tmp_path / "set", "annotations", {f"{name}.jpg": objects for name in names})
    write_photo(tmp_path / "portraits" / "p.jpg", (100, 100))
    write_pts(tmp_path / "portraits" / "p_1.pts", box_points(10, 28, 90, 92))
    write_photo(tmp_path / "empty" / "e.jpg")
    options = (
        *("--mask-detection-path", str(tmp_path / "set")),
        *("--portraits-path", str(tmp_path / "portraits")),
        *("--empty-path", str(tmp_path / "empty")),
        *SIZE,
    )
    for part in ("--train", "--val"):
        assert convert(tmp_path / "out", *options, part=part) == 0
    train, test = labels(tmp_path / "out" / "train"), labels(tmp_path / "out" / "test")
    assert set(test) | set(train) == {
        *(f"mask-detection_{name}" for name in names),
        "portraits_p_1",
        "empty_e",
    }
    assert test and not set(test) & set(train)
    box = (20, 80, 60, 160)
    expected = [line("Mask", *box), line("No-Mask", *box), line("incorrect-mask", *box)]
    assert {tuple(lines) for lines in test.values()} == {tuple(expected)}
    assert train["empty_e"] == []
    # The window is larger than the photo, which therefore stays whole.
    assert train["portraits_p_1"] == [line("No-Mask", 40, 48, 360, 368)]


def test_a_portrait_is_cut_and_its_sides_are_not_trained(tmp_path: Path) -> None:
    write_photo(tmp_path / "p.jpg", (1000, 800))
    write_pts(tmp_path / "p_1.pts", box_points(480, 416, 520, 480))
    assert convert(tmp_path / "out", "--portraits-path", str(tmp_path), *SIZE) == 0
    face, left, right = (
        text.split() for text in labels(tmp_path / "out" / "train")["portraits_p_1"]
    )
    x1, y1, x2, y2 = (float(side) for side in face[4:8])
    assert face[0] == "No-Mask" and left[0] == right[0] == "DontCare"
    assert 400 / 2.6 < y2 - y1 < 400 / 1.4 and 0 <= x1 < x2 <= 400
    margin = (x2 - x1) / 4
    assert left[4:8] == ["0.00", "0.00", f"{x1 - margin:.2f}", "400.00"]
    assert float(right[4]) == pytest.approx(x2 + margin, abs=0.02)
    assert right[5:8] == ["0.00", "400.00", "400.00"]


def test_rules_may_be_changed(tmp_path: Path) -> None:
    options = write_all(tmp_path)
    events = {"7--Other": {"7_a": [([10, 20, 30, 40], 0)] * 4}}
    write_wider(tmp_path / "wider2", events, matlab=False, text=True)
    options[options.index("--widerface-dataset-path") + 1] = str(tmp_path / "wider2")
    more = ("--dont-care", "--mafa-tall", "--wider-events", "all", "--wider-max-faces", "4")
    assert convert(tmp_path / "out", *options, *more) == 0
    found = labels(tmp_path / "out" / "train")
    assert len(found["wider_7_a"]) == 4
    assert found["mafa_train_2"] == [line("Mask", 40, 40, 160, 120)]
    assert found["mafa_train_3"][1] == line("DontCare", 120, 80, 180, 240)


def test_labels_made_on_the_upright_picture_fit_it(tmp_path: Path) -> None:
    write_voc_set(tmp_path / "k", "labels", {"x.jpg": [MASKED]})
    photo = tmp_path / "k" / "images" / "x.jpg"
    upright = np.zeros((100, 200, 3), np.uint8)
    upright[20:40, 10:30] = 255
    tags = Image.Exif()
    tags[0x0112] = 6
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    stored.save(photo, exif=tags, quality=95)
    assert convert(tmp_path / "out", "--kaggle-dataset-path", str(tmp_path / "k"), *SIZE) == 0
    with Image.open(tmp_path / "out" / "train" / "images" / "kaggle_x.jpg") as image:
        pixels = np.asarray(image.convert("L")).astype(float)
        assert image.getexif().get(0x0112, 1) == 1
    box = read_kitti(tmp_path / "out" / "train" / "labels" / "kaggle_x.txt").boxes_xyxy[0]
    x1, y1, x2, y2 = box.astype(int)
    inside = pixels[y1 + 6 : y2 - 6, x1 + 3 : x2 - 3]
    assert inside.min() > 200 and pixels.sum() < 1.2 * 255 * (x2 - x1) * (y2 - y1)


def test_the_options_that_the_guide_names_exist() -> None:
    guide = (Path(facekit.datasets.__file__).parent / "README.md").read_text("utf-8")
    named = set(re.findall(r"--[a-z][\w-]+", guide))
    parser = argparse.ArgumentParser()
    data.add_parser(parser.add_subparsers())
    (subparsers,) = parser._subparsers._group_actions  # type: ignore[union-attr]
    text = subparsers.choices["data"].format_help()  # type: ignore[index]
    known = set(re.findall(r"--[a-z][\w-]+", text))
    assert named <= known
    assert {option for option in known if option.endswith("-path")} <= named
