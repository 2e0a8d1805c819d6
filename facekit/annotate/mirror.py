"""A store that is kept equal to a run's record while the run lasts, and never stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facekit.annotate.results import Head, Results
from facekit.errors import FacekitError, StoreError, StoreUnavailableError
from facekit.selection import FaceLimits
from facekit.store import Change, Store, check_dataset_name, masked, open_store
from facekit.text import count

_ALL = FaceLimits()
_BATCH = 100
"""Photos that are changed at once."""
_PAGE = 1000
_POLL_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STOP_S = 120.0
"""How long a batch under way may take before the thread is left to itself."""


@dataclass(frozen=True)
class StoreOutcome:
    """State of a store at the end of a run.

    Attributes:
        store: Its address, without a password.
        photos: Photos that it has, as ``faces``; 0 where ``error`` tells why it is not up to date.
        behind: Photos of the record that it may lack.
        error: Why it is not up to date; "" where it is.
    """

    store: str
    dataset: str
    photos: int = 0
    faces: int = 0
    behind: int = 0
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the store has exactly what the run found."""
        return not self.error

    @property
    def message(self) -> str:
        """One line for people."""
        if self.ok:
            held = f"{count(self.photos, 'photo')}, {count(self.faces, 'face')}"
            return f"{self.store}, dataset {self.dataset}: {held}"
        behind = f"is behind by {count(self.behind, 'photo')}" if self.behind else "is not finished"
        reason = self.error.removeprefix(f"{self.store}: ")
        return (
            f"{self.store}: {behind} ({reason}); nothing is lost, the same command brings it "
            "up to date"
        )


class Mirror:
    """Copies a run's results to a store, in a thread of its own; only what differs is written.

    A store that goes away is tried again, with longer and longer waits, while the run goes on.
    Faces that do not meet ``limits`` are left out.
    """

    def __init__(
        self, url: str, results: Results, *, folder: Path, dataset: str, limits: FaceLimits = _ALL
    ) -> None:
        self._url, self._results, self._folder = url, results, folder
        self._dataset, self._limits = dataset, limits
        self._done = 0  # the id up to which photos have been copied
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="store", daemon=True)

    def start(self) -> None:
        """Begin, when it is certain that the store can be used.

        Raises StoreError if it can't or has another folder's photos under this name, and
        StoreUnavailableError if it does not answer: nothing has been done yet.
        """
        check_dataset_name(self._dataset)
        with open_store(self._url) as store:
            self._begin(store)
        self._thread.start()

    def cancel(self) -> None:
        """Stop, and leave the store as it is; the next run goes on from there."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def finish(self) -> StoreOutcome:
        """Make the store contain exactly what the run found; no failure of a store is raised.

        Raises DataError if the record can't be read.
        """
        self.cancel()
        error = ""
        for last in (False, True):
            try:
                with open_store(self._url) as store:
                    if not any(each.dataset == self._dataset for each in store.datasets()):
                        self._begin(store)  # one that lost all is filled again
                    self._complete(store)
                    (now,) = (each for each in store.datasets() if each.dataset == self._dataset)
                return StoreOutcome(masked(self._url), self._dataset, now.photos, now.faces)
            except StoreError as failure:
                error = str(failure)
                if last or not isinstance(failure, StoreUnavailableError):
                    break
                time.sleep(_FIRST_WAIT_S)
        behind = self._results.count_found(self._done)
        return StoreOutcome(masked(self._url), self._dataset, behind=behind, error=error)

    def __enter__(self) -> Mirror:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def _begin(self, store: Store) -> None:
        store.begin(self._dataset, str(self._folder.absolute()), self._results.id)

    def _follow(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._end.is_set():
            try:
                with open_store(self._url) as store:
                    while not self._end.wait(_POLL_S):
                        self._copy(store, self._done, self._end.is_set)
                        wait_s = _FIRST_WAIT_S
            except FacekitError:
                # Whatever it is, it may be mended while the run lasts; finish() reports it.
                self._end.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _complete(self, store: Store) -> None:
        """Copy all that differs, also what the store has lost, and remove what does not belong."""
        self._copy(store, 0)
        after = b""
        while page := store.photo_names(self._dataset, after, _PAGE):
            gone = [Change(name) for name in page if not self._results.has_found(name)]
            if gone:
                store.apply(self._dataset, self._results.id, gone)
            after = page[-1]

    def _copy(self, store: Store, after: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Copy the photos whose ids are above a number, where the store has them otherwise."""
        while not stopped() and (heads := self._results.heads(after, _BATCH)):
            digests = store.digests(self._dataset, [head.photo for head in heads])
            pairs = zip(heads, digests, strict=True)
            changes = [self._change(head) for head, there in pairs if there != self._digest(head)]
            if changes:
                store.apply(self._dataset, self._results.id, [each for each in changes if each])
            after = heads[-1].id
            self._done = max(self._done, after)

    def _digest(self, head: Head) -> str:
        if self._limits == _ALL:
            return head.digest
        if self._limits == FaceLimits(self._limits.min_score):  # as of earlier versions
            return f"{head.digest} >= {self._limits.min_score!r}"
        return f"{head.digest} {self._limits!r}"

    def _change(self, head: Head) -> Change | None:
        record = self._results.record(head)
        if record is None:
            return None
        return Change(head.photo, record.within(self._limits), self._digest(head))
