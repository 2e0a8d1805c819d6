from __future__ import annotations

import sqlite3

import pytest

from facekit.errors import StoreError, StoreUnavailableError
from facekit.store import open_store
from facekit.store.sync import sync_store
from tests.store.cases import StoreCases
from tests.store.records import FOLDER, check, journal_of, random_records


class TestSqlite(StoreCases):
    @pytest.fixture
    def opened(self, tmp_path):
        return lambda: open_store(f"sqlite:///{tmp_path / 'store.db'}")


def test_a_missing_file_is_not_made_by_a_question(tmp_path):
    with pytest.raises(StoreError, match="there is no such file"):
        open_store(f"sqlite:///{tmp_path}/a.db", create=False)
    assert not (tmp_path / "a.db").exists()


def test_files_that_are_no_stores(tmp_path):
    (tmp_path / "text").write_text("no database " * 100)
    (tmp_path / "empty").touch()
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    for name, reason in (
        ("text", "file is not a database"),
        ("other", "another program's database"),
        ("empty", "is empty"),
        ("no/folder", "there is no folder"),
        ("", "is a folder"),
    ):
        with pytest.raises(StoreError, match=reason):
            open_store(f"sqlite:///{tmp_path / name}", create=name == "text" or name == "other")


def test_a_file_that_can_not_be_looked_at(tmp_path):
    with pytest.raises(StoreError, match="File name too long"):
        open_store(f"sqlite:///{tmp_path}/{'a' * 300}")


def test_no_name_is_one_of_the_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = random_records(1)
    with open_store("sqlite:///:memory:") as store:
        sync_store(store, journal_of(tmp_path / "j", records.values()), dataset="d", folder=FOLDER)
    with open_store("sqlite:///:memory:", create=False) as store:
        check(store, "d", records.values())


def test_a_damaged_file_is_told_in_few_words(tmp_path):
    url = f"sqlite:///{tmp_path}/a.db"
    with open_store(url) as store:
        sync_store(
            store,
            journal_of(tmp_path / "j", random_records(1).values()),
            dataset="d",
            folder=FOLDER,
        )
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE annotations SET document = CAST(x'7bff7d' AS TEXT)")
    connection.close()
    with open_store(url) as store, pytest.raises(StoreError, match="is damaged$") as caught:
        list(store.faces("d"))
    assert not isinstance(caught.value, StoreUnavailableError)


def test_another_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/a.db"
    open_store(url).close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(StoreError, match="version 7, not 1"):
        open_store(url)


def test_a_store_that_another_program_holds_is_not_available(tmp_path, monkeypatch):
    monkeypatch.setattr("facekit.store.sqlite._BUSY_S", 0.1)
    records = random_records(1)
    journal = journal_of(tmp_path / "j", records.values())
    with open_store(f"sqlite:///{tmp_path}/a.db") as store:
        holder = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            sync_store(store, journal, dataset="d", folder=FOLDER)
        holder.execute("ROLLBACK")
        holder.close()
        sync_store(store, journal, dataset="d", folder=FOLDER)
        check(store, "d", records.values())


def test_the_indexes_are_used(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/a.db") as store:
        sync_store(store, journal_of(tmp_path / "j", []), dataset="d", folder=FOLDER)
        plans = []
        execute = store._connection.execute

        class Explaining:
            def execute(self, statement, values=()):
                if statement.startswith("SELECT document"):
                    plans.append(execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())
                return execute(statement, values)

        connection, store._connection = store._connection, Explaining()
        list(store.photos("d", 2))
        list(store.faces("d", 0.5))
        list(store.faces("d", 0.5, category="face"))
        list(store.rotated("d", 5.0))
        store._connection = connection
    indexes = ("images_by_faces", "annotations_by_score", "annotations_by_category",
               "annotations_by_turn")  # fmt: skip
    assert len(plans) == len(indexes)
    for plan, index in zip(plans, indexes, strict=True):
        assert index in str(plan)
        assert "TEMP B-TREE" not in str(plan)
