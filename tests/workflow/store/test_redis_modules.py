"""A Redis with its JSON and search modules, which Debian has none of.

The server is fakeredis: it takes the same transactions, parses every document and keeps it as a
JSON value. It has no search, and does not list its JSON commands; that and ``FT.CREATE`` are
answered here, and refused unless they are written as Redis documents them.
"""

from __future__ import annotations

import json

import fakeredis
import pytest
import redis

from facekit.store import Change, open_store
from tests.store.cases import StoreCases
from tests.store.records import CLASSES, answers, check, put, random_records

_FIELD_OPTIONS = {"TAG": {"CASESENSITIVE", "SORTABLE"}, "NUMERIC": {"SORTABLE"}}


class Modules(fakeredis.FakeRedis):
    """A client of a server with both modules."""

    indexes: dict[str, dict[str, tuple[str, str]]]

    def execute_command(self, *words, **options):
        command = str(words[0]).upper()
        if command == "COMMAND INFO" and str(words[1]).startswith(("FT.", "JSON.")):
            return [[words[1].lower().encode(), -2]]
        if command == "FT.CREATE":
            return self._create([str(word) for word in words[1:]])
        return super().execute_command(*words, **options)

    def _create(self, words: list[str]) -> bytes:
        name = words.pop(0)
        if name in self.indexes:
            raise redis.ResponseError("Index already exists")
        assert words[:2] == ["ON", "JSON"], words
        assert words[2:4] == ["PREFIX", "1"], words
        assert words[5] == "SCHEMA"
        fields = {"": (words[4], "")}
        rest = words[6:]
        assert rest
        while rest:
            path, keyword, attribute, kind = rest[:4]
            rest = rest[4:]
            assert path == f"$.{attribute}"
            assert keyword == "AS"
            assert attribute.isidentifier()
            while rest and not rest[0].startswith("$"):
                assert rest.pop(0) in _FIELD_OPTIONS[kind]
            fields[attribute] = (path, kind)
        self.indexes[name] = fields
        return b"OK"


@pytest.fixture
def modules(monkeypatch):
    """Let every address lead to one such server."""
    server = fakeredis.FakeServer(server_type="redis")
    indexes: dict = {}

    def client(*_, **__):
        made = Modules(server=server, version=7)
        made.indexes = indexes
        return made

    monkeypatch.setattr(redis.Redis, "from_url", client)
    return client()


class TestModules(StoreCases):
    @pytest.fixture
    def opened(self, modules):
        return lambda: open_store("redis://with.modules")


@pytest.mark.parametrize("seed", range(3))
def test_the_same_answers_as_from_sqlite(modules, tmp_path, seed):
    before, after = random_records(seed), random_records(seed + 100, CLASSES)
    with open_store(f"sqlite:///{tmp_path}/a.db") as file, open_store("redis://x") as server:
        for store in (file, server):
            put(store, before.values())
            store.apply("d", "me", [Change(name) for name in store.photo_names("d", b"", 1000)])
            put(store, after.values())
        assert answers(file, "d") == answers(server, "d")
        check(server, "d", after.values())


def test_documents_are_json_values(modules, tmp_path):
    records = random_records(1)
    with open_store("redis://x") as store:
        put(store, records.values())
    assert modules.hget("facekit:store", "documents") == b"json"
    keys = modules.keys("facekit:d:annotation:*")
    assert len(keys) > 10
    for key in keys:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            modules.get(key)
        document = json.loads(modules.execute_command("JSON.MGET", key, ".")[0])
        assert 0 <= document["score"] <= 1


def test_each_dataset_has_indexes_to_search(modules, tmp_path):
    records = random_records(1)
    with open_store("redis://x") as store:
        for _ in range(2):  # the second run meets them
            put(store, records.values(), "a:b")
    prefix = "facekit:a%3Ab:"
    assert set(modules.indexes) == {prefix + "annotations", prefix + "images"}
    for index, kind in (("annotations", "annotation"), ("images", "image")):
        fields = dict(modules.indexes[prefix + index])
        head, _ = fields.pop("")
        assert head == f"{prefix}{kind}:"
        # Each path leads to a value of its kind in some document; a rotation may be unknown.
        documents = [
            json.loads(modules.execute_command("JSON.MGET", key, ".")[0])
            for key in modules.keys(head + "*")
        ]
        for name, (_, kind_of_field) in fields.items():
            values = [document[name] for document in documents if name in document]
            assert values
            assert all(
                isinstance(value, str if kind_of_field == "TAG" else (int, float))
                for value in values
            )
