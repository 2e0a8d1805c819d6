"""Files that are written as a stream, and are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from facekit.errors import DataError

OUTPUT_MARK = ".facekit-output"
"""A file that says of its folder that the pictures in it are the kit's own work, no photos."""

DESCRIPTION = "Faces and landmarks found by facekit"
"""Stands at the beginning of each COCO file and in the metadata of each Parquet file."""

OutputKind = Literal["coco", "fiftyone", "jsonl", "label-studio", "label-studio-config", "parquet"]
_NAME = rb'"(?:[^"\\]|\\.)*"'
_JSONL = rb'\{"photo":%s,(?:"photo_hex":"[0-9a-f]*",)?"image_id":-?\d+,"channels":\d+,' % _NAME
_TASK = rb'\{"data":\{"image":%s,"photo":%s,"image_id":-?\d+\},"predictions":\[' % (_NAME, _NAME)
_BEGINNINGS = {
    "coco": re.compile(rb'\{\n"info":\{"description":"%s"' % DESCRIPTION.encode()),
    "jsonl": re.compile(_JSONL),
    "label-studio": re.compile(rb"\[\]\n\Z|\[\n" + _TASK),
    "label-studio-config": re.compile(
        rb'<View>\n  <Image name="image" value="\$image" zoom="true" zoomControl="true"/>\n'
    ),
}
_BEGINNINGS["fiftyone"] = _BEGINNINGS["coco"]
_MOST_BEGINNING = 1 << 17
"""Bytes that hold any path a file can have, and its address, however much of them is escaped."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it takes the place of what was there when the block ends well.

    The bytes go to a hidden file beside it, which is synced to the disk and then renamed. What a
    killed process left of that file is written over by the next one. A link is followed; a device
    or a pipe is written to, never replaced.

    Args:
        path: The file; its folder is made where it is missing.

    Raises:
        DataError: It can't be written, such as on a full disk, or another process is writing it;
            what was there before is as it was.
    """
    target = path.resolve() if path.is_symlink() else path
    partial = target.with_name(f".{target.name}.part")
    try:
        if target.is_dir():
            raise DataError(path, "is a folder; give the name of a file")
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(partial, path) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(target)
            finally:
                # Still locked: the name can't be another process's file.
                partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except OSError as error:
        if error.filename not in (None, str(partial), str(target), str(target.parent)):
            raise  # of a file that the block reads
        raise DataError(path, _reason(error)) from error


def check_replaceable(path: Path, kind: OutputKind) -> None:
    """Refuse to replace a file that facekit did not write, such as one of labels made by hand.

    It tells by how the writers begin a file, to the byte, and of Parquet by the metadata: one that
    another tool has saved anew is no more the kit's. A file that is empty or missing, a device and
    a pipe may be written to.

    Args:
        path: The output.
        kind: What will be written there; the kit's file of another kind is not replaced either.

    Raises:
        DataError: The file is another's, or can't be read.
    """
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return
        with path.open("rb") as file:
            if kind == "parquet":
                ours = _is_our_parquet(file)
            else:
                ours = _BEGINNINGS[kind].match(file.read(_MOST_BEGINNING)) is not None
    except OSError as error:
        reason = f"is there already and cannot be read: {error.strerror or error}"
        raise DataError(path, reason) from error
    if not ours:
        raise DataError(
            path,
            "is there already and was not written by facekit: give another name, or remove it",
        )


def _is_our_parquet(file: BinaryIO) -> bool:
    """Look for the metadata in the footer, whose length stands before the last four bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read()
    length = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or length > size - 8:
        return False
    file.seek(size - 8 - length)
    footer = file.read(length)
    return b"facekit.description" in footer and DESCRIPTION.encode() in footer


@contextmanager
def scratch_file(path: Path) -> Iterator[BinaryIO]:
    """Open a nameless file for a part of ``path`` that has to wait; on the same disk."""
    beside = path.is_file() or not path.exists()
    with tempfile.TemporaryFile(dir=path.resolve().parent if beside else None) as file:
        yield file


def _reason(error: OSError) -> str:
    remedy = "free some space and run the same command again; " if error.errno in _FULL else ""
    return (
        f"cannot be written: {error.strerror or error}; {remedy}what was there before is as it was"
    )


@contextmanager
def _locked(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """Open the hidden file for this process alone, and empty it."""
    while True:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # Unbuffered would be a system call an entry; the buffer is flushed by who syncs it.
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(path, "another process is writing it; wait for its end") from None
            # Its last holder may have renamed or removed the file before it was locked here.
            if not (partial.exists() and os.path.samestat(os.fstat(handle), partial.stat())):
                continue
            os.ftruncate(handle, 0)
            yield file
            return


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)
