"""Text output: lines that are safe on a terminal, counts and tables."""

import re
import sys
from collections.abc import Sequence
from typing import TextIO

_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
# A name or a server's text must not move the cursor, change colors or reverse the direction of text
# on a terminal: all control characters but tab and line feed, and Unicode's for the direction.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def show(text: str, stream: TextIO | None = None) -> None:
    """Print a text and a line end, with escapes for control characters and unencodable ones.

    A file's name may contain any bytes, and a terminal may support only ASCII.
    """
    out: TextIO | None = sys.stdout if stream is None else stream
    if out is None:  # the stream was closed before Python started
        return
    encoding = out.encoding or "utf-8"
    out.write(_escape(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
    out.flush()


def one_line(text: str) -> str:
    """Return a text in one line: line ends and tabs become spaces, other controls escapes."""
    return _escape(_BREAKS.sub(" ", text))


def count(number: int, noun: str) -> str:
    """Return a number of things.

    >>> count(1, "photo"), count(2000, "photo")
    ('1 photo', '2,000 photos')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def byte_count(number: float) -> str:
    """Return a number of bytes.

    >>> byte_count(999), byte_count(5_510_000), byte_count(2_300_000_000)
    ('999 B', '5.5 MB', '2.3 GB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def table(
    rows: Sequence[Sequence[str]], align: str, *, header: bool = True, indent: str = ""
) -> str:
    """Return rows as lines of padded columns, two spaces apart.

    Args:
        rows: The cells; all rows have the same number. Those of a header may have several lines.
        align: A letter for each column, ``l`` for left or ``r`` for right.
        header: Whether the first row is a header, which is followed by a rule of its width.
        indent: Prefix of each line.

    >>> print(table([("photo", "faces"), ("a.jpg", "2"), ("beach.jpg", "12")], "lr"))
    photo      faces
    ----------------
    a.jpg          2
    beach.jpg     12
    """
    body = [list(row) for row in rows]
    height = 0
    if header:
        cells = [cell.split("\n") for cell in body[0]]
        height = max(map(len, cells))
        padded = [[""] * (height - len(lines)) + lines for lines in cells]
        body[:1] = map(list, zip(*padded, strict=True))
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    lines = []
    for row in body:
        cells_and_places = zip(row, widths, align, strict=True)
        texts = (c.rjust(w) if place == "r" else c.ljust(w) for c, w, place in cells_and_places)
        lines.append(f"{indent}{'  '.join(texts)}".rstrip())
    if header:
        lines.insert(height, indent + "-" * (max(map(len, lines[:height])) - len(indent)))
    return "\n".join(lines)


def _escape(text: str) -> str:
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
