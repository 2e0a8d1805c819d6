"""The record of a run: what was committed is there again, whatever happened meanwhile."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from facekit.annotate.results import Results
from facekit.annotate.walk import Found
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import ConfigError, DataError
from facekit.store import open_store
from tests.store.records import answers, check, random_record, random_records, results_of

RECORDS = list(random_records(1).values())


def numbered(results: Results) -> dict[str, PhotoRecord]:
    return {photo.record.photo: photo.record for photo in results.numbered()}


def found(records: list[PhotoRecord]) -> dict[str, PhotoRecord]:
    return {record.photo: record for record in records if record.faces is not None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    results_of(tmp_path / "i.json.results", RECORDS).close()
    return tmp_path / "i.json.results"


def opened(path: Path, model: str = "faces") -> Results:
    return Results(path, model=model, dataset="d", folder=path.parent)


def test_what_was_put_is_read_in_order_and_numbered(path: Path) -> None:
    with results_of(path, []) as results:
        # The order of a listing does not matter, nor does what is put again.
        shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
        results.take_listing(Found(each.photo, each.stamp, None, "") for each in shuffled)
        results.put(RECORDS[3])
        places = {record.photo: place for place, record in enumerate(RECORDS, 1)}
        photos = list(results.numbered())
        assert [photo.image_id for photo in photos] == [
            places[photo.record.photo] for photo in photos
        ]
        assert numbered(results) == found(RECORDS)
        failed = {record.photo: record.error for record in RECORDS if record.faces is None}
        assert {name: reason for name, reason, _ in results.failures()} == failed


def test_pages_of_the_record_are_put_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facekit.annotate.results._LISTING_PAGE", 3)
    with results_of(path, []) as results:
        changed = [Found(each.photo, FileStamp(1001, 1), None, "") for each in RECORDS]
        results.take_listing(changed)
        pending = results.pending()
        names = []
        for photo in pending:  # they are put while they are taken
            names.append(photo.photo)
            results.put(PhotoRecord(photo.photo, photo.stamp, error="cut"))
        assert names == [record.photo for record in RECORDS]
        assert results.count_pending() == 0


def test_another_models_record_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="results of the model faces, not of facemask_ensemble"):
        opened(path, "facemask_ensemble")
    with open_store(f"sqlite:///{path}", create=False) as store:
        check(store, "d", RECORDS)


@pytest.mark.parametrize("content", [b"Dear diary\n", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_not_a_record_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(DataError, match="notes: .*or remove this one to begin again"):
        opened(path)
    assert path.read_bytes() == content


def test_a_store_is_not_taken_for_a_record(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/a.db").close()
    with pytest.raises(DataError, match="is a store, not the record of a run"):
        opened(tmp_path / "a.db")


def test_an_empty_file_becomes_a_record_and_an_unused_one_goes(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.touch()
    results_of(path, RECORDS[:1]).close()
    assert path.stat().st_size > 0
    opened(tmp_path / "unused").close()
    assert [each.name for each in tmp_path.iterdir()] == ["r"]


def test_a_record_that_the_disk_changed_costs_only_itself(path: Path) -> None:
    name = next(iter(found(RECORDS)))
    for old, new in (("boxes_xyxy", "boxes_xxxx"), ('"size_wh":[4', '"size_wh":[5')):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE records SET record = replace(record, ?, ?) WHERE photo ="
                " (SELECT id FROM photos WHERE name = ?)",
                (old, new, name.encode()),
            )
        with results_of(path, []) as results:
            results.take_listing(Found(each.photo, each.stamp, None, "") for each in RECORDS)
            with pytest.raises(DataError, match="is damaged: .*the same command goes on"):
                list(results.numbered())
            assert [photo.photo for photo in results.pending()] == [name]
            results.put(found(RECORDS)[name])
            assert numbered(results) == found(RECORDS)


def test_a_record_in_the_photo_folder_stays_locked_while_it_is_changed(path: Path) -> None:
    locked: list[bool] = []

    def ask(statement: str) -> None:
        if statement.startswith("UPDATE photos"):
            code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('BEGIN IMMEDIATE')"
            done = subprocess.run([sys.executable, "-c", code, path], capture_output=True)
            locked.append(b"database is locked" in done.stderr)

    def listing() -> Iterator[Found]:
        yield from (Found(each.photo, each.stamp, None, "") for each in RECORDS[1:])
        with path.open("rb") as file:  # as a walk looks at every file: it closes all locks on it
            file.read(1)

    with opened(path) as results:
        results._connection.set_trace_callback(ask)
        results.take_listing(listing())
    assert locked == [True]


def test_a_full_disk_costs_only_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "r"
    results = results_of(path, [])
    results.take_listing(Found(each.photo, each.stamp, None, "") for each in RECORDS)
    results._connection.execute("PRAGMA max_page_count = 20")  # which SQLite tells as a full disk
    done = 0
    with pytest.raises(DataError, match=r"r: .*disk is full.*same command goes on") as caught:
        for record in RECORDS:
            results.put(record)
            done += 1
    assert caught.value.path == path
    results.close()
    assert 5 < done < len(RECORDS)
    with results_of(path, RECORDS[:done]) as results:
        assert numbered(results) == found(RECORDS[:done])
        for record in RECORDS[done:]:
            results.put(record)
    with open_store(f"sqlite:///{path}", create=False) as store:
        check(store, "d", RECORDS)


def test_others_ask_while_a_run_writes_and_share_no_memory_with_it(path: Path) -> None:
    with results_of(path, RECORDS) as results:
        assert results._rows("PRAGMA journal_mode") == [("delete",)]
        results.put(RECORDS[0])  # and the transaction is open
        with open_store(f"sqlite:///{path}", create=False) as store:
            before = answers(store, "d")
        # Neither -wal nor -shm, which a network drive can't have.
        names = {each.name for each in path.parent.iterdir()}
        assert names <= {path.name, f"{path.name}-journal"}
    with open_store(f"sqlite:///{path}", create=False) as store:
        assert answers(store, "d") == before


_PUT = """
import random, sys
from pathlib import Path
from facekit.annotate import results as module
from tests.store.records import random_record, results_of
module._COMMIT_INTERVAL_S = 0.01
rng = random.Random(7)
records = [random_record(f"{number:05d}.jpg", rng) for number in range(900)]
results = results_of(Path(sys.argv[1]), [])
print("ready", flush=True)
at = results._committed_at
for number, record in enumerate(records[int(sys.argv[2]):], int(sys.argv[2]) + 1):
    results.put(record)
    if results._committed_at != at:
        at = results._committed_at
        print(number, flush=True)
"""


def test_killed_at_any_moment_what_was_committed_is_there(tmp_path: Path) -> None:
    rng = random.Random(7)
    records = [random_record(f"{number:05d}.jpg", rng) for number in range(900)]
    path, seen, runs = tmp_path / "r", 0, 0
    # Three runs and, on a busy machine, as many as get somewhere.
    while runs < 3 or (seen <= 20 and runs < 50):
        runs += 1
        command = [sys.executable, "-c", _PUT, str(path), str(seen)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05 + rng.random() * 0.2)
        process.kill()
        committed = [int(line) for line in process.communicate()[0].split("\n")[:-1]]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = connection.execute("SELECT record FROM records ORDER BY photo").fetchall()
        assert len(rows) >= max(committed, default=seen)
        seen = len(rows)
        assert [text for (text,) in rows] == [record.to_json() for record in records[:seen]]
    assert seen > 20
