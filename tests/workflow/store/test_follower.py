"""A run whose store goes away: a real redis-server, killed and started again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from facekit.annotations.journal import Journal
from facekit.errors import StoreError, StoreUnavailableError
from facekit.store import open_store
from facekit.store.follower import StoreFollower
from facekit.store.sync import reconcile, sync_store
from tests.store.records import FOLDER, check, journal_of, random_record, random_records

_SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("facekit.store.follower._POLL_S", 0.02)
    monkeypatch.setattr("facekit.store.follower._FIRST_WAIT_S", 0.05)
    monkeypatch.setattr("facekit.store.sync.BATCH", 3)


def followed(url: str, journal: Path) -> StoreFollower:
    return StoreFollower(url, journal, folder=FOLDER, dataset="d")


def wait_for(done, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def photos_in(url: str) -> int:
    with open_store(url) as store:
        return store.datasets()[0].photos


def test_the_store_is_killed_and_started_again_in_mid_run(lasting_redis, tmp_path):
    records = random_records(1)
    good = sum(record.faces is not None for record in records.values())
    every = list(records.values())
    with Journal(tmp_path / "j", model="faces") as journal:
        with followed(lasting_redis.url, tmp_path / "j") as follower:
            for record in every[:15]:
                journal.append(record)
                follower.notify()
            wait_for(lambda: photos_in(lasting_redis.url) > 5)
            lasting_redis.kill()
            for record in every[15:]:  # the run goes on meanwhile
                journal.append(record)
                follower.notify()
            time.sleep(0.3)
            lasting_redis.start()
            # All of it arrives while the run still lasts, and without another word to the thread.
            wait_for(lambda: photos_in(lasting_redis.url) == good)
            outcome = follower.finish(lambda: iter(records.values()))
    assert outcome.ok
    assert (outcome.photos, outcome.removed, outcome.behind) == (good, 0, 0)
    assert outcome.message.startswith(f"{lasting_redis.url}, dataset d: {good} photos, ")
    with open_store(lasting_redis.url) as store:
        check(store, "d", records.values())


def test_a_store_that_stays_away_is_brought_up_to_date_by_the_next_run(lasting_redis, tmp_path):
    records = random_records(1)
    first, rest = list(records.values())[:9], list(records.values())[9:]
    journal = journal_of(tmp_path / "j", first)
    follower = followed(lasting_redis.url, journal)
    follower.start()
    wait_for(lambda: photos_in(lasting_redis.url) == sum(r.faces is not None for r in first))
    lasting_redis.kill()
    journal_of(journal, rest)
    outcome = follower.finish(lambda: iter(records.values()))
    assert not outcome.ok
    assert outcome.behind == len(rest)
    assert f"is behind by {len(rest)} photos (does not answer: " in outcome.message
    assert "the same command brings it up to date" in outcome.message

    lasting_redis.start()
    again = followed(lasting_redis.url, journal)
    again.start()
    assert again.finish(lambda: iter(records.values())).ok
    with open_store(lasting_redis.url) as store:
        check(store, "d", records.values())


def test_a_server_that_lost_all_is_filled_again(empty_redis, tmp_path):
    records = random_records(1)
    journal = journal_of(tmp_path / "j", records.values())
    with followed(empty_redis.url, journal) as follower:
        wait_for(lambda: photos_in(empty_redis.url) > 0)
        with empty_redis.client() as client:
            client.flushall()
            client.script_flush()
        assert follower.finish(lambda: iter(records.values())).ok
    with open_store(empty_redis.url) as store:
        check(store, "d", records.values())


def test_removed_photos_go_and_restored_ones_come_back(empty_redis, tmp_path):
    """The journal has no new line for a photo that was put back as it was."""
    records = random_records(1)
    gone = {path: record for number, (path, record) in enumerate(records.items()) if number % 3}
    journal = journal_of(tmp_path / "j", records.values())
    for kept in (records, gone, records):
        with followed(empty_redis.url, journal) as follower:
            assert follower.finish(lambda kept=kept: iter(kept.values())).ok
        with open_store(empty_redis.url) as store:
            check(store, "d", kept.values())


def test_a_store_that_is_not_there_is_told_before_the_run(empty_redis, tmp_path):
    journal = journal_of(tmp_path / "j", [])
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        followed("redis://127.0.0.1:1/0", journal).start()
    with pytest.raises(StoreError, match="no name of a dataset"):
        StoreFollower(empty_redis.url, journal, folder=FOLDER, dataset="a\nb").start()
    other = journal_of(tmp_path / "other", [])
    with followed(empty_redis.url, journal):
        pass
    with pytest.raises(StoreError, match="holds the photos of /photos/of the family"):
        StoreFollower(empty_redis.url, other, folder=tmp_path, dataset="d").start()


def test_a_run_that_was_overtaken_says_so(empty_redis, tmp_path):
    records = random_records(2)
    first = journal_of(tmp_path / "j", random_records(1).values())
    second = journal_of(tmp_path / "other", records.values())
    with followed(empty_redis.url, first) as one, followed(empty_redis.url, second) as two:
        assert two.finish(lambda: iter(records.values())).ok
        outcome = one.finish(lambda: iter(()))
    assert "another run has taken over the dataset d" in outcome.message
    with open_store(empty_redis.url) as store:
        check(store, "d", records.values())


def test_a_thread_that_follows_ends_when_it_is_told(empty_redis, tmp_path):
    follower = followed(empty_redis.url, journal_of(tmp_path / "j", []))
    follower.cancel()
    follower.start()
    follower.cancel()
    follower.cancel()
    assert all(thread.name != "store" for thread in threading.enumerate())


def _fill(url: str, journal: Path) -> None:
    """A run that only stores, in ten batches of 0.2 s or more; it is killed in the test."""

    def slowly() -> bool:
        time.sleep(0.2)
        return False

    with open_store(url) as store:
        sync_store(store, journal, dataset="d", folder=FOLDER, stopped=slowly)


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_killed_at_any_moment(kind, lasting_redis, tmp_path):
    rng = random.Random(4)
    records = {
        f"{number:05d}.jpg": random_record(f"{number:05d}.jpg", rng) for number in range(1000)
    }
    journal = journal_of(tmp_path / "j", records.values())
    url = lasting_redis.url if kind == "redis" else f"sqlite:///{tmp_path}/a.db"
    killed = 0
    for _ in range(6):
        process = _SPAWN.Process(target=_fill, args=(url, journal))
        process.start()
        process.join(0.6 + rng.random())
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
        if kind == "redis":
            lasting_redis.kill()
            lasting_redis.start()
    assert killed
    with open_store(url) as store:
        at = sync_store(store, journal, dataset="d", folder=FOLDER)
        check(store, "d", records.values())
        done = reconcile(store, records.values(), dataset="d", at=at)
        assert (done.put, done.removed) == (0, 0)
