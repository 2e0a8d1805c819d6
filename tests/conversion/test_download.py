"""Downloads against a real web server that plays NGC with its faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conversion.catalog import RemoteFile
from conversion.errors import FetchError
from tests.conversion.downloads import NETWORK, SHA256, Download, write_files
from tests.fakes.ngc_scenarios import SCENARIOS, Script
from tests.fakes.ngc_server import NgcServer

ETLT = "*model.etlt"
Start = Callable[[Script], Download]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts the server with a script and returns a download from it."""
    monkeypatch.setattr("conversion.download.MAX_WAIT_S", 0.05)
    monkeypatch.setattr("conversion.download.PAUSE_S", 0.01)
    with NgcServer(write_files(tmp_path / "ngc")) as server:

        def begin(script: Script) -> Download:
            server.script = script
            return Download(server, tmp_path / "weights")

        yield begin


def ranges(download: Download) -> list[str | None]:
    """Return which bytes the storage was asked for, request by request."""
    return [text for host, text in download.sent("Range") if host == "storage"]


@pytest.mark.parametrize(
    "scenario",
    [
        "ok",
        "direct",
        "busy",
        "ailing",
        "cut-once",
        "reset-once",
        "no-resume",
    ],
)
def test_download_arrives_whole_and_leaves_nothing_else(start: Start, scenario: str) -> None:
    download = start(SCENARIOS[scenario])
    assert download.run() == NETWORK
    assert [path.name for path in download.folder.iterdir()] == ["model.etlt"]


def test_download_that_trickles_is_let_go_on(start: Start) -> None:
    rule = {"path": ETLT, "on": "storage", "bytes_per_second": 20_000}
    download = start({"rules": [rule]})
    # All of it takes twice as long as a silence may last.
    assert download.run() == NETWORK
    assert download.said == []


def test_download_in_chunks_arrives_whole(start: Start) -> None:
    assert start({"rules": [{"path": ETLT, "chunked": True}]}).run() == NETWORK


def test_download_of_chunks_that_end_too_early_begins_again(start: Start) -> None:
    rule = {"path": ETLT, "on": "storage", "times": 1, "chunked": True, "cut_after": 0}
    download = start({"rules": [rule]})
    assert download.run() == NETWORK
    assert "ended in mid-file" in download.said[0]


def test_download_cut_off_goes_on_where_it_ended(start: Start) -> None:
    download = start(SCENARIOS["cut-once"])
    download.run()
    assert ranges(download) == [None, "bytes=1000-"]
    assert "resuming at 1000 of 20000 bytes" in download.said[1]


def test_download_that_moves_between_cuts_is_never_given_up(start: Start) -> None:
    download = start({"rules": [{"path": ETLT, "on": "storage", "cut_after": 1500}]})
    assert download.run() == NETWORK
    assert len(ranges(download)) > 3


def test_download_of_an_earlier_run_goes_on(start: Start) -> None:
    download = start({"rules": [{"path": ETLT, "on": "storage", "cut_after": 1000, "times": 1}]})
    download.attempts = 1
    with pytest.raises(FetchError, match="ended after 1000 of 20000 bytes"):
        download.run()
    assert download.run() == NETWORK
    assert ranges(download) == [None, "bytes=1000-"]


def test_download_of_a_file_that_changed_in_between_begins_again(start: Start) -> None:
    cut = {"path": ETLT, "on": "storage", "cut_after": 1000, "times": 1, "etag": True}
    download = start({"rules": [cut]})
    assert download.run() == NETWORK
    assert ranges(download) == [None, "bytes=1000-"]
    assert not any("resuming" in line for line in download.said)


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [({}, "goes on after the 1.0 kB that came"), ({"no_etag": True}, "Try again later")],
)
def test_download_promises_to_go_on_only_where_it_does(
    start: Start, rule: dict[str, bool], remedy: str
) -> None:
    cut = {"path": ETLT, "on": "storage", "cut_after": 1000, "times": 1, **rule}
    download = start({"rules": [cut]})
    download.attempts = 1
    with pytest.raises(FetchError, match=remedy):
        download.run()
    assert download.run() == NETWORK
    assert ranges(download)[1] == (None if rule else "bytes=1000-")


def test_download_complete_but_not_in_its_place_is_put_there(start: Start) -> None:
    download = start({"rules": [{"path": ETLT, "on": "storage", "cut_after": 1000}]})
    download.attempts = 1
    with pytest.raises(FetchError):
        download.run()
    download.part.write_bytes(NETWORK)
    download.server.requests.clear()
    assert download.run() == NETWORK
    assert download.server.requests == []


def test_download_with_damaged_notes_begins_again(start: Start) -> None:
    download = start({})
    download.folder.mkdir()
    download.part.write_bytes(b"of something else")
    download.part.with_name("model.etlt.part.json").write_text('{"validator": ')
    assert download.run() == NETWORK
    assert ranges(download) == [None]


def test_download_longer_than_the_server_has_begins_again(start: Start) -> None:
    download = start(SCENARIOS["wrong-length"])
    with pytest.raises(FetchError, match="given up after 3 attempts") as caught:
        download.run()
    assert "ended after 20000 of 20100 bytes" in download.said[0]
    assert "no more than the 20.0 kB" in download.said[1]
    assert not download.target.exists(), caught


def test_download_that_never_moves_is_given_up(start: Start) -> None:
    download = start(SCENARIOS["cut-always"])
    with pytest.raises(FetchError, match=r"0 of 20000 bytes; given up after 3 attempts"):
        download.run()


def test_download_that_stalls_is_cut_off_and_resumed(start: Start) -> None:
    stall = {"path": ETLT, "on": "storage", "stall_after": 1000, "stall_s": 60, "times": 1}
    download = start({"rules": [stall]})
    assert download.run() == NETWORK
    assert "nothing came for 0.5 s" in download.said[0]
    assert ranges(download) == [None, "bytes=1000-"]


def test_download_of_wrong_bytes_is_repeated_once(start: Start) -> None:
    download = start(SCENARIOS["corrupt-once"])
    download.expected = RemoteFile(size=len(NETWORK), sha256=SHA256)
    assert download.run() == NETWORK
    assert ranges(download) == [None, None]


def test_download_of_wrong_bytes_twice_leaves_nothing(start: Start) -> None:
    download = start(SCENARIOS["corrupt"])
    download.expected = RemoteFile(size=len(NETWORK), sha256=SHA256)
    with pytest.raises(FetchError, match=f"its SHA-256 is .*, expected {SHA256}, twice"):
        download.run()
    assert list(download.folder.iterdir()) == []


def test_download_of_another_size_says_both(start: Start) -> None:
    download = start({})
    download.expected = RemoteFile(size=5)
    with pytest.raises(FetchError, match="it has 20000 bytes, expected 5"):
        download.run()


def test_download_replaces_a_wrong_file_only_when_it_is_whole(start: Start) -> None:
    download = start(SCENARIOS["cut-always"])
    download.folder.mkdir()
    download.target.write_text("old")
    with pytest.raises(FetchError):
        download.run()
    assert download.target.read_text() == "old"


def test_download_of_a_web_page_is_refused(start: Start) -> None:
    with pytest.raises(FetchError, match="a web page, not the file"):
        start(SCENARIOS["sign-in-page"]).run()


def test_download_of_a_length_nobody_tells_is_refused(start: Start) -> None:
    with pytest.raises(FetchError, match="does not say how long"):
        start({"rules": [{"path": ETLT, "on": "storage", "no_length": True}]}).run()


def test_download_of_an_empty_file_is_refused(start: Start) -> None:
    download = start({})
    (download.server.files / "facenet_vpruned_quantized_v2.0.1/model.etlt").write_bytes(b"")
    with pytest.raises(FetchError, match="it is empty"):
        download.run()


def test_server_that_asks_for_a_pause_by_date_gets_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}
    busy = {"path": ETLT, "times": 1, "status": 429, "headers": later}
    download = start({"rules": [busy]})
    monkeypatch.setattr("conversion.download.MAX_WAIT_S", 0.0)
    assert download.run() == NETWORK
    assert "429 Too Many Requests; trying again in 0 s" in download.said[0]


def test_every_attempt_waits_and_longer_each_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = start(SCENARIOS["cut-always"])
    download.attempts = 7
    pauses: list[float] = []
    monkeypatch.setattr("conversion.download.PAUSE_S", 1.0)
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(FetchError, match="given up after 7 attempts"):
        download.run()
    assert pauses == [1, 2, 4, 8, 16, 30]


def test_server_that_stays_busy_is_left_alone_after_some_attempts(start: Start) -> None:
    download = start(SCENARIOS["busy-for-ever"])
    with pytest.raises(FetchError, match="429 Too Many Requests; given up after 3 attempts"):
        download.run()
    assert len(download.server.requests) == 3


KILLED = """
import sys
from pathlib import Path
from conversion.catalog import RemoteFile
from conversion.download import download
from conversion.ngc_client import Ngc, NgcFile
from tests.conversion.downloads import FACENET, TIMEOUTS
ngc = Ngc(None, TIMEOUTS, {"FACEKIT_NGC_URL": sys.argv[1]})
download(NgcFile(ngc, FACENET, "model.etlt"), Path(sys.argv[2]), RemoteFile(), sys.stderr.write)
"""


def test_download_killed_in_mid_file_goes_on_in_the_next_run(start: Start) -> None:
    stall = {"path": ETLT, "on": "storage", "stall_after": 7000, "times": 1}
    download = start({"rules": [stall]})
    download.folder.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, download.server.url, str(download.target)]
    )
    try:
        while child.poll() is None and (
            not download.part.exists() or download.part.stat().st_size < 7000
        ):
            time.sleep(0.02)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert not download.target.exists()
    assert download.run() == NETWORK
    assert ranges(download) == [None, "bytes=7000-"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs a file system of its own")
def test_download_to_a_full_disk_says_how_much_is_free(start: Start) -> None:
    download = start({"rules": [{"path": ETLT, "chunked": True}]})
    download.folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(download.folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        with pytest.raises(FetchError, match="No space left on device; .* are free there"):
            download.run()
        download.server.script = {}
        with pytest.raises(FetchError, match=r"it needs \S+ kB and .* left"):
            download.run()
    finally:
        subprocess.run(["umount", str(download.folder)], check=True)
