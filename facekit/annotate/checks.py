"""What is looked at before a run begins, so that a refused one leaves all as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facekit.annotate.options import Outputs
from facekit.annotations.journal import read_header
from facekit.annotations.label_studio import config_path
from facekit.annotations.output import OUTPUT_MARK, OutputKind, check_replaceable
from facekit.errors import DataError
from facekit.photos.formats import HEAD_BYTES, refusal

_FAILURE = re.compile(rb'\{"photo": "(?:[^"\\]|\\.)*", (?:"photo_hex": "[0-9a-f]*", )?"reason": "')
_MOST_FAILURE = 1 << 17


def resolved_folder(folder: Path) -> Path:
    """Return the absolute path of what holds the photos: a folder, or a list of addresses.

    Raises:
        DataError: There is none, or it is something else, such as a single photo.
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
        raise DataError(folder, f"is a photo; give the folder that it lies in: {path.parent}")
    return path


def check_outputs(outputs: Outputs) -> None:
    """Refuse to write over files that are another's work.

    Raises:
        DataError: One of the outputs, or of the files that are kept beside them, is there already
            and not the kit's.
    """
    labels = outputs.label_studio
    files: tuple[tuple[Path | None, OutputKind], ...] = (
        (outputs.coco, "coco"),
        (outputs.jsonl, "jsonl"),
        (outputs.parquet, "parquet"),
        (labels, "label-studio"),
        (None if labels is None else config_path(labels), "label-studio-config"),
        (outputs.fiftyone, "fiftyone"),
    )
    for path, kind in files:
        if path is not None:
            check_replaceable(path, kind)
    if outputs.journal.exists() and outputs.journal.stat().st_size:
        read_header(outputs.journal)
    _check_failures(outputs.failures)


def _check_failures(path: Path) -> None:
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return
        with path.open("rb") as file:
            ours = _FAILURE.match(file.read(_MOST_FAILURE)) is not None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    if not ours:
        raise DataError(
            path,
            "would be the report of failures, is there already and was not written by facekit: "
            "give another name to --coco, or remove it",
        )


@contextmanager
def empty_folders_removed(place: Path) -> Iterator[None]:
    """Remove at the end those folders that were missing before and hold nothing."""
    missing = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it holds something
                folder.rmdir()
