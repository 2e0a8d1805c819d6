from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from facekit import Faces, PhotoError
from facekit.report import PhotoResult, results_table, to_json, totals
from facekit.text import show


def found(name: str, count: int) -> PhotoResult:
    boxes = np.array([[0, 0, 10 * (n + 1), 20 * (n + 1)] for n in range(count)]).reshape(-1, 4)
    faces = Faces(
        boxes, np.linspace(0.9, 0.5, count), np.zeros((count, 68, 2)), np.zeros((count, 68)),
        (640, 480),
    )  # fmt: skip
    return PhotoResult(name, faces)


def masked(name: str, labels: list[int]) -> PhotoResult:
    count = len(labels)
    faces = Faces(
        [[0, 0, 10, 20]] * count if count else np.zeros((0, 4)), [0.9] * count,
        np.zeros((count, 0, 2)), np.zeros((count, 0)), (640, 480),
        np.array(labels, np.int32), ("mask", "no-mask"),
    )  # fmt: skip
    return PhotoResult(name, faces)


def failed(name: str, text: str) -> PhotoResult:
    return PhotoResult(name, PhotoError(text))


def test_totals_have_commas_in_thousands() -> None:
    count = 1500
    faces = Faces(
        np.zeros((count, 4)), np.ones(count), np.zeros((count, 0, 2)), np.zeros((count, 0)),
        (640, 480), np.zeros(count, np.int32), ("mask", "no-mask"),
    )  # fmt: skip
    line = totals([PhotoResult("a.jpg", faces)])
    assert line == "1,500 faces in 1 photo: 1,500 mask, 0 no-mask"


def test_table_of_nothing_has_a_head_and_a_total() -> None:
    lines = results_table([]).splitlines()
    assert lines[0].split() == ["photo", "size", "faces", "scores", "largest", "note"]
    assert lines[-1] == "0 faces in 0 photos" and len(lines) == 3


def test_table_has_a_row_a_photo_and_the_total() -> None:
    text = results_table(
        [found("a.jpg", 2), found("b.jpg", 0), found("c.jpg", 1), failed("d.jpg", "text")]
    )
    rows = [line.split() for line in text.splitlines()[2:]]
    assert rows == [
        ["a.jpg", "640x480", "2", "0.50-0.90", "20x40"],
        ["b.jpg", "640x480", "0", "no", "face"],
        ["c.jpg", "640x480", "1", "0.90", "10x20"],
        ["d.jpg", "failed:", "text"],
        "3 faces in 3 photos; 1 photo failed".split(),
    ]


def test_table_counts_the_classes_of_each_photo_and_in_all() -> None:
    text = results_table([masked("a.jpg", [0, 1, 1]), masked("b.jpg", []), failed("d.jpg", "text")])
    head, _, *rows = (line.split() for line in text.splitlines())
    assert head == ["photo", "size", "faces", "mask", "no-mask", "scores", "largest", "note"]
    assert rows == [
        ["a.jpg", "640x480", "3", "1", "2", "0.90-0.90", "10x20"],
        ["b.jpg", "640x480", "0", "no", "face"],
        ["d.jpg", "failed:", "text"],
        "3 faces in 2 photos: 1 mask, 2 no-mask; 1 photo failed".split(),
    ]


def test_table_long_names_and_errors_stay_one_line_each() -> None:
    lines = results_table([failed("x" * 300, "x" * 300 + ": one\ntwo " + "y" * 300)]).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) < 200
    assert "failed: one two yyy" in lines[2]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_holds_every_photo(count: int) -> None:
    results = [found("a.jpg", n) for n in range(count)] + [failed("é.jpg", "text")] * (count > 0)
    data = json.loads(to_json(results))
    assert len(data["photos"]) == len(results)
    for entry, result in zip(data["photos"], results, strict=True):
        assert entry == result.to_dict()
    if count:
        assert data["photos"][-1] == {
            "photo": "é.jpg",
            "error": {"type": "PhotoError", "message": "text"},
        }


def test_json_of_nothing_is_valid() -> None:
    assert json.loads(to_json([])) == {"photos": []}


def test_names_and_texts_cannot_control_the_terminal() -> None:
    name = "a\x1b[2J\nb\r\x9bc\u202egpj.exe"
    drawn = PhotoResult(name, found("x", 1).result, f"out/{name}")
    stream = io.StringIO()
    show(results_table([drawn, failed(name, f"{name}: bad\x1b]0;title\x07 \x7ftext")]), stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    shown = "a\\x1b[2J b \\x9bc\\u202egpj.exe"
    assert lines[2].startswith(f"{shown} ") and lines[2].endswith(f" out/{shown}")
    assert lines[3].startswith(f"{shown} ")
    assert lines[3].endswith("failed: bad\\x1b]0;title\\x07 \\x7ftext")
    assert all(char.isprintable() for char in "".join(lines))


def test_show_keeps_line_ends_and_tabs_and_escapes_other_controls() -> None:
    stream = io.StringIO()
    show("one\ttwo\nthree\r\x1b[31m\0\u2066\u200bé", stream)
    assert stream.getvalue() == "one\ttwo\nthree\\r\\x1b[31m\\x00\\u2066\u200bé\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_cannot_be_shown_are_escaped(encoding: str) -> None:
    name = "caf\u00e9 \udcff.jpg"  # The second is how Python keeps a byte that is no UTF-8.
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(results_table([found(name, 1)]), stream)
    stream.seek(0)
    shown = stream.read()
    assert ("caf\u00e9" if encoding == "utf-8" else "caf\\xe9") in shown
    assert "\\udcff.jpg" in shown
    assert json.loads(to_json([found(name, 1)]))["photos"][0]["photo"] == name


def test_show_without_a_stream_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    show("nobody reads this")
