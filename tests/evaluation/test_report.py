from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigError, DataError, PhotoError, ServerError, SetupError
from facekit.evaluation.average_precision import Curve
from facekit.evaluation.class_scores import BandScore, ClassScore
from facekit.evaluation.landmark_errors import LandmarkErrors
from facekit.evaluation.plot import check_suffix, write_plot
from facekit.evaluation.report import Evaluation, Failure, Remarks
from facekit.evaluation.served import ScoringRules, ServedScore
from facekit.labels.photo_labels import PhotoLabels

NAN = float("nan")
NOTHING = Curve(np.zeros(0, np.float32), np.zeros(0), np.zeros(0), 0)
FOUND = Curve(np.float32([0.9, 0.75]), np.array([1, 0.5]), np.array([0.5, 0.5]), 2)
EMPTY = ServedScore("faces", (ClassScore("any face", NOTHING, NAN),), NAN, None)


def server(name: str, *classes: str, landmarks: LandmarkErrors | None = None) -> ServedScore:
    bands = (BandScore(20, 40, 0, NAN), BandScore(40, 80, 2, 0.5), BandScore(160, 9999, 0, NAN))
    rows = tuple(ClassScore(one, FOUND, 0.5, bands) for one in classes)
    return ServedScore(name, rows, 0.5, landmarks)


def evaluation(*servers: ServedScore, failures: tuple[Failure, ...] = ()) -> Evaluation:
    return Evaluation("my\nlabels", ScoringRules(), 3, 4, servers, failures)


def lines(text: str, start: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(start)]


def test_nothing_measured() -> None:
    result = evaluation(EMPTY)
    text = result.text()
    assert text.startswith("my labels: 3 photos with 4 faces.\nThose of 20 px or more count")
    assert lines(text, "any face") == [["any", "face", "faces", "0", "-", "-", "-", "-"]]
    assert "Landmarks" not in text and "Left out" not in text
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    (row,) = values["servers"][0]["classes"]
    assert row["average_precision"] is row["recall"] is row["lowest_score"] is None
    assert values["servers"][0]["landmarks"] is None


def test_servers_stand_side_by_side() -> None:
    text = evaluation(
        server("facemask_ensemble at a:1", "mask", "no-mask", "any face"),
        server("faces at b:2", "any face"),
    ).text()
    figures = ["2", "0.500", "0.500", "0.500", "0.750"]
    assert lines(text, "no-mask ") == [
        ["no-mask", "facemask_ensemble", "at", "a:1", *figures],
        ["no-mask", "40-80", "px", "2", "0.500"],
    ]
    assert lines(text, "any face ") == [
        ["any", "face", "facemask_ensemble", "at", "a:1", *figures],
        ["any", "face", "faces", "at", "b:2", *figures],
        ["any", "face", "40-80", "px", "2", "0.500", "0.500"],
    ]
    # The mean is of the model's own classes; a model of one has none.
    assert lines(text, "mean") == [
        ["mean", "of", "classes", "facemask_ensemble", "at", "a:1", "0.500"]
    ]
    # Heads of two lines over their columns.
    table = text.split("AP by height\n\n")[1].splitlines()
    assert table[0].split() == ["facemask_ensemble", "faces"]
    assert table[1].split() == ["class", "height", "labeled", "a:1", "b:2"]
    assert set(table[2]) == {"-"}
    assert len(table[1]) == len(table[2]) == len(table[-1])


def test_landmarks_by_region() -> None:
    true = np.zeros((68, 2), np.float32)
    true[36], true[45] = (0, 0), (40, 0)
    box = np.float32([0, 0, 80, 80])
    of_68 = LandmarkErrors.of_faces([true + np.float32([2, 0])], [true], [box], missed=1)
    true_80 = np.concatenate([true, np.full((12, 2), np.nan, np.float32)])
    of_80 = LandmarkErrors.of_faces([true_80], [true_80], [box], point_count=80)
    result = evaluation(
        server("faces at a:1", "any face", landmarks=of_68),
        server("facenet_ensemble at a:1", "any face"),
        server("faces at b:2", "any face", landmarks=of_80),
    )
    text = result.text()
    assert lines(text, "eyes") == [["eyes", "2.00", "px", "5.00%", "0.00", "px", "0.00%"]]
    assert lines(text, "pupils") == [["pupils", "-", "-", "-", "-"]]
    assert lines(text, "median face") == [["median", "face", "5.00%", "0.00%"]]
    assert lines(text, "faces ")[0] == ["faces", "2", "1"]
    assert lines(text, "faces missed") == [["faces", "missed", "50.00%", "0.00%"]]
    assert lines(text, "missed or over 8%")[0][-2:] == ["50.00%", "0.00%"]
    own, none, other = (values["landmarks"] for values in result.to_dict()["servers"])
    assert own["by_region"]["mouth"] == {"crop_pixels": 2, "eye_share": 0.05}
    assert (own["faces"], own["missed"], own["missed_share"]) == (2, 1, 0.5)
    assert none is None
    assert other["by_region"]["ears"] == {"crop_pixels": None, "eye_share": None}


def test_the_json_holds_the_curves() -> None:
    values = evaluation(server("faces", "any face")).to_dict()
    assert values["minimum_overlap"] == 0.5 and values["minimum_height"] == 20
    (row,) = values["servers"][0]["classes"]
    assert row["curve"] == {"scores": [0.9, 0.75], "precision": [1, 0.5], "recall": [0.5, 0.5]}
    assert (row["faces"], row["precision"], row["recall"], row["lowest_score"]) == (
        2,
        0.5,
        0.5,
        0.75,
    )
    assert row["by_height"][1] == {"low": 40, "high": 80, "faces": 2, "average_precision": 0.5}


def test_what_is_left_out_is_named() -> None:
    wrong = DataError(Path("a.xml"), "has an\nempty box", 7)
    failures = [Failure("a.xml", wrong)]
    failures += [Failure(f"{n}.jpg", PhotoError(f"{n}.jpg: empty")) for n in range(24)]
    result = evaluation(EMPTY, failures=tuple(failures))
    shown = result.text().split("Left out, 25 in all:\n")[1].splitlines()
    assert shown[0] == "  a.xml:7: has an empty box"
    assert shown[1] == "  0.jpg: empty"
    assert len(shown) == 21 and shown[-1] == "  and 5 more, which --json names"
    written = result.to_dict()["failures"]
    assert len(written) == 25
    assert written[1] == {
        "file": "0.jpg",
        "server": None,
        "error": {"type": "PhotoError", "message": "0.jpg: empty"},
    }


def test_a_failure_says_whose_it_is() -> None:
    both = (
        Failure("b.jpg", ServerError("a bad\nday"), "faces at a:1"),
        Failure("b.jpg", PhotoError("b.jpg: empty"), "faces at b:2"),
    )
    result = evaluation(EMPTY, failures=both)
    # One photo is left out, and both say why.
    assert result.text().split("Left out, 1 in all:\n")[1].splitlines() == [
        "  faces at a:1: b.jpg: a bad day",
        "  faces at b:2: b.jpg: empty",
    ]
    written = result.to_dict()["failures"]
    assert [(one["file"], one["server"], one["error"]["type"]) for one in written] == [
        ("b.jpg", "faces at a:1", "ServerError"),
        ("b.jpg", "faces at b:2", "PhotoError"),
    ]


def labels(ignored: list[bool], points: list[int]) -> PhotoLabels:
    faces = tuple(np.zeros((count, 2), np.float32) if count else None for count in points)
    boxes = np.zeros((len(faces), 4), np.float32)
    names = ("face",) * len(faces)
    return PhotoLabels(None, None, boxes, names, np.array(ignored, bool), faces, Path("a.xml"))


def test_what_is_not_measured_gets_a_line() -> None:
    assert Remarks.of([], 0) == Remarks() and Remarks().lines() == []
    photos = [labels([True, False, True], [17, 68, 0]), labels([False] * 3, [17, 5, 104])]
    remarks = Remarks.of(photos, 1200)
    result = Evaluation("x", ScoringRules(), 2, 6, (EMPTY,), (), remarks)
    assert result.text().endswith(
        "\n\n1,200 photos without a label file: not looked at.\n"
        "2 objects marked as difficult, crowd, invalid or DontCare: neither missed nor wrong to "
        "find.\n"
        "1 object with 5 points: not compared, the face schemes have 68, 80, 104.\n"
        "2 objects with 17 points: not compared, the face schemes have 68, 80, 104."
    )
    values = result.to_dict()
    assert (values["photos_without_labels"], values["ignored_objects"]) == (1200, 2)
    assert values["objects_by_points_of_no_scheme"] == {"5": 1, "17": 2}
    assert evaluation(EMPTY).to_dict()["photos_without_labels"] == 0


def test_any_face_comes_last() -> None:
    text = evaluation(
        server("faces", "any face"), server("facemask_ensemble", "mask", "any face")
    ).text()
    rows = [line for line in text.splitlines() if line.startswith(("mask", "any face"))]
    starts = [row.split("  ")[0] for row in rows]
    assert starts == ["mask", "any face", "any face", "mask", "any face"]


def test_a_picture_of_a_kind_that_cannot_be_drawn() -> None:
    for name in ("a.png", "a.PDF", "b/a.svg"):
        check_suffix(Path(name))
    for name in ("a", "a.txt", "a.png.bak", ".png"):
        with pytest.raises(ConfigError, match=f"{name}: expected a name that ends in .png"):
            check_suffix(Path(name))


def test_without_a_least_height_all_count() -> None:
    text = Evaluation("labels", ScoringRules(minimum_height=0), 1, 1, (EMPTY,), ()).text()
    assert "\nAll count, " in text


def test_the_plot_has_a_panel_a_class(tmp_path: Path) -> None:
    one, three = tmp_path / "one.png", tmp_path / "three.png"
    write_plot([EMPTY], "nothing", one)
    both = [
        server("facemask_ensemble", "mask", "no-mask", "any face"),
        server("faces", "any face"),
    ]
    write_plot(both, "two servers", three)
    with Image.open(one) as narrow, Image.open(three) as wide:
        assert wide.width > 2 * narrow.width
        # The first server's blue, in every panel; nothing is drawn without faces.
        blue = np.abs(np.asarray(wide.convert("RGB"), int) - (0x25, 0x63, 0xA8)).sum(axis=2) < 9
        assert all(part.sum() > 40 for part in np.array_split(blue, 3, axis=1))
        blue = np.abs(np.asarray(narrow.convert("RGB"), int) - (0x25, 0x63, 0xA8)).sum(axis=2) < 9
        assert blue.sum() == 0
    (tmp_path / "full.png").symlink_to("/dev/full")
    with pytest.raises(SetupError, match=r"full\.png: cannot be written: No space left.*free some"):
        write_plot([EMPTY], "nothing", tmp_path / "full.png")
    (tmp_path / "no").write_text("")
    with pytest.raises(SetupError, match="no/plot.png: cannot be written: (File exists|Not a dir)"):
        write_plot([EMPTY], "nothing", tmp_path / "no" / "plot.png")


def test_the_legend_leaves_the_curve_free(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    scores = np.linspace(0.9, 0.1, 50).astype(np.float32)
    low = Curve(scores, np.full(50, 0.07), np.linspace(0, 0.5, 50), 9)
    write_plot([ServedScore("faces", (ClassScore("any face", low, 0.5),), 0.5, None)], "x", path)
    with Image.open(path) as picture:
        dark = np.asarray(picture.convert("L"), int) < 60
    # Words inside the axes stand in another quarter than the curve.
    height, width = dark.shape
    across = slice(width * 3 // 20, width // 2), slice(width // 2, width * 19 // 20)
    down = slice(height * 11 // 100, height // 2), slice(height // 2, height * 17 // 20)
    quarters = [[int(dark[rows, columns].sum()) for columns in across] for rows in down]
    assert quarters[1][0] == 0 and sum(map(sum, quarters)) > 50
