"""The journal of a run: what was found in each photo, appended as it is found, never lost.

The first line tells which journal it is, each other line holds one record, and each ends with a
tab and its checksum. A line that a killed process left half written is known by it and dropped.
The last record of a photo counts.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facekit.annotations.journal_lines import (
    BUFFER_BYTES,
    body_of,
    cannot_write,
    end_of_whole_lines,
    to_line,
    whole_lines,
)
from facekit.annotations.output import whole_file
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.closing import Closing
from facekit.errors import ConfigError, DataError, InputError

GONE = "the file is gone"
"""Error of the record that is appended for a photo that the folder no longer holds."""


@dataclass(frozen=True)
class JournalHeader:
    """What the first line of a journal says.

    Attributes:
        id: Hexadecimal, a new one for each file that is written: an offset into a journal of
            another id means nothing.
        model: The model whose results it holds.
    """

    id: str
    model: str


@dataclass(frozen=True)
class RecordHead:
    """A record of the journal without its faces, and where it stands.

    Attributes:
        photo: Path under the photo folder, with ``/`` between its parts.
        stamp: Which state of the file the record is about.
        failed: Whether it is an error.
        lasting: Whether that error is the photo's own.
        gone: Whether the folder no longer holds the photo.
        start: Offset of its line in bytes.
        end: Offset just after its line.
    """

    photo: str
    stamp: FileStamp
    failed: bool
    lasting: bool
    gone: bool
    start: int
    end: int


class Journal(Closing):
    """A journal that is open for appending; one process at a time may have it open.

    A half line that a killed run left at its end is cut off.

    Args:
        path: Made where it is missing.
        model: The model whose results it holds.

    Raises:
        ConfigError: It holds the results of another model.
        DataError: It can't be written to, or is no journal.
    """

    def __init__(self, path: Path, *, model: str) -> None:
        self.path = path
        try:
            self._end = self._prepare(model)
            self._file = path.open("r+b", buffering=0)
            self._file.truncate(self._end)
            self._file.seek(self._end)
        except OSError as error:
            raise cannot_write(path, error) from error
        self.id = read_header(path).id

    def _prepare(self, model: str) -> int:
        """Return where the last whole line ends, of a file that is made where there is none."""
        if self.path.exists() and self.path.stat().st_size:
            found = read_header(self.path).model
            if found != model:
                raise ConfigError(
                    f"{self.path} holds the results of the model {found}, not of {model}: give "
                    f"another output file, or remove the journal to begin again with {model}"
                )
            return end_of_whole_lines(self.path)
        with whole_file(self.path) as file:
            return file.write(_header_line(model))

    def append(self, record: PhotoRecord) -> int:
        """Hand one record to the operating system, and return the offset after its line.

        From then on it outlives this process; :meth:`flush` makes it outlive the machine.

        Raises:
            DataError: The disk is full or broken. The journal holds what it held before.
        """
        line = to_line(record.to_json().encode())
        try:
            written = 0
            while written < len(line):  # a disk that is nearly full takes a part
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
                self._file.seek(self._end)
            raise cannot_write(self.path, error) from error
        self._end += len(line)
        return self._end

    @property
    def end(self) -> int:
        """The offset after the last line."""
        return self._end

    def flush(self) -> None:
        """Wait until all that was appended is on the disk.

        Raises:
            DataError: The disk is full or broken.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RecordReader(Closing):
    """Reads records from where their heads say that they are.

    Args:
        path: A journal.

    Raises:
        DataError: It can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise DataError(path, error.strerror or str(error)) from error

    def read(self, start: int, end: int) -> PhotoRecord:
        """Return the record whose line lies between two offsets.

        Raises:
            DataError: There is none, or it can't be read.
        """
        try:
            self._file.seek(start)
            line = self._file.read(end - start)
        except OSError as error:
            raise DataError(self._path, error.strerror or str(error)) from error
        body = body_of(line)
        if body is None:
            raise DataError(self._path, f"has changed at byte {start:,} while it was read")
        return PhotoRecord.from_json(body)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_header(path: Path) -> JournalHeader:
    """Return what the first line says.

    Raises:
        DataError: The file can't be read, or is no journal.
    """
    try:
        with path.open("rb") as file:
            body = body_of(file.readline(BUFFER_BYTES))
    except OSError as error:
        raise DataError(path, error.strerror or str(error)) from error
    try:
        data = json.loads(body or b"")
        if data["facekit_journal"] == 1:
            return JournalHeader(data["id"], data["model"])
    except (ValueError, KeyError, TypeError):
        pass
    what = "is no journal of facekit annotate, or one of another version"
    raise DataError(path, f"{what}: give another output file, or remove it to begin again")


def read_journal(path: Path, start: int = 0) -> Iterator[tuple[PhotoRecord, int]]:
    """Yield the records whose lines are whole, in the order in which they were appended.

    Args:
        path: A journal; another process may be appending to it.
        start: 0, or an offset that an earlier call gave for this journal.

    Yields:
        A record, and the offset just after its line.

    Raises:
        DataError: The file can't be read, or is no journal.
    """
    read_header(path)
    for body, _, end in whole_lines(path, start):
        with suppress(InputError):  # the header
            yield PhotoRecord.from_json(body), end


def read_heads(path: Path) -> Iterator[RecordHead]:
    """Yield what is needed to find a record again, of all records, at a tenth of the cost.

    Raises:
        DataError: The file can't be read, or is no journal.
    """
    read_header(path)
    for body, start, end in whole_lines(path, 0):
        # A quotation mark inside a text stands behind a backslash: this is found nowhere else.
        cut = body.find(b',"size_wh":')
        try:
            data = json.loads(body if cut < 0 else body[:cut] + b"}")
            stamp = FileStamp(data["size"], data["mtime_ns"], data.get("sha256", ""))
            error, lasting = data.get("error", ""), data.get("lasting", True)
            gone = error == GONE and not lasting
            yield RecordHead(data["photo"], stamp, bool(error), lasting, gone, start, end)
        except (ValueError, KeyError, TypeError):  # the header
            continue


def rewrite_journal(path: Path, spans: Iterable[tuple[int, int]]) -> None:
    """Keep only some lines of a journal, which gets a new id; all or nothing is done.

    Args:
        path: A journal that nobody has open for appending.
        spans: Offsets before and after each line that is kept, in their new order.

    Raises:
        DataError: It can't be read or written.
    """
    model = read_header(path).model
    try:
        with path.open("rb") as old, whole_file(path) as new:
            new.write(_header_line(model))
            for start, end in spans:
                old.seek(start)
                new.write(old.read(end - start))
    except OSError as error:
        raise cannot_write(path, error) from error


def _header_line(model: str) -> bytes:
    head = {"facekit_journal": 1, "id": uuid.uuid4().hex, "model": model}
    return to_line(json.dumps(head).encode())
