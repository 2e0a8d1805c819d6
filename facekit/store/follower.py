"""A store that is kept up to date while a run lasts, and never stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from facekit.annotations.journal import read_header
from facekit.annotations.record import PhotoRecord
from facekit.errors import FacekitError, StoreError, StoreUnavailableError
from facekit.store.address import check_dataset_name, masked, open_store
from facekit.store.store import Position, Store
from facekit.store.sync import Prepare, count_after, reconcile, sync_store
from facekit.text import count

_POLL_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STOP_S = 120.0
"""How long a batch under way may take before the thread is left to itself."""


@dataclass(frozen=True)
class StoreOutcome:
    """How a store stands at the end of a run.

    Attributes:
        store: Its address, without a password.
        dataset: Name of the dataset.
        photos: Photos that it holds; 0 where ``error`` tells why it is not up to date.
        faces: Likewise.
        removed: Photos that were removed at the end.
        behind: Records of the journal that it lacks.
        error: Why it is not up to date; "" where it is.
    """

    store: str
    dataset: str
    photos: int = 0
    faces: int = 0
    removed: int = 0
    behind: int = 0
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the store holds exactly what the run found."""
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


class StoreFollower:
    """Follows the journal of a run into a store, in a thread of its own.

    A store that goes away is tried again, with longer and longer waits, while the run goes on.

    Args:
        url: Address of the store, as :func:`facekit.store.open_store` takes it.
        journal_path: The journal, which is there when the follower is started.
        folder: The photo folder.
        dataset: Name of the dataset.
        prepare: What the writers do to a record before they write it; None for nothing.
    """

    def __init__(
        self,
        url: str,
        journal_path: Path,
        *,
        folder: Path,
        dataset: str,
        prepare: Prepare | None = None,
    ) -> None:
        self._url, self._journal = url, journal_path
        self._folder, self._dataset, self._prepare = folder, dataset, prepare
        self._position: Position | None = None
        self._news, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="store", daemon=True)

    def start(self) -> None:
        """Begin to follow, when it is certain that the store can be used.

        Raises:
            StoreError: It can't, or holds another folder's photos under this name.
            StoreUnavailableError: It does not answer: nothing has been done yet.
            DataError: The journal can't be read.
        """
        check_dataset_name(self._dataset)
        with open_store(self._url) as store:
            journal = read_header(self._journal).id
            folder = str(self._folder.absolute())
            self._position = store.begin(self._dataset, folder, journal)
        self._thread.start()

    def notify(self) -> None:
        """Tell that the journal has grown; without it that is noticed a second later."""
        self._news.set()

    def cancel(self) -> None:
        """Stop following, and leave the store as it is; the next run goes on from there."""
        self._end.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def finish(self, records: Callable[[], Iterable[PhotoRecord]]) -> StoreOutcome:
        """Make the store hold exactly what the run found; no failure of a store is raised.

        Args:
            records: Gives all photos of the dataset by the bytes of their path, as they are
                written. Called once or twice.

        Raises:
            DataError: The journal can't be read.
        """
        self.cancel()
        error = ""
        for last in (False, True):
            try:
                with open_store(self._url) as store:
                    at = self._sync(store)
                    done = reconcile(store, records(), dataset=self._dataset, at=at)
                return StoreOutcome(
                    masked(self._url), self._dataset, done.photos, done.faces, done.removed
                )
            except StoreError as failure:
                error = str(failure)
                if last or not isinstance(failure, StoreUnavailableError):
                    break
                time.sleep(_FIRST_WAIT_S)
        behind = count_after(self._journal, self._position)
        return StoreOutcome(masked(self._url), self._dataset, behind=behind, error=error)

    def __enter__(self) -> StoreFollower:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def _follow(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._end.is_set():
            try:
                with open_store(self._url) as store:
                    while not self._end.is_set():
                        self._news.clear()
                        self._sync(store, self._end.is_set)
                        wait_s = _FIRST_WAIT_S
                        self._news.wait(_POLL_S)
            except FacekitError:
                # Whatever it is, it may be mended while the run lasts; finish() reports it.
                self._end.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _sync(self, store: Store, stopped: Callable[[], bool] = lambda: False) -> Position:
        self._position = sync_store(
            store,
            self._journal,
            dataset=self._dataset,
            folder=self._folder,
            prepare=self._prepare,
            begun=self._position.journal if self._position else "",
            stopped=stopped,
        )
        return self._position
