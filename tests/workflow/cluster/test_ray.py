"""A run over a real Ray cluster of three nodes on this machine ends as one without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from facekit.annotations.journal import read_journal
from tests.fake_triton import FakeTriton, Inputs, faces_answer

pytestmark = pytest.mark.filterwarnings("ignore")

PHOTOS = 180
_NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, np.ndarray]:
    """Answer what the photo alone says, and late: between runs nothing else may differ."""
    time.sleep(0.1)
    number = int(bytes(inputs["image"].reshape(-1)[-4:]))
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

        head = {**_NODE, "include_dashboard": False}
        self._ray = RayCluster(initialize_head=True, head_node_args=head)
        self._others = [self._ray.add_node(**_NODE) for _ in range(2)]
        self.address = self._ray.address

    def kill_worker(self) -> None:
        """Kill a process that is at work on a shard of ours."""
        wait_for(lambda: bool(self._at_work()), 60)
        os.kill(self._at_work()[0], signal.SIGKILL)

    def kill_node(self) -> None:
        """Kill all processes of a node that is not the driver's, and start another."""
        self._ray.remove_node(self._others.pop(), allow_graceful=False)
        self._others.append(self._ray.add_node(**_NODE))

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


def command(photos: Path, coco: Path, urls: str, address: str | None) -> list[str]:
    words = [sys.executable, "-m", "facekit.cli", "annotate", str(photos), "--coco", str(coco)]
    return [*words, "--url", urls, *(["--ray", address] if address else [])]


def run(words: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout, done.stderr


def addresses(servers: tuple[FakeTriton, FakeTriton]) -> str:
    return ",".join(server.url for server in servers)


def records(coco: Path) -> int:
    journal = coco.with_name(f"{coco.name}.journal")
    return sum(1 for _ in read_journal(journal)) if journal.exists() else 0


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


def outputs(coco: Path) -> list[bytes]:
    return [coco.read_bytes(), coco.with_name(f"{coco.stem}.failures.jsonl").read_bytes()]


def test_a_worker_and_a_node_die_and_the_result_is_that_of_one_machine(
    cluster: Cluster, servers: tuple[FakeTriton, FakeTriton], folder: Path, tmp_path: Path
) -> None:
    single, spread = tmp_path / "single.json", tmp_path / "spread" / "single.json"
    spread.parent.mkdir()
    urls = addresses(servers)
    code, out, err = run(command(folder, single, urls, None))
    assert code == 1, err
    process = subprocess.Popen(
        command(folder, spread, urls, cluster.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # One failure, the empty file, is there before the first worker is.
        wait_for(lambda: records(spread) > 1 or process.poll() is not None, 120)
        cluster.kill_worker()
        before = records(spread)
        wait_for(lambda: records(spread) > before or process.poll() is not None, 120)
        cluster.kill_node()
        assert process.poll() is None, "it ended before the node did"
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 1, err
    assert outputs(spread) == outputs(single)
    photos = [record.photo for record, _ in read_journal(Path(f"{spread}.journal"))]
    assert len(photos) == len(set(photos)) == PHOTOS + 1
    # Ray's own lines about what has died would be many.
    assert "3 machines" in err
    assert "raylet" not in out + err
    assert len(out.splitlines()) == 1


def test_a_killed_driver_goes_on_with_what_is_missing(
    cluster: Cluster, servers: tuple[FakeTriton, FakeTriton], folder: Path, tmp_path: Path
) -> None:
    single, spread = tmp_path / "single.json", tmp_path / "spread" / "single.json"
    spread.parent.mkdir()
    urls = addresses(servers)
    words = command(folder, spread, urls, cluster.address)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: records(spread) > 1, 120)
    process.kill()
    process.wait()
    assert not spread.exists()
    done = records(spread)
    assert 1 < done < PHOTOS
    # What workers of the dead driver still have under way ends with them.
    time.sleep(1)
    asked = sum(len(server.received) for server in servers)
    code, _, err = run(words)
    assert code == 1, err
    again = sum(len(server.received) for server in servers) - asked
    assert again <= PHOTOS + 1 - done + len(servers)
    assert run(command(folder, single, urls, None))[0] == 1
    assert outputs(spread) == outputs(single)


def test_a_list_of_objects(
    cluster: Cluster, servers: tuple[FakeTriton, FakeTriton], folder: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    photos = sorted(folder.rglob("*.jpg"))[:40]
    gone = folder / "no such photo.jpg"
    listed.write_text("".join(f"file://{path}\n" for path in [*photos, photos[0], gone]))
    single, spread = tmp_path / "single.json", tmp_path / "spread" / "single.json"
    spread.parent.mkdir()
    urls = addresses(servers)
    assert run(command(listed, single, urls, None))[0] == 1
    code, _, err = run(command(listed, spread, urls, cluster.address))
    assert code == 1, err
    assert outputs(spread) == outputs(single)
    names = [image["file_name"] for image in json.loads(spread.read_bytes())["images"]]
    assert names[0] == f"file://{photos[0]}"
    assert "no such object" in outputs(spread)[1].decode()


def test_no_cluster_no_server_and_no_url_are_said_in_a_line(
    cluster: Cluster, servers: tuple[FakeTriton, FakeTriton], folder: Path, tmp_path: Path
) -> None:
    coco = tmp_path / "out.json"
    urls = addresses(servers)
    code, _, err = run(command(folder, coco, urls, "127.0.0.1:9"))
    assert code == 2
    assert "no Ray cluster could be joined at 127.0.0.1:9" in err
    words = command(folder, coco, "127.0.0.1:9", cluster.address)
    code, _, err = run([*words, "--server-wait", "1"])
    assert code == 2
    assert "no server is ready at 127.0.0.1:9" in err
    words = command(folder, coco, urls, cluster.address)
    code, _, err = run([word for word in words if word not in ("--url", urls)])
    assert code == 2
    assert "--ray needs --url" in err
