from __future__ import annotations

import sqlite3

import pytest

from facekit.errors import StoreError, StoreUnavailableError
from facekit.store import open_store
from tests.store.cases import StoreCases
from tests.store.records import check, put, random_records, results_of


class TestSqlite(StoreCases):
    @pytest.fixture
    def opened(self, tmp_path):
        return lambda: open_store(f"sqlite:///{tmp_path / 'store.db'}")


def test_a_missing_file_is_not_made_by_a_question(tmp_path):
    with pytest.raises(StoreError, match="the file does not exist"):
        open_store(f"sqlite:///{tmp_path}/a.db", create=False)
    assert not (tmp_path / "a.db").exists()


def test_files_that_are_not_stores(tmp_path):
    (tmp_path / "text").write_text("no database " * 100)
    (tmp_path / "empty").touch()
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    results_of(tmp_path / "record", random_records(1).values()).close()
    for name, reason in (
        ("text", "file is not a database"),
        ("other", "another program's database"),
        ("empty", "is empty"),
        ("record", "is the record of a run"),
        ("no/folder", "its folder is missing"),
        ("", "is a folder"),
    ):
        with pytest.raises(StoreError, match=reason):
            open_store(f"sqlite:///{tmp_path / name}", create=name in ("text", "other", "record"))


def test_a_file_that_cannot_be_looked_at(tmp_path):
    with pytest.raises(StoreError, match="File name too long"):
        open_store(f"sqlite:///{tmp_path}/{'a' * 300}")


def test_no_name_is_one_of_the_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = random_records(1)
    with open_store("sqlite:///:memory:") as store:
        put(store, records.values())
    with open_store("sqlite:///:memory:", create=False) as store:
        check(store, "d", records.values())


@pytest.mark.parametrize("text", ["CAST(x'7bff7d' AS TEXT)", "'{}'"])
def test_a_damaged_file_is_told_in_few_words(tmp_path, text):
    url = f"sqlite:///{tmp_path}/a.db"
    with open_store(url) as store:
        put(store, random_records(1).values())
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute(f"UPDATE records SET record = {text}")
    connection.close()
    with open_store(url) as store, pytest.raises(StoreError, match="is damaged$") as caught:
        list(store.faces("d"))
    assert not isinstance(caught.value, StoreUnavailableError)


@pytest.mark.parametrize("version", [1, 7])
def test_another_version_is_refused(tmp_path, version):
    url = f"sqlite:///{tmp_path}/a.db"
    open_store(url).close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StoreError, match=f"version {version}, not 2; fill a new one"):
        open_store(url)


def test_a_store_that_another_program_holds_is_not_available(tmp_path, monkeypatch):
    monkeypatch.setattr("facekit.store.sqlite._BUSY_S", 0.1)
    records = random_records(1)
    with open_store(f"sqlite:///{tmp_path}/a.db") as store:
        holder = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            put(store, records.values())
        holder.execute("ROLLBACK")
        holder.close()
        put(store, records.values())
        check(store, "d", records.values())


def test_an_answer_that_is_read_slowly_keeps_nobody_from_writing(tmp_path, monkeypatch):
    monkeypatch.setattr("facekit.store.sqlite._BUSY_S", 0.1)
    url = f"sqlite:///{tmp_path}/a.db"
    with open_store(url) as one, open_store(url) as other:
        put(one, random_records(1).values())
        slow = [one.faces("d"), one.photos("d"), one.rotated("d", 1)]
        assert all(next(answer) for answer in slow)
        put(other, random_records(2).values())
        assert all(next(answer) for answer in slow)
