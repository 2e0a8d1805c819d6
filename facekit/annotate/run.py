"""A run: list the folder, find what is missing, and write the datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from facekit.annotate.local import Finder, local_finder
from facekit.annotate.options import Options, Outputs, Summary
from facekit.annotate.results import Results
from facekit.annotate.servers import Say
from facekit.annotate.walk import walk
from facekit.annotations import WRITERS, DatasetInfo, NumberedPhoto, PhotoSource
from facekit.annotations.dataset import name_fields, utf8_name
from facekit.annotations.output import OUTPUT_MARK, check_replaceable, output_file
from facekit.annotations.record import PhotoRecord
from facekit.errors import DataError, ModelMissingError
from facekit.files import FolderLock, followed
from facekit.photos.formats import ACCEPTED, HEAD_BYTES, refusal
from facekit.progress import ProgressBar
from facekit.runs import missing_model_remedy
from facekit.store import dataset_name

if TYPE_CHECKING:
    from facekit.annotate.mirror import Mirror


Then = Callable[[PhotoSource], Iterable[PhotoRecord]]
"""Takes the photos with their faces, and gives those that have failed after all."""


def annotate(
    folder: Path,
    outputs: Outputs,
    options: Options | None = None,
    *,
    finder: Finder | None = None,
    say: Say | None = None,
    only: Iterable[str] = ("",),
    then: Then | None = None,
) -> Summary:
    """Find the faces of all photos below a folder and write them as a dataset.

    What an earlier call with the same outputs found is taken from the record beside them; so a run
    that was stopped, at whatever moment, goes on. The result depends neither on that nor on the
    order in which the servers answer.

    Args:
        folder: The photo folder, or a text file of ``s3://``, ``gs://`` and ``file://`` addresses
            of photos, one a line.
        outputs: The files to write.
        options: How to go about it; None for the defaults.
        finder: Finds the faces; by default what ``options`` says.
        say: Takes lines about the run's progress, where there is no terminal for a bar, and about
            its servers; None for silence.
        only: Names of files and folders below ``folder``, where not all of it is meant.
        then: Called once all faces are found, before the datasets are written; there may be no
            photos then.

    Returns:
        What came of it. A photo that failed does not stop the run.

    Raises:
        ConfigError: The record is of another model, or an option is wrong.
        DataError: The folder contains no photos, or a file can't be written, such as on a full
            disk, or exists and was not written by facekit.
        ServerError: No server answers, or it does not serve the model. The record has what was
            found until then, as for all of these.
        SetupError: The embedded server, or a package that an option needs, is missing here.
    """
    options = options or Options()
    folder = _resolved(folder)
    for kind, path in outputs.formats.items():
        check_replaceable(path, kind)
    check_replaceable(outputs.failures, "failures")
    place = followed(outputs.coco).parent
    with ExitStack() as stack:
        stack.enter_context(_empty_folders_removed(place))
        stack.enter_context(FolderLock(place, f".{outputs.coco.name}.lock"))
        results = Results(
            outputs.results,
            model=options.found_by,
            dataset=options.dataset or dataset_name(folder),
            folder=folder,
            hash_content=options.hash_content,
            retry_failed=options.retry_failed,
        )
        stack.enter_context(results)
        return _Run(folder, outputs, options, results, say).go(finder, only, then)


class _Run:
    def __init__(
        self, folder: Path, outputs: Outputs, options: Options, results: Results, say: Say | None
    ) -> None:
        self._folder, self._outputs, self._options = folder, outputs, options
        self._results, self._say = results, say
        self._faces = 0

    def go(self, finder: Finder | None, only: Iterable[str], then: Then | None) -> Summary:
        results = self._results
        others = self._list_folder(only, empty=then is not None)
        with ExitStack() as stack:
            mirror = self._mirror()
            if mirror is not None:
                stack.enter_context(mirror)
            refused = 0
            for photo, stamp, reason in results.refused():
                results.put(PhotoRecord(photo, stamp, error=reason))
                refused += 1
            new = refused + self._find(finder)
            removed = results.remove_gone()
            for record in () if then is None else then(self._photos):
                results.put(record)
            self._write()
            failures, unlisted = self._write_failures()
            store = None if mirror is None else mirror.finish()
        photos = results.count_listed()
        reports = (self._outputs.failures,) if failures or unlisted else ()
        return Summary(
            photos=photos,
            faces=self._faces,
            failures=failures,
            unlisted=unlisted,
            new=new,
            unchanged=photos - new,
            removed=removed,
            others=others,
            files=(*self._outputs.formats.values(), *reports),
            store=store,
        )

    def _list_folder(self, only: Iterable[str], *, empty: bool) -> int:
        hashes = self._options.hash_content
        if self._folder.is_dir():
            found = walk(self._folder, self._results.known, hash_content=hashes, only=only)
        else:
            from facekit.annotate.objects import list_objects

            found = list_objects(self._folder, hash_content=hashes)
        others = self._results.take_listing(found)
        if reason := self._results.why_unlisted():
            raise DataError(self._folder, reason)
        if self._results.count_listed() == 0 and not empty:
            raise DataError(self._folder, f"contains no photos; {ACCEPTED}")
        return others

    def _mirror(self) -> Mirror | None:
        if self._options.store is None:
            return None
        from facekit.annotate.mirror import Mirror

        return Mirror(
            self._options.store,
            self._results,
            folder=self._folder,
            dataset=self._options.dataset or dataset_name(self._folder),
            limits=self._options.limits,
        )

    def _find(self, finder: Finder | None) -> int:
        """Find what the record lacks, and return how many photos that were."""
        total = self._results.count_pending()
        if total == 0:  # no server is started for nothing
            return 0
        with ExitStack() as stack:
            silent = False if self._say is None else None
            progress = ProgressBar(total, "photos", say=self._say, enabled=silent)
            if finder is None:
                finder = stack.enter_context(self._own_finder(progress.line))
            stack.enter_context(progress)
            records = stack.enter_context(closing(finder(self._results.pending())))
            faces = 0
            try:
                for record in records:
                    self._results.put(record)
                    faces += 0 if record.faces is None else len(record.faces)
                    progress.advance(failed=record.faces is None, note=f"{faces:,} faces")
            except ModelMissingError as error:
                remedy = missing_model_remedy(self._options.model)
                raise ModelMissingError(f"{error}; {remedy}") from error
        return total

    def _own_finder(self, say: Say) -> AbstractContextManager[Finder]:
        if self._options.ray is None:
            return local_finder(self._folder, self._options, say)
        from facekit.annotate.ray_finder import ray_finder

        return ray_finder(self._folder, self._options, say)

    def _photos(self) -> Iterator[NumberedPhoto]:
        self._faces = 0
        for photo in self._results.numbered():
            record = photo.record.within(self._options.limits)
            self._faces += 0 if record.faces is None else len(record.faces)
            yield NumberedPhoto(photo.image_id, record)

    def _write(self) -> None:
        outputs, photos = self._outputs, self._photos
        listed = self._folder.is_dir()
        info = DatasetInfo(str(self._folder) if listed else "", self._options.model)
        for kind, path in outputs.formats.items():
            options = {"seed_fields": outputs.seed_fields} if kind == "coco" else {}
            WRITERS[kind](path, photos, info, **options)

    def _write_failures(self) -> tuple[int, int]:
        """Write the report, and return the numbers of failed photos and of unlisted folders."""
        failed, unlisted, path = 0, 0, self._outputs.failures
        with output_file(path) as file:
            for name, reason, is_photo in self._results.failures():
                failed += is_photo
                unlisted += not is_photo
                entry = name_fields("photo", name) | {"reason": utf8_name(reason)}
                file.write(json.dumps(entry).encode() + b"\n")
        if not failed and not unlisted:
            path.unlink(missing_ok=True)
        return failed, unlisted


def _resolved(folder: Path) -> Path:
    """Return the absolute path of what contains the photos: a folder, or a list of addresses.

    Raises DataError if it is missing, or something else, such as a single photo.
    """
    try:
        path = folder.resolve(strict=True)
        if path.is_dir():
            if (path / OUTPUT_MARK).exists():
                raise DataError(
                    folder,
                    f"is marked by the file {OUTPUT_MARK} as a folder of the kit's own pictures, "
                    "such as face chips; if these are your photos, remove that file",
                )
            return path
        if not path.is_file():  # a pipe would be waited for
            raise DataError(folder, "is neither a folder nor a file with a list of addresses")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise DataError(folder, "no such folder") from error
    except (OSError, RuntimeError) as error:  # a loop of links is no OSError up to Python 3.12
        raise DataError(folder, getattr(error, "strerror", "") or str(error)) from error
    if refusal(head, "") is not None:
        raise DataError(folder, f"is a photo; give the folder that contains it: {path.parent}")
    return path


@contextmanager
def _empty_folders_removed(place: Path) -> Iterator[None]:
    """Remove at the end those folders that were missing before and are empty."""
    missing = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
