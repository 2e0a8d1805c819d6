"""The page of the newest frame, for this machine alone."""

from __future__ import annotations

import http.client
import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigError, SetupError
from facekit.video.views import MjpegServer
from tests.video.squares import squares


def get(view: MjpegServer, path: str, host: str = "") -> http.client.HTTPResponse:
    address = view.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    return connection.getresponse()


def test_each_frame_comes_to_the_browser() -> None:
    with MjpegServer("localhost:0") as view:
        assert b"/stream" in get(view, "/").read()
        stream = get(view, "/stream")
        for index in range(3):
            frame = squares([(10 + 50 * index, 20)])
            # Until the browser waits, only the newest is kept.
            timer = threading.Timer(0.05, view.show, [frame])
            timer.start()
            assert stream.readline() == b"--facekit-frame\r\n"
            stream.readline()
            length = int(stream.readline().split(b":")[1])
            assert stream.readline() == b"\r\n"
            picture = np.asarray(Image.open(io.BytesIO(stream.read(length))))
            assert np.abs(picture.astype(int) - frame).mean() < 3
            stream.readline()
            timer.join()


@pytest.mark.parametrize("host", ["evil.example:80", "192.168.1.5"])
def test_pages_of_elsewhere_do_not_read_it(host: str) -> None:
    with MjpegServer("127.0.0.1:0") as view:
        assert get(view, "/stream", host).status == 403
        assert get(view, "/other").status == 404


@pytest.mark.parametrize("address", ["0.0.0.0:0", "example.org:80", "localhost", "localhost:x"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="--mjpeg: expected localhost or a loopback address"):
        MjpegServer(address)


def test_a_port_in_use() -> None:
    with MjpegServer("localhost:0") as view, pytest.raises(SetupError, match="in use"):
        MjpegServer(view.url.removeprefix("http://").rstrip("/"))


def test_no_display_says_what_to_use() -> None:
    code = "from facekit.video.views import Window; Window()"
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "SetupError: --show: " in done.stderr and "use --mjpeg" in done.stderr
