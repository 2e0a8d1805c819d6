"""Lines that carry a checksum, by which a half written one is known."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from facekit.errors import DataError

_CHECKSUM_BYTES = 10
"""A tab, eight hexadecimal digits and the line end."""
BUFFER_BYTES = 1 << 20


def to_line(body: bytes) -> bytes:
    """Return a body with its checksum and a line end."""
    return b"%b\t%08x\n" % (body, zlib.crc32(body))


def body_of(line: bytes) -> bytes | None:
    """Return a line without its checksum, or None where it does not fit."""
    body = line[:-_CHECKSUM_BYTES]
    return body if body and line == to_line(body) else None


def whole_lines(path: Path, start: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the body of each line whose checksum fits, and the offsets before and after it."""
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            file.seek(start)
            end = start
            for line in file:
                if not line.endswith(b"\n"):
                    return  # another process is writing it: whoever goes on from here sees it whole
                before, end = end, end + len(line)
                # One that does not fit in the middle of the file is the disk's doing: the photo
                # is looked at again, and nothing else is lost.
                if (body := body_of(line)) is not None:
                    yield body, before, end
    except OSError as error:
        raise DataError(path, error.strerror or str(error)) from error


def end_of_whole_lines(path: Path) -> int:
    """Return where the last whole line of a journal ends, read from its end."""
    size = path.stat().st_size
    window = BUFFER_BYTES
    with path.open("rb") as file:
        while True:
            start = file.seek(max(0, size - window))
            ends, lines = start, []
            for line in file.read().splitlines(keepends=True):
                ends += len(line)
                lines.append((line, ends))
            for line, end in reversed(lines):
                if body_of(line) is not None:
                    return end
            if start == 0:
                return 0
            window *= 8


def cannot_write(path: Path, error: OSError) -> DataError:
    """Return the error that says that nothing is lost, and what to do."""
    return DataError(
        path,
        f"cannot be written: {error.strerror or error}. When that is mended, the same command "
        "goes on where it stopped",
    )
