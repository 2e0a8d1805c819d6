from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.errors import DataError, FacekitError, PhotoError, SetupError
from facekit.evaluation.average_precision import Curve
from facekit.evaluation.class_scores import ClassScore
from facekit.evaluation.landmark_errors import LandmarkErrors
from facekit.evaluation.plot import write_plot
from facekit.evaluation.report import Evaluation
from facekit.evaluation.served import BandScore, Rules, ServedScore

NAN = float("nan")
NOTHING = Curve(np.zeros(0, np.float32), np.zeros(0), np.zeros(0), 0)
FOUND = Curve(np.float32([0.9, 0.75]), np.array([1, 0.5]), np.array([0.5, 0.5]), 2)
EMPTY = ServedScore("faces", (ClassScore("any face", NOTHING, NAN),), ((),), NAN, None)


def server(name: str, *classes: str, landmarks: LandmarkErrors | None = None) -> ServedScore:
    rows = tuple(ClassScore(one, FOUND, 0.5) for one in classes)
    bands = (BandScore(20, 40, 0, NAN), BandScore(40, 80, 2, 0.5), BandScore(160, 9999, 0, NAN))
    return ServedScore(name, rows, (bands,) * len(rows), 0.5, landmarks)


def evaluation(
    *servers: ServedScore, failures: tuple[tuple[str, FacekitError], ...] = ()
) -> Evaluation:
    return Evaluation("my\nlabels", Rules(), 3, 4, servers, failures)


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
    assert table[1].split() == ["class", "height", "labelled", "a:1", "b:2"]
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
    failures = [("a.xml", wrong)] + [(f"{n}.jpg", PhotoError(f"{n}.jpg: empty")) for n in range(24)]
    result = evaluation(EMPTY, failures=tuple(failures))
    shown = result.text().split("Left out, 25 in all:\n")[1].splitlines()
    assert shown[0] == "  a.xml:7: has an empty box"
    assert shown[1] == "  0.jpg: empty"
    assert len(shown) == 21 and shown[-1] == "  and 5 more, which --json names"
    written = result.to_dict()["failures"]
    assert len(written) == 25
    assert written[1] == {
        "file": "0.jpg",
        "error": {"type": "PhotoError", "message": "0.jpg: empty"},
    }


def test_without_a_least_height_all_count() -> None:
    text = Evaluation("labels", Rules(minimum_height=0), 1, 1, (EMPTY,), ()).text()
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
    with pytest.raises(SetupError, match="no/plot.png"):
        write_plot([EMPTY], "nothing", tmp_path / "no" / "plot.png")
