"""A run over a real Ray cluster of three nodes on this machine ends as one without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from facekit.annotate import Options, Outputs, annotate, ray_finder
from facekit.annotate.ray_finder import connect
from facekit.errors import ServerUnavailableError
from tests.annotate.folders import recorded
from tests.fake_triton import FakeTriton, Inputs, faces_answer

pytestmark = pytest.mark.filterwarnings("ignore")

PHOTOS = 180
_NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


HURRY = threading.Event()
"""Not set: the servers are so slow that a run lasts until a test is done with it."""


def number_of(inputs: Inputs) -> int:
    return int(bytes(inputs["image"].reshape(-1)[-4:]))


def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, np.ndarray]:
    """Answer what the photo alone says: between runs nothing else may differ."""
    HURRY.wait(0.5)
    number = number_of(inputs)
    if number % 50 == 7:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not decodable")
    return faces_answer(number % 4)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[FakeTriton, FakeTriton]]:
    with FakeTriton(answer) as one, FakeTriton(answer) as other:
        yield one, other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(PHOTOS):
        path = folder / f"album {number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff\xe0" + b"%04d" % number)
    (folder / "empty.jpg").touch()
    return folder


class Cluster:
    """Three nodes; the first is the head, where the driver is."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        # Nobody looks at its log and its pages, and it stays as large as it is.
        head: dict[str, Any] = {
            **_NODE,
            "include_dashboard": False,
            "include_log_monitor": False,
        }
        head["no_monitor"] = True
        # A dead node is noticed after 5 s; Ray's own patience is 15 s.
        head["_system_config"] = {"health_check_period_ms": 1000}
        self._ray = RayCluster(initialize_head=True, head_node_args=head)
        self._others = [self._ray.add_node(**_NODE) for _ in range(2)]
        self.address = self._ray.address

    def kill_worker(self) -> None:
        """Kill a process that is at work on a shard of ours."""
        wait_for(lambda: bool(self._at_work()), 60)
        os.kill(self._at_work()[0], signal.SIGKILL)

    def kill_node(self) -> None:
        """Kill all processes of a node that is not the driver's."""
        self._ray.remove_node(self._others.pop(), allow_graceful=False)

    def _at_work(self) -> list[int]:
        pids = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().startswith(b"ray::FlatMap(annotate_shard)"):
                    pids.append(int(path.parent.name))
            except OSError:
                continue
        return pids

    def stop(self) -> None:
        self._ray.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def joined(cluster: Cluster) -> Iterator[str]:
    """The cluster's address, joined by the tests themselves for as long as they last."""
    with connect(cluster.address):
        yield cluster.address


def command(photos: Path, coco: Path, urls: str, address: str | None) -> list[str]:
    words = [sys.executable, "-m", "facekit.cli", "annotate", str(photos), "--coco", str(coco)]
    return [*words, "--url", urls, *(["--ray", address] if address else [])]


def run(words: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout, done.stderr


def addresses(servers: tuple[FakeTriton, FakeTriton]) -> str:
    return ",".join(server.url for server in servers)


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


def outputs(coco: Path) -> list[bytes]:
    return [coco.read_bytes(), coco.with_name(f"{coco.stem}.failures.jsonl").read_bytes()]


def test_driver_worker_and_node_die_and_the_result_is_that_of_one_machine(
    cluster: Cluster, servers: tuple[FakeTriton, FakeTriton], folder: Path, tmp_path: Path
) -> None:
    single, spread = tmp_path / "single.json", tmp_path / "spread" / "single.json"
    spread.parent.mkdir()
    words = command(folder, spread, addresses(servers), cluster.address)

    HURRY.clear()
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # One failure, the empty file, is there before the first worker is.
    wait_for(lambda: len(recorded(spread)) > 1, 120)
    first.kill()
    first.wait()
    assert not spread.exists()
    before = set(recorded(spread))
    assert 1 < len(before) < PHOTOS
    # What workers of the dead driver still have under way ends with them.
    time.sleep(1)
    asked = [len(server.received) for server in servers]

    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(recorded(spread)) > len(before), 120)
        cluster.kill_worker()
        done = len(recorded(spread))
        wait_for(lambda: len(recorded(spread)) > done, 120)
        cluster.kill_node()
        assert process.poll() is None, "it ended before the node did"
        HURRY.set()
        out, err = process.communicate(timeout=240)
    finally:
        HURRY.set()
        process.kill()
    assert process.returncode == 1, err
    again = {
        f"{number_of(inputs)}.jpg"
        for server, count in zip(servers, asked, strict=True)
        for _, inputs in server.received[count:]
    }
    assert not again & {Path(photo).name for photo in before}
    code, _, text = run(command(folder, single, addresses(servers), None))
    assert code == 1, text
    assert outputs(spread) == outputs(single)
    photos = recorded(spread)
    assert len(photos) == len(set(photos)) == PHOTOS + 1
    # Ray's own lines about what has died would be many.
    assert "3 machines" in err
    assert "raylet" not in out + err
    assert len(out.splitlines()) == 1


def test_photo_that_its_worker_dies_of_each_time_is_a_failure_at_last(
    joined: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_finder, "_RETRIES", 0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"%04d" % number)

    def deadly(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, np.ndarray]:
        if number_of(inputs) == 4:
            os.kill(caller(context), signal.SIGKILL)
        return faces_answer(1)

    with FakeTriton(deadly) as server:
        outputs = Outputs(coco=tmp_path / "out.json")
        summary = annotate(folder, outputs, Options(urls=(server.url,), ray=joined))
    assert (summary.photos, summary.faces, summary.failures) == (9, 8, 1)
    failure = outputs.failures.read_text("utf-8")
    assert '"4.jpg"' in failure
    assert "each worker of the Ray cluster that took it has died" in failure


def caller(context: grpc.ServicerContext) -> int:
    """Return the process on this machine that has made a call."""
    port = int(context.peer().rpartition(":")[2])
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).open("rb")
    ]
    (inode,) = {line[9] for line in lines if line[1].endswith(b":%04X" % port)}
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if path.readlink().name == f"socket:[{inode.decode()}]":
                return int(path.parts[2])
        except OSError:
            continue
    raise AssertionError("nobody has called")


def test_list_of_objects(
    joined: str, servers: tuple[FakeTriton, FakeTriton], folder: Path, tmp_path: Path
) -> None:
    HURRY.set()
    photos = sorted(folder.rglob("*.jpg"))[:40]
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"file://{path}\n" for path in [*photos, folder / "none.jpg"]))
    single, spread = tmp_path / "single.json", tmp_path / "spread" / "single.json"
    spread.parent.mkdir()
    urls = tuple(server.url for server in servers)
    annotate(listed, Outputs(coco=single), Options(urls=urls))
    annotate(listed, Outputs(coco=spread), Options(urls=urls, ray=joined))
    assert outputs(spread) == outputs(single)
    assert f"file://{photos[0]}" in single.read_text("utf-8")


def test_no_server_that_workers_reach_is_said_in_a_line(
    joined: str, folder: Path, tmp_path: Path
) -> None:
    options = Options(urls=("127.0.0.1:9",), ray=joined, server_wait_s=1)
    with pytest.raises(
        ServerUnavailableError, match=r"^worker .*no server is ready at 127\.0\.0\.1:9"
    ):
        annotate(folder, Outputs(coco=tmp_path / "out.json"), options)
