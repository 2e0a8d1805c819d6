"""What every store must do; run on SQLite here, and on Redis in tests/workflow/store."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from facekit.annotations.record import PhotoRecord
from facekit.errors import InputError, StoreError
from facekit.store import Store
from facekit.store.documents import change
from facekit.store.store import Position
from facekit.store.sync import BATCH, reconcile, sync_store
from tests.store.records import (
    CLASSES,
    FOLDER,
    check,
    journal_of,
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
    def test_answers_equal_those_of_plain_python(self, store, tmp_path, seed, classes):
        records = random_records(seed, classes)
        in_any_order = list(records.values())
        random.Random(seed).shuffle(in_any_order)
        journal = journal_of(tmp_path / "j", in_any_order)
        sync_store(store, journal, dataset="d", folder=FOLDER)
        check(store, "d", records.values())

    def test_pages_are_put_together(self, store, tmp_path, monkeypatch):
        monkeypatch.setattr("facekit.store.store._PAGE", 4)
        records = random_records(5)
        sync_store(store, journal_of(tmp_path / "j", records.values()), dataset="d", folder=FOLDER)
        check(store, "d", records.values())

    def test_a_changed_photo_takes_the_place_of_all_that_was_there(self, store, tmp_path):
        rng = random.Random(3)
        records = random_records(1)
        journal = journal_of(tmp_path / "j", records.values())
        sync_store(store, journal, dataset="d", folder=FOLDER)
        for _ in range(4):
            for path in rng.sample(sorted(records), 20):
                # A name of a class comes and goes too.
                records[path] = random_record(path, rng, rng.choice(((), CLASSES)))
                journal_of(journal, [records[path]])
            sync_store(store, journal, dataset="d", folder=FOLDER)
            check(store, "d", records.values())

    def test_goes_on_where_it_stopped(self, store, tmp_path, monkeypatch):
        monkeypatch.setattr("facekit.store.sync.BATCH", 7)
        records = random_records(2)
        journal = journal_of(tmp_path / "j", records.values())
        whole = sync_store(store, journal, dataset="whole", folder=FOLDER)
        passes = 0
        while True:
            batches = iter((False, True))
            reached = sync_store(
                store, journal, dataset="d", folder=FOLDER, stopped=lambda b=batches: next(b)
            )
            passes += 1
            if reached == whole:
                break
        assert passes == -(-len(records) // 7)
        check(store, "d", records.values())

    def test_a_rewritten_journal_is_read_from_its_start(self, store, tmp_path):
        records = random_records(2)
        sync_store(store, journal_of(tmp_path / "j", records.values()), dataset="d", folder=FOLDER)
        changed = {path: random_record(path, random.Random(9)) for path in records}
        (tmp_path / "j").unlink()
        journal = journal_of(tmp_path / "j", changed.values())
        sync_store(store, journal, dataset="d", folder=FOLDER)
        check(store, "d", changed.values())

    def test_reconciling_removes_adds_and_changes(self, store, tmp_path):
        before, after = random_records(1), random_records(4)
        journal = journal_of(tmp_path / "j", before.values())
        at = sync_store(store, journal, dataset="d", folder=FOLDER)
        done = reconcile(store, after.values(), dataset="d", at=at)
        check(store, "d", after.values())
        good = [r.photo for r in after.values() if r.faces is not None]
        there = [r.photo for r in before.values() if r.faces is not None]
        assert done.photos == len(good)
        assert done.faces == sum(len(r.faces) for r in after.values() if r.faces is not None)
        assert done.removed == len(set(there) - set(good)) > 0
        assert done.put >= len(set(good) - set(there)) > 0

    def test_reconciling_twice_changes_nothing(self, store, tmp_path):
        records = random_records(1)
        journal = journal_of(tmp_path / "j", records.values())
        at = sync_store(store, journal, dataset="d", folder=FOLDER)
        done = reconcile(store, records.values(), dataset="d", at=at)
        assert (done.put, done.removed) == (0, 0)
        done = reconcile(store, [], dataset="d", at=at)
        assert done.removed == len([r for r in records.values() if r.faces is not None])
        check(store, "d", [])

    def test_reconciling_goes_over_many_batches_and_pages(self, store, tmp_path, monkeypatch):
        monkeypatch.setattr("facekit.store.sync._PAGE", 3)
        monkeypatch.setattr("facekit.store.sync.BATCH", 2)
        before, after = random_records(6), random_records(7)
        journal = journal_of(tmp_path / "j", before.values())
        at = sync_store(store, journal, dataset="d", folder=FOLDER)
        reconcile(store, after.values(), dataset="d", at=at)
        check(store, "d", after.values())

    def test_records_out_of_order_are_refused(self, store, tmp_path):
        records = list(random_records(1).values())
        at = sync_store(store, journal_of(tmp_path / "j", []), dataset="d", folder=FOLDER)
        with pytest.raises(ValueError, match="order of the bytes"):
            reconcile(store, records[::-1], dataset="d", at=at)

    def test_datasets_do_not_touch_each_other(self, store, tmp_path):
        names = ("d", "d:image", "Ünder the {sun}", "d%3A")
        every = {name: random_records(seed) for seed, name in enumerate(names)}
        for name, records in every.items():
            journal = journal_of(tmp_path / str(names.index(name)), records.values())
            sync_store(store, journal, dataset=name, folder=FOLDER)
        for name, records in every.items():
            check(store, name, records.values())
        assert [each.dataset for each in store.datasets()] == sorted(names, key=str.encode)
        store.drop("d")
        for name in names[1:]:
            check(store, name, every[name].values())
        with pytest.raises(StoreError, match="holds no dataset d$"):
            store.folders("d")
        sync_store(store, tmp_path / "0", dataset="d", folder=FOLDER)
        check(store, "d", every["d"].values())

    def test_another_folder_of_another_journal_is_refused(self, store, tmp_path):
        records = random_records(1)
        journal = journal_of(tmp_path / "j", records.values())
        sync_store(store, journal, dataset="d", folder=FOLDER)
        other = journal_of(tmp_path / "other", random_records(2).values())
        with pytest.raises(StoreError, match="holds the photos of /photos/of the family"):
            sync_store(store, other, dataset="d", folder=tmp_path)
        check(store, "d", records.values())
        # The same journal: the folder has been moved.
        sync_store(store, journal, dataset="d", folder=tmp_path)
        assert store.datasets()[0].photo_folder == str(tmp_path)

    def test_a_run_that_was_overtaken_ends_and_leaves_the_other_in_peace(self, store, tmp_path):
        first = journal_of(tmp_path / "j", random_records(1).values())
        begun = sync_store(store, first, dataset="d", folder=FOLDER)
        records = random_records(2)
        second = journal_of(tmp_path / "other", records.values())
        at = sync_store(store, second, dataset="d", folder=FOLDER)
        journal_of(first, random_records(3).values())
        with pytest.raises(StoreError, match="another run has taken over"):
            sync_store(store, first, dataset="d", folder=FOLDER, begun=begun.journal)
        with pytest.raises(StoreError, match="another run has taken over"):
            reconcile(store, [], dataset="d", at=begun)
        reconcile(store, records.values(), dataset="d", at=at)
        check(store, "d", records.values())

    def test_a_batch_whose_answer_was_lost_counts_as_done(self, store, tmp_path, monkeypatch):
        applied = type(store).apply

        def lossy(self, *values):
            applied(self, *values)
            return applied(self, *values)

        monkeypatch.setattr(type(store), "apply", lossy)
        records = random_records(1)
        sync_store(store, journal_of(tmp_path / "j", records.values()), dataset="d", folder=FOLDER)
        check(store, "d", records.values())

    def test_a_batch_from_elsewhere_changes_nothing(self, store, tmp_path):
        records = random_records(1)
        journal = journal_of(tmp_path / "j", records.values())
        at = sync_store(store, journal, dataset="d", folder=FOLDER)
        changes = [change(record) for record in random_records(2).values()]
        assert not store.apply("d", changes, Position(at.journal, 5), at)
        assert not store.apply("no such", changes, at, at)
        check(store, "d", records.values())

    def test_faces_are_left_out_before_they_are_stored(self, store, tmp_path):
        def only_good(record: PhotoRecord) -> PhotoRecord:
            if record.faces is None:
                return record
            kept = record.faces[record.faces.scores >= 0.6]
            return PhotoRecord(record.photo, record.stamp, kept)

        records = random_records(1)
        journal = journal_of(tmp_path / "j", records.values())
        at = sync_store(store, journal, dataset="d", folder=FOLDER, prepare=only_good)
        check(store, "d", map(only_good, records.values()))
        done = reconcile(store, map(only_good, records.values()), dataset="d", at=at)
        assert done.put == 0

    def test_what_one_writes_the_other_reads(self, opened, tmp_path):
        records = random_records(1)
        with opened() as one, opened() as other:
            sync_store(
                one, journal_of(tmp_path / "j", records.values()), dataset="d", folder=FOLDER
            )
            check(other, "d", records.values())

    def test_unknown_names(self, store, tmp_path):
        for ask in (
            lambda: list(store.photos("no such")),
            lambda: list(store.faces("no such")),
            lambda: list(store.rotated("no such", 1)),
            lambda: store.folders("no such"),
            lambda: store.categories("no such"),
            lambda: store.faces_of("no such", "a.jpg"),
        ):
            with pytest.raises(StoreError, match="holds no dataset no such$"):
                ask()
        assert store.datasets() == []
        assert store.position("no such") is None
        sync_store(store, journal_of(tmp_path / "j", []), dataset="d", folder=FOLDER)
        check(store, "d", [])
        with pytest.raises(StoreError, match="the dataset d holds no photo a.jpg"):
            store.faces_of("d", "a.jpg")

    def test_limits_of_any_kind_of_number(self, store, tmp_path):
        records = random_records(3)
        sync_store(store, journal_of(tmp_path / "j", records.values()), dataset="d", folder=FOLDER)
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

    def test_more_photos_than_a_batch(self, store, tmp_path):
        base = list(random_records(1).values())
        many = [
            PhotoRecord(f"{number:04d}", r.stamp, r.faces, r.error, r.lasting)
            for number in range(3 * BATCH + 1)
            for r in (base[number % len(base)],)
        ]
        sync_store(store, journal_of(tmp_path / "j", many), dataset="d", folder=FOLDER)
        check(store, "d", many)
