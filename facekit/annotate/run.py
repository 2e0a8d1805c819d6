"""A run: list the folder, find what is missing, and write the datasets."""

from __future__ import annotations

import sqlite3
import time
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from facekit.annotate.checks import check_outputs, empty_folders_removed, resolved_folder
from facekit.annotate.index import PhotoIndex
from facekit.annotate.local import Finder, local_finder
from facekit.annotate.options import Options, Outputs, Summary
from facekit.annotate.progress import RunProgress
from facekit.annotate.results import Results
from facekit.annotate.servers import Say
from facekit.annotate.walk import walk
from facekit.annotations.journal import (
    GONE,
    Journal,
    RecordHead,
    read_heads,
    rewrite_journal,
)
from facekit.annotations.record import PhotoRecord
from facekit.errors import DataError, ModelMissingError
from facekit.files import FolderLock
from facekit.photos.formats import ACCEPTED
from facekit.runs import missing_model_remedy

if TYPE_CHECKING:
    from facekit.store.follower import StoreFollower

_FLUSH_INTERVAL_S = 1.0
_REWRITE_BYTES = 1 << 20
"""A journal below this size is never rewritten."""


def annotate(
    folder: Path,
    outputs: Outputs,
    options: Options | None = None,
    *,
    finder: Finder | None = None,
    say: Say | None = None,
) -> Summary:
    """Find the faces of all photos below a folder and write them as a dataset.

    What an earlier call with the same outputs found is taken from the journal beside them; so a
    run that was stopped, at whatever moment, goes on. The result depends neither on that nor on
    the order in which the servers answer.

    Args:
        folder: The photo folder, or a text file of ``s3://``, ``gs://`` and ``file://`` addresses
            of photos, one a line.
        outputs: The files to write.
        options: How to go about it; None for the defaults.
        finder: Who finds the faces; by default what ``options`` says.
        say: Takes lines about the run's progress, where there is no terminal for a bar, and about
            its servers; None for silence.

    Returns:
        What came of it. A photo that failed does not stop the run.

    Raises:
        ConfigError: The journal is of another model, or an option is wrong.
        DataError: The folder holds no photo, or a file can't be written, such as on a full disk,
            or is there already and was not written by facekit.
        ServerError: No server answers, or it does not serve the model. The journal has what was
            found until then, as for all of these.
        SetupError: The embedded server, or a package that an option needs, is missing here.
    """
    options = options or Options()
    folder = resolved_folder(folder)
    check_outputs(outputs)
    place = outputs.coco.resolve().parent
    with ExitStack() as stack:
        stack.enter_context(empty_folders_removed(place))
        stack.enter_context(FolderLock(place, f".{outputs.coco.name}.lock"))
        try:
            index = PhotoIndex(
                outputs.index, hash_content=options.hash_content, retry_failed=options.retry_failed
            )
            stack.enter_context(index)
            return _Run(folder, outputs, options, index, say).go(finder)
        except sqlite3.Error as error:
            raise DataError(
                outputs.index,
                f"{error}. When that is mended, the same command goes on where it stopped",
            ) from error


class _Run:
    def __init__(
        self, folder: Path, outputs: Outputs, options: Options, index: PhotoIndex, say: Say | None
    ) -> None:
        self._folder, self._outputs, self._options = folder, outputs, options
        self._index, self._say = index, say
        self._results = Results(index, folder, outputs, options)

    def go(self, finder: Finder | None) -> Summary:
        with ExitStack() as stack:
            journal = self._open_journal(stack)
            others = self._list_folder()
            follower = self._follower(journal)
            if follower is not None:
                stack.enter_context(follower)
            log = _Log(journal, self._index, follower)
            refused = 0
            for photo, stamp, reason in self._index.refused():
                log.append(PhotoRecord(photo, stamp, error=reason))
                refused += 1
            new = refused + self._find(finder, log)
            removed = 0
            while gone := self._index.some_gone():
                for photo, stamp in gone:
                    log.append(PhotoRecord(photo, stamp, error=GONE, lasting=False))
                removed += len(gone)
            log.flush()
            faces, failures, unlisted = self._results.write()
            store = None if follower is None else follower.finish(self._results.records)
        photos = self._index.count_photos()
        return Summary(
            photos=photos,
            faces=faces,
            failures=failures,
            unlisted=unlisted,
            new=new,
            unchanged=photos - new,
            removed=removed,
            others=others,
            files=(
                *self._outputs.files,
                *([self._outputs.failures] if failures or unlisted else []),
            ),
            store=store,
        )

    def _open_journal(self, stack: ExitStack) -> Journal:
        path, model = self._outputs.journal, self._options.model
        if not path.exists():
            stack.callback(self._remove_unused_journal)
        journal = Journal(path, model=model)
        self._index.load(read_heads(path))
        size = path.stat().st_size
        if size > _REWRITE_BYTES and size > 2 * self._index.live_bytes():
            journal.close()
            rewrite_journal(path, self._index.live_spans())
            journal = Journal(path, model=model)
            self._index.load(read_heads(path))
        return stack.enter_context(journal)

    def _remove_unused_journal(self) -> None:
        path = self._outputs.journal
        if path.exists() and next(read_heads(path), None) is None:
            path.unlink()

    def _list_folder(self) -> int:
        hashes = self._options.hash_content
        if self._folder.is_dir():
            found = walk(self._folder, self._index.known, hash_content=hashes)
        else:
            from facekit.annotate.objects import list_objects

            found = list_objects(self._folder, hash_content=hashes)
        others = self._index.fill(found)
        if reason := self._index.why_unlisted():
            raise DataError(self._folder, reason)
        if self._index.count_photos() == 0:
            raise DataError(self._folder, f"holds no photo; {ACCEPTED}")
        return others

    def _follower(self, journal: Journal) -> StoreFollower | None:
        if self._options.store is None:
            return None
        from facekit.store import dataset_name
        from facekit.store.follower import StoreFollower

        return StoreFollower(
            self._options.store,
            journal.path,
            folder=self._folder,
            dataset=self._options.dataset or dataset_name(self._folder),
            prepare=self._results.prepared,
        )

    def _find(self, finder: Finder | None, log: _Log) -> int:
        """Find what the journal lacks, and return how many photos that were."""
        total = self._index.count_pending()
        if total == 0:  # no server is started for nothing
            return 0
        with ExitStack() as stack:
            progress = RunProgress(total, self._say)
            if finder is None:
                finder = stack.enter_context(self._own_finder(progress.line))
            stack.enter_context(progress)
            records = stack.enter_context(closing(finder(self._index.pending())))
            try:
                for record in records:
                    log.append(record)
                    progress.count(record)
            except ModelMissingError as error:
                remedy = missing_model_remedy(self._options.model)
                raise ModelMissingError(f"{error}; {remedy}") from error
        return total

    def _own_finder(self, say: Say) -> AbstractContextManager[Finder]:
        if self._options.ray is None:
            return local_finder(self._folder, self._options, say)
        from facekit.cluster import ray_finder

        return ray_finder(self._folder, self._options, say)


class _Log:
    """Appends to the journal and tells all who need to know."""

    def __init__(self, journal: Journal, index: PhotoIndex, follower: StoreFollower | None) -> None:
        self._journal, self._index, self._follower = journal, index, follower
        self._flushed_at = time.monotonic()

    def append(self, record: PhotoRecord) -> None:
        start = self._journal.end
        end = self._journal.append(record)
        failed = record.faces is None
        gone = record.error == GONE and not record.lasting
        head = RecordHead(record.photo, record.stamp, failed, record.lasting, gone, start, end)
        self._index.note(head)
        if time.monotonic() - self._flushed_at >= _FLUSH_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        self._journal.flush()
        self._flushed_at = time.monotonic()
        if self._follower is not None:
            self._follower.notify()
