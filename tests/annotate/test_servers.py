"""Several servers as one: who is asked, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from facekit.annotate import (
    Options,
    Outputs,
    PendingPhoto,
    ServerPool,
    ServersAwayError,
    annotate,
)
from facekit.annotate.local import local_finder
from facekit.annotations.record import FileStamp
from facekit.client import Client
from facekit.errors import (
    ConfigError,
    DeadlineError,
    ModelMissingError,
    PhotoError,
    ServerError,
    ServerUnavailableError,
)
from facekit.serving import EmbeddedServer
from tests.annotate.folders import by_content, coco_photos, counted, failures, fill, photo
from tests.fake_triton import Answer, Array, FakeTriton, Inputs, boxes_answer, failing, slow
from tests.serving.tiny import tiny_repository

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def free_port() -> int:
    with FakeTriton() as triton:
        return triton.port


def on_photo(number: int, special: Answer, other: Answer) -> Answer:
    """Return an answer that is special for one photo."""

    def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        (data,) = inputs.values()
        bad = data.tobytes().endswith(photo(number))
        return (special if bad else other)(model, inputs, context)

    return answer


def test_work_goes_to_the_least_busy() -> None:
    quick, asked_quick = counted(by_content(0.002))
    lame, asked_lame = counted(by_content(0.1))
    with FakeTriton(quick) as one, FakeTriton(lame) as two, ServerPool([one.url, two.url]) as pool:
        pool.connect()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(pool.detect, [photo(n) for n in range(100)]))
        assert one.most_at_once + two.most_at_once >= 8
    assert asked_quick() + asked_lame() == 100
    assert asked_quick() > 2 * asked_lame() > 0


def test_a_server_that_dies_is_left_and_takes_part_again_when_it_is_back(tmp_path: Path) -> None:
    names = fill(tmp_path / "photos", 60)
    said: list[str] = []
    steady, asked_steady = counted(by_content(0.03))
    second: list[FakeTriton] = []
    asked_again: list[Callable[[], int]] = []
    with FakeTriton(steady) as one:
        two = FakeTriton(by_content(0.03))
        two.__enter__()

        def meddle() -> None:
            while not two.received:
                time.sleep(0.005)
            two.stop()
            time.sleep(0.2)
            answer, asked = counted(by_content(0.03))
            asked_again.append(asked)
            second.append(FakeTriton(answer, port=two.port).__enter__())

        thread = threading.Thread(target=meddle)
        thread.start()
        outputs = Outputs(tmp_path / "i.json")
        options = Options(urls=(one.url, two.url), concurrency=4)
        summary = annotate(tmp_path / "photos", outputs, options, say=said.append)
        thread.join()
        second[0].stop()
    assert summary.failures == 0
    assert list(coco_photos(outputs.coco).values()) == names
    assert any(f"{two.url} is away, 1 other at work" in line for line in said)
    assert asked_again[0]() > 1  # the probe photo is one
    assert asked_steady() < 60


def test_no_server_at_the_start_is_told_at_once() -> None:
    urls = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    start, said = time.monotonic(), list[str]()
    with ServerPool(urls, say=said.append) as pool, pytest.raises(ServerUnavailableError) as caught:
        pool.connect()
    assert said == []  # the error says it all
    assert all(url in str(caught.value) for url in urls)
    assert time.monotonic() - start < 5


def test_a_server_that_is_still_starting_is_waited_for(tmp_path: Path) -> None:
    names = fill(tmp_path / "photos", 3)
    said: list[str] = []
    port, outputs = free_port(), Outputs(tmp_path / "i.json")
    started: list[FakeTriton] = []

    def start() -> None:
        time.sleep(1.5)
        started.append(FakeTriton(by_content(), port=port).__enter__())

    thread = threading.Thread(target=start)
    thread.start()
    try:
        options = Options(urls=(f"127.0.0.1:{port}",), server_wait_s=30)
        annotate(tmp_path / "photos", outputs, options, say=said.append)
    finally:
        thread.join()
        started[0].stop()
    assert list(coco_photos(outputs.coco).values()) == names
    (line,) = said
    assert line.startswith(f"waiting for 127.0.0.1:{port} for up to 30 s; Ctrl-C stops: no server")


def test_the_first_contact_is_waited_for_no_longer_than_asked() -> None:
    url, start = f"127.0.0.1:{free_port()}", time.monotonic()
    with ServerPool([url]) as pool, pytest.raises(ServerUnavailableError, match=url):
        pool.connect(1.0)
    assert 1 <= time.monotonic() - start < 6


def test_a_server_that_is_not_trusted_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(client: Client) -> None:
        raise ServerError("a:1 is not trusted by c.pem")

    monkeypatch.setattr(Client, "check_ready", refuse)
    start = time.monotonic()
    with ServerPool(["a:1"]) as pool, pytest.raises(ServerUnavailableError, match="not trusted"):
        pool.connect(60.0)
    assert time.monotonic() - start < 5


def test_servers_are_opened_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=5)
    monkeypatch.setattr(Client, "check_ready", lambda client: both.wait())
    with ServerPool(["a:1", "b:1"]) as pool:
        pool.connect()


def test_one_of_two_at_the_start_is_enough() -> None:
    with FakeTriton(by_content()) as one:
        urls = [f"127.0.0.1:{free_port()}", one.url]
        with ServerPool(urls) as pool:
            pool.connect()
            assert pool.detect(photo(2)).size_wh == (400, 300)


def test_all_servers_away_for_long_ends_the_run_which_can_go_on(tmp_path: Path) -> None:
    names = fill(tmp_path / "photos", 20)
    outputs = Outputs(tmp_path / "i.json")
    triton = FakeTriton(by_content(0.01))
    triton.__enter__()

    def meddle() -> None:
        while len(triton.received) < 8:
            time.sleep(0.005)
        triton.stop()

    thread = threading.Thread(target=meddle)
    thread.start()
    options = Options(urls=(triton.url,), concurrency=2, server_wait_s=0.5)
    with pytest.raises(ServersAwayError, match=r"for 0.5 s: .*the same command goes on"):
        annotate(tmp_path / "photos", outputs, options)
    thread.join()
    assert not outputs.coco.exists()
    answer, asked = counted(by_content())
    with FakeTriton(answer) as back:
        summary = annotate(tmp_path / "photos", outputs, Options(urls=(back.url,)))
    assert 0 < asked() == summary.new < 20
    assert list(coco_photos(outputs.coco).values()) == names


def test_an_embedded_server_that_was_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(tiny_repository(tmp_path / "models"))
    monkeypatch.setattr("facekit.serving.EmbeddedServer", lambda: server)
    (name,) = fill(tmp_path, 1)
    with local_finder(tmp_path, Options(server_wait_s=20)) as find:
        assert server.pid is not None
        assert server.exit_reason() == ""
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(
            ServersAwayError, match=r"ended by SIGKILL .*memory.*the same command goes on"
        ):
            list(find(iter([PendingPhoto(1, name, FileStamp(3, 4))])))


def test_a_server_of_another_kind_is_not_waited_for() -> None:
    odd = FakeTriton(lambda model, inputs, context: boxes_answer())
    with odd, FakeTriton(by_content()) as right:
        with ServerPool([odd.url]) as pool:
            pool.connect()
            with pytest.raises(ServersAwayError, match="not a server of this kit.*is missing"):
                pool.detect(photo(1))
        with ServerPool([odd.url, right.url]) as pool:
            pool.connect()
            assert all(pool.detect(photo(n)).size_wh == (400, 300) for n in range(4))


def test_a_photo_that_kills_its_server_time_after_time_is_a_failure(tmp_path: Path) -> None:
    names = fill(tmp_path / "photos", 30)
    kill = failing(UNAVAILABLE, "Stub process is not healthy")
    with FakeTriton(on_photo(5, kill, by_content(0.005))) as triton:
        outputs = Outputs(tmp_path / "i.json")
        summary = annotate(tmp_path / "photos", outputs, Options(urls=(triton.url,)))
        assert summary.failures == 1
        assert "Stub process is not healthy" in failures(outputs.coco)["005.jpg"]
        triton.answer, asked = counted(by_content())
        assert annotate(tmp_path / "photos", outputs, Options(urls=(triton.url,))).failures == 0
        assert asked() == 1
    assert list(coco_photos(outputs.coco).values()) == names


def test_what_goes_down_with_such_a_photo_gets_its_answer(tmp_path: Path) -> None:
    # For as long as the bad photo is there, all other requests fail too.
    fill(tmp_path / "photos", 30)
    down = threading.Event()

    def kill(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        down.set()
        time.sleep(0.05)
        down.clear()
        return failing(UNAVAILABLE, "killed")(model, inputs, context)

    def find(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        time.sleep(0.01)
        if down.is_set():
            return failing(UNAVAILABLE, "died with it")(model, inputs, context)
        return by_content()(model, inputs, context)

    with FakeTriton(on_photo(7, kill, find)) as triton:
        outputs = Outputs(tmp_path / "i.json")
        annotate(tmp_path / "photos", outputs, Options(urls=(triton.url,)))
    assert failures(outputs.coco).keys() == {"007.jpg"}


def test_a_photo_that_takes_too_long_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 6)
    with FakeTriton(on_photo(4, slow(5), by_content())) as triton:
        outputs = Outputs(tmp_path / "i.json")
        options = Options(urls=(triton.url,), timeout_s=0.3)
        assert annotate(tmp_path / "photos", outputs, options).failures == 1
        assert "within 0.3 s" in failures(outputs.coco)["004.jpg"]
        triton.answer = by_content()
        assert annotate(tmp_path / "photos", outputs, options).failures == 0


def test_errors_of_the_pool() -> None:
    with FakeTriton() as triton, ServerPool([triton.url], timeout_s=0.3) as pool:
        pool.connect()
        triton.answer = failing(grpc.StatusCode.INVALID_ARGUMENT, "photo 1 of 1: cut")
        with pytest.raises(PhotoError, match="cut"):
            pool.detect(photo(1))
        triton.answer = on_photo(1, failing(grpc.StatusCode.INTERNAL, "broken"), by_content())
        with pytest.raises(ServerError, match="broken"):
            pool.detect(photo(1))
        triton.answer = on_photo(1, slow(2), by_content())
        with pytest.raises(DeadlineError):
            pool.detect(photo(1))
    with pytest.raises(ServersAwayError, match="closed"):
        pool.detect(photo(1))
    with pytest.raises(ConfigError, match="no two alike"):
        ServerPool(["a:1", "a:1"])
    with pytest.raises(ConfigError, match="urls"):
        ServerPool([])


def test_a_missing_model_ends_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 3)
    missing = failing(grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'facemask_ensemble'")
    with FakeTriton(missing) as triton:
        options = Options(urls=(triton.url,), model="facemask_ensemble")
        with pytest.raises(ModelMissingError, match="a server skips facemask"):
            annotate(tmp_path / "photos", Outputs(tmp_path / "i.json"), options)
