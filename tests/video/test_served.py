"""The command against the real server: a known face on a known path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekit.cli import main
from facekit.serving.embedded import EmbeddedServer
from tests.video.test_run import rows
from tests.video.test_source import read
from tests.video.videos import portrait, scene, turn, write_video

COUNT = 24
SIZE_WH = (480, 320)


def place(index: int) -> tuple[int, int]:
    """A path of 8 px a frame along, and up and down."""
    return 20 + 8 * index, 60 + round(40 * np.sin(index / 4))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_video(path, (scene([place(i)], SIZE_WH) for i in range(COUNT)))


def test_a_face_is_where_its_path_is(
    film: Path, tmp_path: Path, server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out, jsonl = tmp_path / "o.mp4", tmp_path / "o.jsonl"
    options = ["--url", server.grpc_url, "--timeout", "60", "--min-score", "0.7"]
    assert main(["video", str(film), *options, "--out", str(out), "--jsonl", str(jsonl)]) == 0
    assert capsys.readouterr().out == "24 of 24 frames were looked at; 1 person\n"
    lines = rows(jsonl)
    assert len(lines) == COUNT == len(read(out))
    assert all(len(line["faces"]) == 1 for line in lines)
    for name in ("center_xy", "box_xyxy"):
        found = [np.reshape(line["faces"][0][name], (-1, 2)).mean(axis=0) for line in lines]
        # Where in the head the eyes and the box's middle are is not known: the same everywhere.
        offsets = np.array(found) - [place(index) for index in range(COUNT)]
        errors = np.abs(offsets - np.median(offsets, axis=0))
        # The network's boxes waver by some pixels in single frames; the eyes do not.
        assert errors.mean() < 2, name
        assert errors.max() < (2 if name == "center_xy" else 5), name


def test_a_video_on_its_side_is_looked_at_upright(tmp_path: Path, server: EmbeddedServer) -> None:
    stored = np.ascontiguousarray(np.rot90(portrait()))  # a player turns it back clockwise
    path = turn(write_video(tmp_path / "phone.mp4", [stored] * 3))
    jsonl = tmp_path / "o.jsonl"
    assert main(["video", str(path), "--url", server.grpc_url, "--jsonl", str(jsonl)]) == 0
    for line in rows(jsonl):
        assert np.abs(np.subtract(line["faces"][0]["box_xyxy"], (125, 75, 228, 182))).max() < 25
        assert abs(line["faces"][0]["rotation_deg"]) < 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alert-after", "5"], "--alert-after goes with --model facemask_ensemble"),
        (["--on-alert", "true"], "--on-alert goes with --alert-after"),
        (["--out", "a.avi"], "--out: expected the name of an .mp4, got a.avi"),
        (["--jsonl", "FILM"], "is a file that is read"),
        (["--events", "NOTES"], "was not written by facekit"),
    ],
)
def test_wrong_options_say_so_before_a_server_is_started(
    options: list[str],
    message: str,
    film: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    names = {"FILM": str(film), "NOTES": str(notes)}
    assert main(["video", str(film), *(names.get(each, each) for each in options)]) == 2
    assert message in capsys.readouterr().err
    assert notes.read_text() == "mine"


def test_a_missing_file_says_so_before_a_server_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["video", str(tmp_path / "no.mp4")]) == 2
    assert "no.mp4: cannot be opened as a video: No such file" in capsys.readouterr().err
