"""What the driver makes of what its workers send; no cluster and no Ray is needed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.annotate import Options, ServersAwayError
from facekit.annotate import ray_finder as module
from facekit.annotate.ray_finder import ray_finder
from facekit.annotate.ray_worker import RECORD, Task
from facekit.annotations.record import GONE, FileStamp, PhotoRecord
from facekit.errors import ConfigError, SetupError


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(str(tmp_path), Options(urls=("a:1",)))


def gone(photo: str) -> dict[str, str]:
    record = PhotoRecord(photo, FileStamp(1, 2), error=GONE, lasting=False)
    return {"kind": RECORD, "text": record.to_json(), "node": "10.0.0.7"}


def test_without_a_server_that_all_can_reach_nothing_starts(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="--ray needs --url"),
        ray_finder(tmp_path, Options(ray="local")),
    ):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_nobody_listens(address: str) -> None:
    with pytest.raises(SetupError, match=f"no Ray cluster could be joined at {address}"):
        module._knock(address)


def test_a_photo_that_only_the_worker_misses_is_a_missing_mount(task: Task) -> None:
    Path(task.folder, "a.jpg").touch()
    with pytest.raises(SetupError, match=r"10\.0\.0\.7 does not see .*a\.jpg.*every machine"):
        module._record(gone("a.jpg"), task)


def test_a_photo_that_is_gone_for_all_is_a_failure(task: Task) -> None:
    assert module._record(gone("a.jpg"), task).error == GONE


def test_errors_of_a_worker_keep_their_kind(task: Task) -> None:
    row = {"kind": "ServersAwayError", "text": "no server has answered", "node": "10.0.0.7"}
    with pytest.raises(ServersAwayError, match=r"worker 10\.0\.0\.7: no server has answered"):
        module._record(row, task)
    with pytest.raises(SetupError):
        module._record({**row, "kind": "NoClassOfOurs"}, task)
