"""Streams: the newest frame, no waiting, and on again after a break."""

from __future__ import annotations

import functools
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from facekit.client import Client
from facekit.errors import DataError, InputError, ServerUnavailableError
from facekit.faces import Faces
from facekit.serving.ports import choose_ports
from facekit.video import live as live_module
from facekit.video.run import VideoOptions, run_video
from facekit.video.source import VideoFile
from facekit.video.views import MjpegServer
from tests.video.squares import SIDE, SquareClient, squares
from tests.video.test_run import rows
from tests.video.test_source import read
from tests.video.videos import write_video

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
SECONDS = 20


def free_port() -> int:
    return choose_ports("127.0.0.1", {"rtsp": 0})["rtsp"]


def missing() -> str:
    """Why there is no RTSP server here; "" if there is one."""
    needed = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst"
    check = f"{needed}; Gst.init(None); assert Gst.ElementFactory.find('rtph264pay')"
    check += "; assert Gst.ElementFactory.find('h264parse')"
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True)
    except OSError:
        return f"no {SYSTEM_PYTHON}"
    packages = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,bad}"
    return "" if done.returncode == 0 else f"apt-get install {packages}"


needs_rtsp = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a server")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "film.mp4"
    frames = (squares([(5 + index * 0.5, 60)]) for index in range(25 * SECONDS))
    options = {"preset": "ultrafast", "g": "12", "bf": "0"}
    return write_video(path, frames, options=options)


@contextmanager
def camera(film: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [SYSTEM_PYTHON, str(SERVER), str(film), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            yield server
        finally:
            server.kill()


class Slow(SquareClient):
    """Looks at 10 frames a second at most with two requests at a time."""

    def detect(self, photo: bytes, *, model: str) -> Faces:
        time.sleep(0.2)
        return super().detect(photo, model=model)


def run(source: str, client: object, said: list[str], **options: Any) -> Any:
    return run_video(source, cast(Client, client), VideoOptions(**options), said.append)


@needs_rtsp
def test_a_slow_server_gets_the_newest_frames(film: Path, tmp_path: Path) -> None:
    port, out, jsonl = free_port(), tmp_path / "o.mp4", tmp_path / "o.jsonl"
    with camera(film, port):
        summary = run(
            f"rtsp://127.0.0.1:{port}/camera", Slow(), [], out=out, jsonl=jsonl, seconds=2.5
        )
    assert 5 < summary.looked_at < summary.frames
    assert "frames were looked at; delay at most" in summary.line()
    lines = rows(jsonl)
    assert len(lines) == summary.looked_at
    steps = [b["frame"] - a["frame"] for a, b in zip(lines, lines[1:], strict=False)]
    usual = statistics.median(steps)
    # The first frames come at once: what the server had kept for new clients.
    assert statistics.mean(step > 2 * usual + 1 for step in steps) < 0.25, "dropped evenly"
    assert {face["track"] for line in lines for face in line["faces"]} == {1}
    assert [time_s for time_s, _ in read(out)] == pytest.approx(
        [line["time_s"] - lines[0]["time_s"] for line in lines], abs=1e-3
    )
    for line in lines:
        x = line["faces"][0]["box_xyxy"][0] - 5
        assert x >= 0 and line["faces"][0]["box_xyxy"][3] == pytest.approx(60 + SIDE, abs=2)


@needs_rtsp
def test_a_stream_that_breaks_is_opened_again(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "FIRST_PAUSE_S", 0.2)
    port, said, events = free_port(), [], tmp_path / "events"
    address = f"rtsp://127.0.0.1:{port}/camera"
    ended: list[Any] = []

    def follow() -> None:
        jsonl = tmp_path / "o.jsonl"
        ended.append(run(address, SquareClient(), said, events=events, jsonl=jsonl, seconds=5))

    with camera(film, port) as first:
        thread = threading.Thread(target=follow)
        thread.start()
        time.sleep(1.5)
        first.kill()
    time.sleep(0.7)
    with camera(film, port):
        thread.join()
    assert any(line.startswith("the stream broke at") for line in said)
    assert any(line.startswith("the stream is back after") for line in said)
    gaps = [event for event in rows(events) if event["event"] == "gap"]
    assert len(gaps) == 1 and 0.5 < gaps[0]["to_s"] - gaps[0]["from_s"] < 4
    times = [row["time_s"] for row in rows(tmp_path / "o.jsonl")]
    assert times == sorted(times)
    longest = max(b - a for a, b in zip(times, times[1:], strict=False))
    assert longest == pytest.approx(gaps[0]["to_s"] - gaps[0]["from_s"], abs=0.3)
    assert ended[0].looked_at > 8


@needs_rtsp
def test_a_server_that_does_not_answer_costs_frames_only(film: Path, tmp_path: Path) -> None:
    class Gone(SquareClient):
        def detect(self, photo: bytes, *, model: str) -> Faces:
            faces = super().detect(photo, model=model)
            if self.calls < 3:
                raise ServerUnavailableError("gone")
            return faces

    port = free_port()
    with camera(film, port):
        summary = run(
            f"rtsp://127.0.0.1:{port}/camera", Gone(), [], jsonl=tmp_path / "o", seconds=2
        )
    assert summary.failed == 2 and summary.looked_at > 3
    assert [row.get("error") for row in rows(tmp_path / "o")][:2] == ["gone"] * 2


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(DataError, match="/dev/video99: cannot be opened as a video: No such file"):
        VideoFile("/dev/video99")
    with pytest.raises(InputError, match="cannot be opened as a video: Conn") as raised:
        VideoFile(f"rtsp://user:secret@127.0.0.1:{free_port()}/camera")
    assert "secret" not in str(raised.value)


def test_a_stream_over_http_is_live(tmp_path: Path) -> None:
    with MjpegServer("localhost:0") as camera_page:
        stopped = threading.Event()

        def film() -> None:
            for index in range(1000):
                camera_page.show(squares([(5 + index % 100, 60)]))
                if stopped.wait(0.04):
                    return

        thread = threading.Thread(target=film)
        thread.start()
        try:
            jsonl = tmp_path / "o.jsonl"
            summary = run(f"{camera_page.url}stream", SquareClient(), [], jsonl=jsonl, seconds=1.5)
        finally:
            stopped.set()
            thread.join()
    assert summary.looked_at >= 3
    assert all(len(row["faces"]) == 1 for row in rows(jsonl))


def test_a_file_over_http_is_looked_at_whole(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    short = write_video(tmp_path / "a.mp4", (squares([(5 + 3 * i, 60)]) for i in range(10)))
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}/{short.name}"
            summary = run(address, SquareClient(), [])
        finally:
            server.shutdown()
    assert summary.line() == "10 of 10 frames were looked at; 1 person"
