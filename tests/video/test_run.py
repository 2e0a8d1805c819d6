"""Runs over files: every frame once, the same bytes in each run, killed or not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from facekit.client import Client
from facekit.errors import DataError, FacekitError, PhotoError, ServerUnavailableError
from facekit.faces import Faces
from facekit.video import finding
from facekit.video.outputs import EVENT_VARIABLE, Hook
from facekit.video.run import Summary, VideoOptions, run_video
from tests.video.squares import BLUE, RED, SIDE, SquareClient, squares
from tests.video.test_source import read
from tests.video.videos import write_video

COUNT = 30
TESTS = Path(__file__).parents[2]


def place(index: int) -> tuple[int, int]:
    return 10 + 7 * index, 30 + 3 * index


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    frames = (squares([place(i), (250, 190)], [RED, BLUE]) for i in range(COUNT))
    return write_video(path, frames, audio="aac")


def run(source: Path | str, client: object | None = None, **options: Any) -> Summary:
    found = cast(Client, client or SquareClient())
    return run_video(str(source), found, VideoOptions(**options), lambda line: None)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_frame_has_its_line_and_its_place_in_the_video(video: Path, tmp_path: Path) -> None:
    out, jsonl = tmp_path / "o.mp4", tmp_path / "o.jsonl"
    summary = run(video, out=out, jsonl=jsonl)
    assert summary.line() == "30 of 30 frames were looked at; 2 people"
    lines = rows(jsonl)
    assert [line["frame"] for line in lines] == list(range(COUNT))
    assert [line["time_s"] for line in lines] == pytest.approx(np.arange(COUNT) / 25, abs=1e-3)
    numbers = {}
    for line in lines:
        x, y = place(line["frame"])
        moving = min(line["faces"], key=lambda face: face["box_xyxy"][0])
        assert np.abs(np.subtract(moving["box_xyxy"], (x, y, x + SIDE, y + SIDE))).max() <= 2
        numbers[line["frame"]] = moving["track"]
        assert len(moving["points_xy"]) == 68 and len(moving["pose_deg"]) == 3
    assert len(set(numbers.values())) == 1
    frames = read(out)
    assert len(frames) == COUNT
    for index in (0, 11, 29):
        x, y = place(index)
        inside = frames[index][1][y + 10, x - 2 : x + 1].astype(int)
        assert np.ptp(inside, axis=1).max() > 30, "the colored line of the box is there"
    assert {each.name for each in tmp_path.iterdir()} == {"o.mp4", "o.jsonl"}


def test_two_runs_write_the_same_bytes(video: Path, tmp_path: Path) -> None:
    written = []
    for name in ("1", "2"):
        out = [tmp_path / f"{name}.{kind}" for kind in ("mp4", "jsonl", "events")]
        run(video, out=out[0], jsonl=out[1], events=out[2])
        written.append([path.read_bytes() for path in out])
    assert written[0] == written[1]


def test_frames_that_were_not_looked_at_are_interpolated(video: Path, tmp_path: Path) -> None:
    client = SquareClient()
    summary = run(video, client, jsonl=tmp_path / "o.jsonl", every=4)
    assert client.calls == 8 == summary.looked_at
    for line in rows(tmp_path / "o.jsonl")[:29]:
        x, y = place(line["frame"])
        moving = min(line["faces"], key=lambda face: face["box_xyxy"][0])
        assert np.abs(np.subtract(moving["box_xyxy"][:2], (x, y))).max() <= 2
        assert ("interpolated" in moving) == (line["frame"] % 4 > 0)


def test_masks_alerts_and_the_command(video: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    hook = Hook(f"sh -c 'printf %s \"${EVENT_VARIABLE}\" >{said}.part && mv {said}.part {said}'")
    events = tmp_path / "events"
    summary = run(video, events=events, model="facemask_ensemble", alert_after_s=0.5, hook=hook)
    assert summary.people == "1 of 2 people wear a mask"
    first, *rest = rows(events)
    assert first["event"] == "alert" and first["class_name"] == "no-mask"
    assert first["box_xyxy"][0] == pytest.approx(250, abs=2)
    assert {"event": "count", "second": 0, "people": 2, "mask": 1, "no-mask": 1} in rest
    for _ in range(100):
        if said.exists():
            break
        time.sleep(0.05)
    assert json.loads(said.read_text()) == first


class Failing(SquareClient):
    def __init__(self, error: FacekitError, when: int, count: int = 1) -> None:
        super().__init__()
        self._error, self._when, self._left = error, when, count

    def detect(self, photo: bytes, *, model: str) -> Faces:
        faces = super().detect(photo, model=model)
        if self.calls > self._when and self._left:
            self._left -= 1
            raise self._error
        return faces


def test_a_frame_that_is_refused_is_said_and_the_others_go_on(video: Path, tmp_path: Path) -> None:
    summary = run(video, Failing(PhotoError("too dark"), 5), jsonl=tmp_path / "o.jsonl")
    assert "29 of 30 frames were looked at; 1 failed" in summary.line()
    wrong = [line for line in rows(tmp_path / "o.jsonl") if "error" in line]
    assert [line["error"] for line in wrong] == ["too dark"]
    assert len(wrong[0]["faces"]) == 2, "the tracks go through it"


def test_a_server_that_is_restarted_is_waited_for(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_PAUSE_S", 0.01)
    client = Failing(ServerUnavailableError("gone"), 5, count=20)
    summary = run(video, client, jsonl=tmp_path / "o.jsonl")
    assert summary.line() == "30 of 30 frames were looked at; 2 people"


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(video: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "o.jsonl"
    run(video, jsonl=whole)
    with pytest.raises(FacekitError, match="broken"):
        run(video, Failing(FacekitError("broken"), 12, count=99), jsonl=parts)
    assert not parts.exists()
    journal = tmp_path / ".o.jsonl.found"
    with journal.open("ab") as file:
        file.write(b'0.48\t{"pho')  # what a kill may leave
    client = SquareClient()
    run(video, client, jsonl=parts, resume=True)
    assert 0 < client.calls < COUNT
    assert parts.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_a_journal_of_other_options_is_not_gone_on_with(video: Path, tmp_path: Path) -> None:
    with pytest.raises(FacekitError, match="broken"):
        run(video, Failing(FacekitError("broken"), 9, count=99), jsonl=tmp_path / "o.jsonl")
    with pytest.raises(DataError, match="of other options; leave out --resume"):
        run(video, jsonl=tmp_path / "o.jsonl", resume=True, every=2)
    assert run(video, jsonl=tmp_path / "o.jsonl", every=2).looked_at == 15


def test_killed_at_any_moment(video: Path, tmp_path: Path) -> None:
    """Kill -9 while it finds and while it writes; then the same command ends like a whole run."""
    program = textwrap.dedent(
        """
        import sys, time
        from tests.video.squares import SquareClient
        from tests.video.test_run import run

        class Slow(SquareClient):
            def detect(self, photo, *, model):
                time.sleep(0.05)
                return super().detect(photo, model=model)

        print("begins", flush=True)
        from pathlib import Path
        run(sys.argv[1], Slow(), out=Path(sys.argv[2]), jsonl=Path(sys.argv[3]), resume=True)
        """
    )
    names = ("out.mp4", "out.jsonl")
    command = [sys.executable, "-c", program, str(video), *(str(tmp_path / n) for n in names)]
    for pause_s in (0.15, 0.3, 0.5):
        with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline()
            time.sleep(pause_s)
            child.send_signal(signal.SIGKILL)
    run(video, out=tmp_path / names[0], jsonl=tmp_path / names[1], resume=True)
    run(video, out=tmp_path / "whole.mp4", jsonl=tmp_path / "whole.jsonl")
    for name in names:
        assert (tmp_path / name).read_bytes() == (
            tmp_path / name.replace("out", "whole")
        ).read_bytes()
    assert not [name for name in tmp_path.iterdir() if "found" in name.name]
