"""A run whose store goes away: a real redis-server, killed and started again."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time

import pytest

from facekit.annotate.mirror import Mirror
from facekit.annotate.results import Results
from facekit.errors import StoreError, StoreUnavailableError
from facekit.selection import FaceLimits
from facekit.store import open_store
from tests.store.records import FOLDER, check, random_record, random_records, results_of


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("facekit.annotate.mirror._POLL_S", 0.02)
    monkeypatch.setattr("facekit.annotate.mirror._FIRST_WAIT_S", 0.05)
    monkeypatch.setattr("facekit.annotate.mirror._BATCH", 3)
    monkeypatch.setattr("facekit.annotate.mirror._PAGE", 5)


def mirror_of(url: str, results: Results, **options: object) -> Mirror:
    return Mirror(url, results, folder=FOLDER, dataset="d", **options)


def wait_for(done, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def photos_in(url: str) -> int:
    with open_store(url) as store:
        return store.datasets()[0].photos


def good(records) -> int:
    return sum(record.faces is not None for record in records)


def test_the_store_is_killed_and_started_again_in_mid_run(lasting_redis, tmp_path):
    every = list(random_records(1).values())
    with results_of(tmp_path / "r", every) as results:
        with mirror_of(lasting_redis.url, results) as mirror:
            wait_for(lambda: photos_in(lasting_redis.url) > 5)
            lasting_redis.kill()
            for record in every[15:]:  # the run goes on meanwhile
                results.put(record)
            time.sleep(0.3)
            lasting_redis.start()
            # All of it arrives while the run still lasts, and without another word to the thread.
            wait_for(lambda: photos_in(lasting_redis.url) == good(every))
            outcome = mirror.finish()
    assert outcome.ok
    assert (outcome.photos, outcome.behind) == (good(every), 0)
    assert outcome.message.startswith(f"{lasting_redis.url}, dataset d: {good(every)} photos, ")
    with open_store(lasting_redis.url) as store:
        check(store, "d", every)


def test_a_store_that_stays_away_is_brought_up_to_date_by_the_next_run(lasting_redis, tmp_path):
    every = list(random_records(1).values())
    with results_of(tmp_path / "r", every[:9]) as results:
        mirror = mirror_of(lasting_redis.url, results)
        mirror.start()
        wait_for(lambda: photos_in(lasting_redis.url) == good(every[:9]))
        lasting_redis.kill()
        for record in every[:5]:  # they are looked at again meanwhile
            results.put(record)
        outcome = mirror.finish()
    assert not outcome.ok
    # The last batch may have arrived without its answer.
    assert good(every[:5]) <= outcome.behind <= good(every[:5]) + 3
    assert f"is behind by {outcome.behind} photos (does not answer: " in outcome.message
    assert "the same command brings it up to date" in outcome.message

    lasting_redis.start()
    with results_of(tmp_path / "r", every) as results:
        again = mirror_of(lasting_redis.url, results)
        again.start()
        assert again.finish().ok
    with open_store(lasting_redis.url) as store:
        check(store, "d", every)


def test_a_server_that_lost_all_is_filled_again(empty_redis, tmp_path):
    records = list(random_records(1).values())
    with results_of(tmp_path / "r", records) as results:
        with mirror_of(empty_redis.url, results) as mirror:
            wait_for(lambda: photos_in(empty_redis.url) > 0)
            with empty_redis.client() as client:
                client.flushall()
            assert mirror.finish().ok
    with open_store(empty_redis.url) as store:
        check(store, "d", records)


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_only_what_differs_is_written(kind, empty_redis, tmp_path, monkeypatch):
    url = empty_redis.url if kind == "redis" else f"sqlite:///{tmp_path}/a.db"
    records = random_records(1)
    fewer = {path: record for number, (path, record) in enumerate(records.items()) if number % 3}
    with open_store(url) as store:
        applied = type(store).apply
    written: list[int] = []

    def counted(self, dataset, owner, changes):
        written.append(len(changes))
        applied(self, dataset, owner, changes)

    monkeypatch.setattr(type(store), "apply", counted)
    for kept, min_score in ((records, 0), (fewer, 0), (records, 0), (records, 0.6)):
        for changed in (True, False):
            written.clear()
            with results_of(tmp_path / "r", kept.values()) as results:
                with mirror_of(url, results, limits=FaceLimits(min_score)) as mirror:
                    assert mirror.finish().ok
            assert bool(written) == changed
        with open_store(url) as store:
            check(store, "d", [record.within(FaceLimits(min_score)) for record in kept.values()])


def test_a_store_that_is_not_there_is_told_before_the_run(empty_redis, tmp_path):
    with results_of(tmp_path / "r", random_records(1).values()) as results:
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            mirror_of("redis://127.0.0.1:1/0", results).start()
        with pytest.raises(StoreError, match="is not a name of a dataset"):
            Mirror(empty_redis.url, results, folder=FOLDER, dataset="a\nb").start()
        with mirror_of(empty_redis.url, results):
            pass
        with results_of(tmp_path / "other", random_records(1).values()) as other:
            with pytest.raises(StoreError, match="contains the photos of /photos/of the family"):
                Mirror(empty_redis.url, other, folder=tmp_path, dataset="d").start()


def test_a_run_that_was_overtaken_says_so(empty_redis, tmp_path):
    records = list(random_records(2).values())
    with (
        results_of(tmp_path / "r", random_records(1).values()) as first,
        results_of(tmp_path / "other", records) as second,
        mirror_of(empty_redis.url, first) as one,
        mirror_of(empty_redis.url, second) as two,
    ):
        assert two.finish().ok
        outcome = one.finish()
    assert "another run has taken over the dataset d" in outcome.message
    with open_store(empty_redis.url) as store:
        check(store, "d", records)


def test_a_thread_that_follows_ends_when_it_is_told(empty_redis, tmp_path):
    with results_of(tmp_path / "r", random_records(1).values()) as results:
        mirror = mirror_of(empty_redis.url, results)
        mirror.cancel()
        mirror.start()
        mirror.cancel()
        mirror.cancel()
    assert all(thread.name != "store" for thread in threading.enumerate())


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_killed_at_any_moment(kind, lasting_redis, tmp_path):
    """A process that fills a store is killed again and again; the store is whole each time."""
    rng = random.Random(4)
    records = [random_record(f"{number:05d}.jpg", rng) for number in range(400)]
    url = lasting_redis.url if kind == "redis" else f"sqlite:///{tmp_path}/a.db"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.store.records import FOLDER, put, random_record\n"
        "from facekit.store import open_store\n"
        "import random\n"
        "rng = random.Random(4)\n"
        "records = [random_record(f'{number:05d}.jpg', rng) for number in range(400)]\n"
        "with open_store(sys.argv[1]) as store:\n"
        "    put(store, [])\n"
        "    print('ready', flush=True)\n"
        "    for start in range(0, 400, 3):\n"
        "        put(store, records[start:start + 3])\n"
    )
    killed = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + rng.random() * 0.2)
        killed += process.poll() is None
        process.kill()
        process.communicate()
        if kind == "redis":
            lasting_redis.kill()
            lasting_redis.start()
        with open_store(url) as store:
            there = {photo.photo for photo in store.photos("d")}
            check(store, "d", [record for record in records if record.photo in there])
    assert killed
    with results_of(tmp_path / "r", records) as results, open_store(url) as store:
        with mirror_of(url, results) as mirror:
            assert mirror.finish().ok
        check(store, "d", records)
