"""WIDER FACE's folders as they are unpacked, and its protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facekit.cli import main
from tests.cli.evaluate.three_faces import FACE, FALSE, HEIGHT, OTHER, WIDTH, rows
from tests.datasets.face_sets import write_photo, write_wider
from tests.labels.wider_subsets import write_subsets


def xywh(box: list[int]) -> list[int]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


# All three boxes are found in every photo, surest first.
EVENTS = {
    "0--Parade": {"0_a": [(xywh(FACE), 0), (xywh(OTHER), 2)]},
    "1--Handshaking": {"1_b": [(xywh(OTHER), 0), (xywh(FALSE), 0), ([5, 5, 12, 12], 0)]},
}
COUNTED = {
    "easy": {"0--Parade/0_a": [1]},
    "medium": {"0--Parade/0_a": [1], "1--Handshaking/1_b": [1]},
    "hard": {"0--Parade/0_a": [1, 2], "1--Handshaking/1_b": [1, 2, 3]},
}


@pytest.fixture
def wider(tmp_path: Path) -> Path:
    write_wider(tmp_path, EVENTS, part="val", matlab=False, text=True)
    for event, photos in EVENTS.items():
        for name in photos:
            path = tmp_path / "WIDER_val" / "images" / event / f"{name}.jpg"
            write_photo(path, (WIDTH, HEIGHT))
    write_subsets(tmp_path / "eval_tools" / "ground_truth", EVENTS, COUNTED)
    return tmp_path


def test_subsets_by_the_protocol(
    wider: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--labels", str(wider / "WIDER_val"), "--url", url]
    out = tmp_path / "out.json"
    assert main([*argv, "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "WIDER_val: 2 photos with 5 faces." in text
    # Of 20 px and more: three of four from 0.8 on beside one wrong box, the last beside two.
    assert rows(text, "any face")[0][3:5] == ["4", "0.729"]
    protocol = text[text.index("AP by WIDER FACE's own protocol") :]
    # Easy: the photo b has no such face, but its boxes beside the other faces are wrong.
    assert rows(protocol, "server") == [["server", "easy", "medium", "hard"]]
    ((_, *shares),) = rows(protocol, "faces")
    values = json.loads(out.read_text())["wider"]["faces"]
    assert shares == [f"{values[name]:.3f}" for name in ("easy", "medium", "hard")]
    # By score: FACE of a and FACE of b together, OTHER of both, FALSE of both.
    assert values == {
        "easy": 0.5,
        "medium": pytest.approx(2 / 3),
        "hard": pytest.approx(0.6 * 3 / 4 + 0.2 * 4 / 6),
    }


def test_part_of_the_photos_has_no_such_figure(
    wider: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--labels", str(wider), "--url", url]
    listed = tmp_path / "list.txt"
    listed.write_text("0_a.jpg\n")
    assert main([*argv, "--list", str(listed)]) == 0
    assert "own protocol" not in capsys.readouterr().out


def test_a_photo_that_fails_is_missed(
    wider: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (wider / "WIDER_val" / "images" / "1--Handshaking" / "1_b.jpg").write_bytes(b"no photo")
    assert main(["evaluate", "--labels", str(wider), "--url", url]) == 1
    text = capsys.readouterr().out
    assert "1_b.jpg" in text[text.index("Left out, 1 in all:") :]
    assert rows(text, "faces")[-1] == ["faces", "1.000", "0.500", "0.400"]


def test_a_set_without_the_tools_has_the_usual_figures(
    wider: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (wider / "eval_tools" / "ground_truth").iterdir():
        file.unlink()
    assert main(["evaluate", "--labels", str(wider), "--url", url]) == 0
    text = capsys.readouterr().out
    assert "own protocol" not in text and rows(text, "any face")
