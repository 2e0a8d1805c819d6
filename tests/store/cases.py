"""What every store must do; run on SQLite here, and on Redis in tests/workflow/store."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from facekit.errors import InputError, StoreError
from facekit.store import Change, Store
from tests.store.records import (
    CLASSES,
    FOLDER,
    changed,
    check,
    put,
    random_record,
    random_records,
)


class StoreCases:
    """A subclass gives ``opened``: a function that opens always the same store, which is empty."""

    @pytest.fixture
    def opened(self) -> Callable[[], Store]:
        raise NotImplementedError

    @pytest.fixture
    def store(self, opened):
        with opened() as store:
            yield store

    @pytest.mark.parametrize("classes", [(), CLASSES], ids=["points", "classes"])
    @pytest.mark.parametrize("seed", range(3))
    def test_answers_equal_those_of_plain_python(self, store, seed, classes):
        records = random_records(seed, classes)
        in_any_order = list(records.values())
        random.Random(seed).shuffle(in_any_order)
        put(store, in_any_order)
        check(store, "d", records.values())

    def test_pages_are_put_together(self, store, monkeypatch):
        for module in ("sqlite", "redis_store"):
            monkeypatch.setattr(f"facekit.store.{module}._PAGE", 4)
        records = random_records(5)
        put(store, records.values())
        check(store, "d", records.values())
        names, after = [], b""
        while page := store.photo_names("d", after, 3):
            names += page
            after = page[-1]
        assert names == store.photo_names("d", b"", 1000)

    def test_a_changed_photo_takes_the_place_of_all_that_was_there(self, store):
        rng = random.Random(3)
        records = random_records(1)
        put(store, records.values())
        for _ in range(4):
            changes = {
                # A name of a class comes and goes too.
                path: random_record(path, rng, rng.choice(((), CLASSES)))
                for path in rng.sample(sorted(records), 20)
            }
            put(store, changes.values())
            records |= changes
            check(store, "d", records.values())

    def test_digests_tell_what_has_changed(self, store):
        records = random_records(1)
        put(store, records.values())
        changes = [changed(record) for record in records.values()]
        assert store.digests("d", [each.photo for each in changes]) == [
            each.digest for each in changes
        ]
        assert store.digests("d", [b"none"]) == [""]
        assert store.digests("d", []) == []

    def test_applying_twice_is_applying_once(self, store):
        records = random_records(1)
        put(store, records.values())
        put(store, records.values())
        check(store, "d", records.values())
        store.apply("d", "me", [Change(b"none")])
        one = next(record for record in records.values() if record.faces is not None)
        put(store, [one, one])
        check(store, "d", records.values())
        store.apply("d", "me", [Change(name) for name in store.photo_names("d", b"", 1000)])
        check(store, "d", [])

    def test_datasets_do_not_touch_each_other(self, store):
        names = ("d", "d:image", "Ünder the {sun}", "d%3A")
        every = {name: random_records(seed) for seed, name in enumerate(names)}
        for name, records in every.items():
            put(store, records.values(), name)
        for name, records in every.items():
            check(store, name, records.values())
        assert [each.dataset for each in store.datasets()] == sorted(names, key=str.encode)

    def test_another_folder_of_another_run_is_refused(self, store, tmp_path):
        records = random_records(1)
        put(store, records.values())
        with pytest.raises(StoreError, match="contains the photos of /photos/of the family"):
            store.begin("d", str(tmp_path), "other")
        check(store, "d", records.values())
        # The same record: the folder has been moved.
        store.begin("d", str(tmp_path), "me")
        assert store.datasets()[0].photo_folder == str(tmp_path)

    def test_a_run_that_was_overtaken_changes_nothing(self, store):
        put(store, random_records(1).values())
        records = random_records(2)
        put(store, [], owner="other")
        put_before = [changed(record) for record in random_records(3).values()]
        with pytest.raises(StoreError, match="another run has taken over"):
            store.apply("d", "me", put_before)
        with pytest.raises(StoreError, match="another run has taken over"):
            store.apply("no such", "me", put_before)
        gone = [Change(name) for name in store.photo_names("d", b"", 1000)]
        store.apply("d", "other", [*gone, *map(changed, records.values())])
        check(store, "d", records.values())

    def test_what_one_writes_the_other_reads(self, opened):
        records = random_records(1)
        with opened() as one, opened() as other:
            put(one, records.values())
            check(other, "d", records.values())

    def test_unknown_names(self, store):
        for ask in (
            lambda: list(store.photos("no such")),
            lambda: list(store.faces("no such")),
            lambda: list(store.rotated("no such", 1)),
            lambda: store.folders("no such"),
            lambda: store.categories("no such"),
            lambda: store.faces_of("no such", "a.jpg"),
            lambda: store.digests("no such", []),
        ):
            with pytest.raises(StoreError, match="does not contain a dataset no such$"):
                ask()
        assert store.datasets() == []
        put(store, [])
        check(store, "d", [])
        with pytest.raises(StoreError, match="the dataset d does not contain a photo a.jpg"):
            store.faces_of("d", "a.jpg")

    def test_limits_of_any_kind_of_number(self, store):
        put(store, random_records(3).values())
        for kind in (np.float64, np.float32):
            assert list(store.faces("d", kind(0.5))) == list(store.faces("d", 0.5)) != []
            assert list(store.rotated("d", kind(45))) == list(store.rotated("d", 45)) != []
        assert list(store.photos("d", np.int64(2))) == list(store.photos("d", 2)) != []
        assert list(store.photos("d", -1)) == list(store.photos("d"))
        assert list(store.photos("d", 10**30)) == []
        assert list(store.photos("d", limit=10**30)) == list(store.photos("d"))
        assert list(store.faces("d", limit=0)) == list(store.faces("d", float("inf"))) == []
        for ask in (
            lambda: store.faces("d", float("nan")),
            lambda: store.rotated("d", float("nan")),
            lambda: store.photos("d", limit=-1),
        ):
            with pytest.raises(InputError):
                ask()

    def test_what_goes_while_an_answer_is_read_is_passed_over(self, store, monkeypatch):
        for module in ("sqlite", "redis_store"):
            monkeypatch.setattr(f"facekit.store.{module}._PAGE", 2)
        records = random_records(3)
        put(store, records.values())
        whole = list(store.faces("d"))
        answers = store.faces("d")
        first = [next(answers), next(answers)]
        gone = {face.photo for face in whole[2:8]} - {face.photo for face in first}
        names = [Change(photo.encode("utf-8", "surrogateescape")) for photo in gone]
        store.apply("d", "me", names)
        rest = list(answers)
        assert all(face in whole and face.photo not in gone for face in rest)
        assert FOLDER
