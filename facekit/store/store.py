"""What every store of results can do, whatever database it is."""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from facekit.annotations.dataset import utf8_name
from facekit.closing import Closing
from facekit.errors import InputError, StoreError
from facekit.store.answers import (
    CategoryCount,
    FolderCount,
    StoredDataset,
    StoredFace,
    StoredPhoto,
    face_answer,
    photo_answer,
    to_bytes,
)
from facekit.store.documents import Change

VERSION = 1
"""Of the layout of the documents and their indexes."""
_PAGE = 500
_MOST_FACES = 1e9
"""Of a photo; as a limit it is one that every database can compare with."""
T = TypeVar("T")
Page = Sequence[str | bytes | None]
"""Documents in order; None for one that another run has just removed."""


@dataclass(frozen=True)
class Position:
    """How far a dataset follows a journal.

    Attributes:
        journal: The journal's id; "" for none.
        offset: In bytes; all lines before it have been applied.
    """

    journal: str
    offset: int


class Store(Closing):
    """Datasets of photos and faces in a database, changed one photo at a time, whole or not at all.

    Each answer has one order, the same in every database; ties are settled by the bytes of the
    photo's path, then by the face's number. Answers are read in pages, each as the store is at that
    moment.

    Attributes:
        name: Its address, without a password.
    """

    name: str

    def photos(
        self, dataset: str, min_faces: int = 0, *, limit: int | None = None
    ) -> Iterator[StoredPhoto]:
        """Yield the photos with at least so many faces, those with most faces first.

        Raises:
            InputError: ``min_faces`` or ``limit`` is no number to compare with.
        """
        fewest = min(max(_number(min_faces), 0.0), _MOST_FACES)
        pages = _paged(lambda start, count: self._photo_page(dataset, fewest, start, count))
        return (photo_answer(document) for document in _first(pages, limit))

    def faces_of(self, dataset: str, photo: str) -> list[StoredFace]:
        """Return the faces of one photo by their number.

        Raises:
            StoreError: The dataset holds no such photo.
        """
        documents = self._face_documents(dataset, to_bytes(photo))
        if documents is None:
            raise StoreError(f"{self.name}: the dataset {dataset} holds no photo {photo}")
        return [face_answer(document) for document in documents]

    def faces(
        self,
        dataset: str,
        min_score: float = 0.0,
        *,
        category: str | None = None,
        limit: int | None = None,
    ) -> Iterator[StoredFace]:
        """Yield the faces of a score that is not lower, of one category or all, best first.

        Raises:
            InputError: ``min_score`` or ``limit`` is no number to compare with.
        """
        lowest = _number(min_score)
        only = None if category is None else utf8_name(category)
        pages = _paged(lambda start, count: self._score_page(dataset, lowest, only, start, count))
        return (face_answer(document) for document in _first(pages, limit))

    def rotated(
        self,
        dataset: str,
        beyond_deg: float,
        *,
        category: str | None = None,
        limit: int | None = None,
    ) -> Iterator[StoredFace]:
        """Yield the faces turned by more than an angle either way, the farthest turned first.

        One whose rotation is unknown is not among them.

        Raises:
            InputError: ``beyond_deg`` or ``limit`` is no number to compare with.
        """
        angle = _number(beyond_deg)
        pages = _paged(lambda start, count: self._turn_page(dataset, angle, start, count))
        faces = (face_answer(document) for document in pages)
        return _first((f for f in faces if category is None or f.category == category), limit)

    @abstractmethod
    def datasets(self) -> list[StoredDataset]:
        """Return what the store holds, by name."""

    @abstractmethod
    def folders(self, dataset: str) -> list[FolderCount]:
        """Return how much lies directly in each folder, by the bytes of its path."""

    @abstractmethod
    def categories(self, dataset: str) -> list[CategoryCount]:
        """Return how many faces each category has, by the bytes of its name."""

    @abstractmethod
    def begin(self, dataset: str, folder: str, journal: str) -> Position:
        """Make a dataset where it is missing, and let it follow a journal.

        Args:
            dataset: Its name, as :func:`facekit.store.check_dataset_name` allows it.
            folder: The photo folder.
            journal: Id of the journal. Where it is another than before, what is there stays, and
                the new journal is applied from its start; a run that still follows the other one
                is refused from now on.

        Returns:
            The position up to which the journal has been applied.

        Raises:
            StoreError: The dataset follows another journal and holds another folder's photos.
        """

    @abstractmethod
    def position(self, dataset: str) -> Position | None:
        """Return how far a dataset follows its journal; None where there is no such dataset."""

    @abstractmethod
    def apply(self, dataset: str, changes: Sequence[Change], at: Position, to: Position) -> bool:
        """Change photos and move on in the journal, all at once.

        Returns:
            Whether it was done: not if the dataset is not ``at`` this position.
        """

    @abstractmethod
    def stored(self, dataset: str, after: bytes, count: int) -> list[tuple[bytes, str]]:
        """Return the next photos by the bytes of their path, each with its digest."""

    @abstractmethod
    def drop(self, dataset: str) -> None:
        """Remove a dataset with all that belongs to it."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def _photo_page(self, dataset: str, min_faces: float, start: int, count: int) -> Page: ...

    @abstractmethod
    def _face_documents(self, dataset: str, photo: bytes) -> list[str] | list[bytes] | None: ...

    @abstractmethod
    def _score_page(
        self, dataset: str, min_score: float, category: str | None, start: int, count: int
    ) -> Page: ...

    @abstractmethod
    def _turn_page(self, dataset: str, beyond_deg: float, start: int, count: int) -> Page: ...

    def _other_folder(self, dataset: str, folder: str) -> StoreError:
        return StoreError(
            f"{self.name}: the dataset {dataset} holds the photos of {folder}; "
            "choose another name with --dataset"
        )


def _number(value: float) -> float:
    """Return a number of Python's own: NumPy's are compared as bytes by SQLite, without a word."""
    number = float(value)
    if math.isnan(number):
        raise InputError("NaN is no number to compare with")
    return number


def _first(items: Iterator[T], limit: int | None) -> Iterator[T]:
    if limit is not None and limit < 0:
        raise InputError(f"limit: expected a number from 0, got {limit}")
    return islice(items, None if limit is None else min(limit, sys.maxsize))


def _paged(page: Callable[[int, int], Page]) -> Iterator[str | bytes]:
    start = 0
    while True:
        found = page(start, _PAGE)
        yield from (document for document in found if document is not None)
        if len(found) < _PAGE:
            return
        start += _PAGE
