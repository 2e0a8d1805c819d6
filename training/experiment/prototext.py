"""Protobuf text, read without a schema: blocks of fields, each with the line it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from facekit.errors import DataError

MOST_LEVELS = 50
"""Blocks within blocks; a text with more is damaged."""
_ESCAPED = r"""\\[abfnrtvx0-7\\'"]"""
_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\f\v]+|\#.*) | (?P<newline>\n)
    | (?P<word>[A-Za-z_][\w+-]*) | (?P<number>[0-9+-][\w.+-]*)"""
    rf"""| (?P<text>"(?:[^"\\\n]|{_ESCAPED})*" | '(?:[^'\\\n]|{_ESCAPED})*') | (?P<mark>.)""",
    re.VERBOSE | re.ASCII,
)
_WORDS = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True)
class Word:
    """A bare word, such as the name ``NMS`` of an enumeration's value."""

    text: str


class Value(NamedTuple):
    """A field's value, and its line from 1."""

    line: int
    value: str | int | float | bool | Word | Block


@dataclass
class Block:
    """The fields between two braces, or those of a whole file, from ``line`` on.

    Attributes:
        fields: The values of each field in the order of the text.
        lines: The line where each field is first named, also where no value follows.
        name: Name of the block with those around it, as ``model_config.objective_set``; whoever
            knows the schema sets it.
    """

    path: Path
    line: int
    fields: dict[str, list[Value]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    name: str = ""

    def dotted(self, name: str) -> str:
        """Return the whole name of a field."""
        return f"{self.name}.{name}" if self.name else name


def parse(path: Path, text: str) -> tuple[Block, DataError | None]:
    """Return the fields of a file's text; where it is damaged, those before, and the error."""
    root = Block(path, 1)
    try:
        _Parser(path, text).block("the file", root, "", 0)
    except DataError as error:
        return root, error
    return root, None


class _Parser:
    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.tokens = _tokens(text)
        self.line, self.kind, self.text = next(self.tokens)

    def fail(self, reason: str) -> NoReturn:
        found = repr(self.text) if self.text else "the end of the file"
        if self.text in ("'", '"'):
            found += ", which no quote closes in its line, or with an unknown escape behind it"
        raise DataError(self.path, f"{reason}, not {found}", self.line)

    def next(self) -> str:
        """Return the present token's text and go to the next one."""
        text = self.text
        self.line, self.kind, self.text = next(self.tokens)
        return text

    def skip(self, *marks: str) -> bool:
        """Step over one of these marks, if it comes next."""
        return self.kind == "mark" and self.text in marks and bool(self.next())

    def block(self, name: str, block: Block, end: str, level: int) -> Block:
        """Read fields up to ``end``; an empty one is the end of the file."""
        while not (self.skip(end) if end else self.kind == "end"):
            if self.kind == "end":
                raise DataError(self.path, f"{name} is not closed: {end!r} is missing", self.line)
            if self.kind != "word":
                self.fail("expected the name of a field")
            block.lines.setdefault(self.text, self.line)
            field = self.next()
            if not self.skip(":") and self.text not in ("{", "<"):
                self.fail(f"expected ':' after {field}")
            values = block.fields.setdefault(field, [])
            if self.skip("["):
                while not self.skip("]"):
                    self.value(field, values, level)
                    if not self.skip(",") and self.text != "]":
                        self.fail("expected ',' or ']'")
            else:
                self.value(field, values, level)
            self.skip(",", ";")
        return block

    def value(self, name: str, values: list[Value], level: int) -> None:
        """Add a text, a number, a word or a block."""
        line, kind, text = self.line, self.kind, self.text
        if self.skip("{", "<"):
            if level == MOST_LEVELS:
                raise DataError(self.path, f"has more than {MOST_LEVELS} blocks in blocks", line)
            block = Block(self.path, line)
            values.append(Value(line, block))
            self.block(name, block, "}" if text == "{" else ">", level + 1)
            return
        if kind == "text":
            found = ""
            while self.kind == "text":  # neighboring strings are one
                found += self.next()[1:-1]
            try:
                # Escapes are those of bytes, which are UTF-8.
                found = found.encode().decode("unicode_escape").encode("latin-1").decode()
            except UnicodeError as error:
                raise DataError(self.path, f"{name} is not UTF-8: {error}", line) from error
            values.append(Value(line, found))
            return
        number = _number(text) if kind in ("word", "number") else None
        if kind not in ("word", "number") or (kind == "number" and number is None):
            self.fail(f"expected a value of {name}")
        self.next()
        values.append(Value(line, _WORDS.get(text, Word(text)) if number is None else number))


def _tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind and text of each token, and then the end without end."""
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup not in ("skip", "newline"):
            yield line, str(match.lastgroup), match[0]
        line += match.lastgroup == "newline"
    while True:
        yield line, "end", ""


def _number(text: str) -> int | float | None:
    """Return a number, None where the text is not one; a float may end in ``f``."""
    if "_" in text:
        return None
    try:
        return int(text, 8 if re.fullmatch(r"[+-]?0[0-7]+", text) else 0)
    except ValueError:
        pass
    try:
        return float(re.sub(r"(?<=[0-9.])[fF]$", "", text))
    except ValueError:
        return None
