"""A journal into a store: as far as it has been written, and at last as the dataset is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from facekit.annotations.journal import read_header, read_journal
from facekit.annotations.record import PhotoRecord
from facekit.errors import StoreError
from facekit.store.answers import to_bytes
from facekit.store.documents import Change, change, digest
from facekit.store.store import Position, Store

BATCH = 100
"""Photos that are changed at once: a run that is killed repeats no more than these."""
_PAGE = 1000
Prepare = Callable[[PhotoRecord], PhotoRecord]
"""What is done to a record before it is written anywhere, such as leaving faces out."""
T = TypeVar("T")


@dataclass(frozen=True)
class Reconciled:
    """What a dataset holds, and what had to be done for it.

    Attributes:
        photos: Photos with an outcome.
        faces: Their faces.
        put: Photos that were missing or different.
        removed: Photos that were there and should not be.
    """

    photos: int
    faces: int
    put: int
    removed: int


def sync_store(
    store: Store,
    journal_path: Path,
    *,
    dataset: str,
    folder: Path,
    prepare: Prepare | None = None,
    begun: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> Position:
    """Apply what a journal holds beyond the position that the store remembers for it.

    It can be broken off at any moment: each batch and its position are stored at once.

    Args:
        store: Where to.
        journal_path: The journal; another thread or process may be appending to it.
        dataset: Name of the dataset.
        folder: The photo folder.
        prepare: What the writers do to a record; None for nothing.
        begun: Id of the journal that this run has begun to follow: where the dataset follows
            another one, that is another run, which is not disturbed.
        stopped: Asked before each batch.

    Returns:
        The position that was reached.

    Raises:
        StoreError: The store can't be used, or another run has taken the dataset over.
        StoreUnavailableError: The store does not answer.
        DataError: The journal can't be read.
    """
    journal = read_header(journal_path).id
    known = store.position(dataset) if begun == journal else None
    at = known or store.begin(dataset, str(folder.absolute()), journal)
    if at.journal != journal:
        raise _taken_over(store, dataset)
    for batch in _batches(read_journal(journal_path, at.offset), BATCH):
        # A journal that was rewritten meanwhile has a new id, and these offsets mean nothing in it.
        if stopped() or read_header(journal_path).id != journal:
            return at
        # The last record of a photo counts.
        last = {record.photo: record for record, _ in batch}
        changes = [change(prepare(record) if prepare else record) for record in last.values()]
        to = Position(journal, batch[-1][1])
        _apply(store, dataset, changes, at, to)
        at = to
    return at


def reconcile(
    store: Store, records: Iterable[PhotoRecord], *, dataset: str, at: Position
) -> Reconciled:
    """Make a dataset hold exactly these photos, by what differs; nothing is held in memory.

    Args:
        store: Where to.
        records: All photos by the bytes of their path, prepared; failed ones are no part of the
            dataset.
        dataset: Name of the dataset.
        at: Where it stands.

    Raises:
        ValueError: The records are in another order.
        StoreError: The store can't be used, or another run has taken the dataset over.
        StoreUnavailableError: The store does not answer.
    """
    photos = faces = put = removed = 0
    for batch in _batches(_differences(store, records, dataset), BATCH):
        changes = [each.change for each in batch if each.change is not None]
        if changes:
            _apply(store, dataset, changes, at, at)
        photos += sum(each.faces is not None for each in batch)
        faces += sum(each.faces or 0 for each in batch)
        removed += sum(each.documents is None for each in changes)
        put += sum(each.documents is not None for each in changes)
    return Reconciled(photos, faces, put, removed)


def count_after(journal_path: Path, position: Position | None) -> int:
    """Return how many records of a journal lie beyond a position.

    Raises:
        DataError: The journal can't be read.
    """
    journal = read_header(journal_path).id
    start = position.offset if position and position.journal == journal else 0
    return sum(1 for _ in read_journal(journal_path, start))


@dataclass(frozen=True)
class _Difference:
    change: Change | None
    faces: int | None


def _differences(
    store: Store, records: Iterable[PhotoRecord], dataset: str
) -> Iterator[_Difference]:
    """Walk both in their common order."""
    stored = _stored(store, dataset)
    there = next(stored, None)
    before: bytes | None = None
    for record in records:
        photo = to_bytes(record.photo)
        if before is not None and photo <= before:
            raise ValueError(f"{record.photo}: not in the order of the bytes of the paths")
        before = photo
        if record.faces is None:
            continue
        while there is not None and there[0] < photo:
            yield _Difference(Change(there[0], None), None)
            there = next(stored, None)
        same = there is not None and there == (photo, digest(record))
        yield _Difference(None if same else change(record), len(record.faces))
        if there is not None and there[0] == photo:
            there = next(stored, None)
    while there is not None:
        yield _Difference(Change(there[0], None), None)
        there = next(stored, None)


def _stored(store: Store, dataset: str) -> Iterator[tuple[bytes, str]]:
    after = b""
    while page := store.stored(dataset, after, _PAGE):
        yield from page
        after = page[-1][0]


def _apply(store: Store, dataset: str, changes: list[Change], at: Position, to: Position) -> None:
    if store.apply(dataset, changes, at, to):
        return
    # The answer to a first try may have been lost on the way, and the library has tried again.
    found = store.position(dataset)
    if found == to:
        return
    raise _taken_over(store, dataset)


def _taken_over(store: Store, dataset: str) -> StoreError:
    return StoreError(f"{store.name}: another run has taken over the dataset {dataset}")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
