"""The structure of a spec: every field's line, checked against the schema.

``google.protobuf.text_format`` reads the values but keeps no lines, and it does not say what a
misspelled field was meant to be. So the text is walked along the schema first, with the tokenizer
of that module.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from facekit.errors import DataError


@dataclass
class Place:
    """Where a value stands: its line, the key of a map's entry, and what lies within a group."""

    line: int
    key: str | None = None
    fields: dict[str, list[Place]] = field(default_factory=dict)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for a misspelled name, or what there is.

    >>> nearest("zoom_mim", ["zoom_min", "zoom_max"])
    "; did you mean 'zoom_min'?"
    >>> nearest("speed", ["zoom_min", "zoom_max"])
    '; known are zoom_max, zoom_min'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names)}"


class Walk:
    """Reads the structure of a spec: every field's line, and no values but the keys of maps."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.tokens = text_format.Tokenizer(text.split("\n"))
        self.without_effect: dict[str, list[int]] = {}

    def line(self) -> int:
        """Return the line of the present token, from 1."""
        return int(self.tokens.ParseError("").GetLine())

    def fields(self, descriptor: Any, end: str, within: str, known: bool = True) -> dict[str, Any]:
        """Read fields up to ``end``; ``known`` is false inside a group without effect."""
        places: dict[str, list[Place]] = {}
        tokens = self.tokens
        while not (tokens.TryConsume(end) if end else tokens.AtEnd()):
            line = self.line()
            if end and tokens.AtEnd():
                raise DataError(self.path, f"{within} is not closed: {end!r} is missing", line)
            name = tokens.ConsumeIdentifier()
            declared = descriptor.fields_by_name.get(name)
            if declared is None:
                where = f" of {within}" if within else ""
                hint = nearest(name, descriptor.fields_by_name)
                raise DataError(self.path, f"unknown field {name!r}{where}{hint}", line)
            dotted = f"{within}.{name}" if within else name
            honored = known and not declared.GetOptions().deprecated
            if known and not honored:
                self.without_effect.setdefault(dotted, []).append(line)
            for place in self.values(declared, dotted, honored):
                places.setdefault(name, []).append(place)
            if not tokens.TryConsume(","):
                tokens.TryConsume(";")
        return places

    def values(self, declared: Any, dotted: str, known: bool) -> list[Place]:
        """Read what stands behind a field's name: one value, or a list of them."""
        tokens = self.tokens
        if not tokens.TryConsume(":") and declared.message_type is None:
            raise tokens.ParseError("Expected ':'.")
        if not tokens.TryConsume("["):
            return [self.value(declared, dotted, known)]
        places: list[Place] = []
        while not tokens.TryConsume("]"):
            places.append(self.value(declared, dotted, known))
            if not tokens.TryConsume(",") and not tokens.LookingAt("]"):
                raise tokens.ParseError("Expected ',' or ']'.")
        return places

    def value(self, declared: Any, dotted: str, known: bool) -> Place:
        """Read a scalar or a group."""
        tokens, place = self.tokens, Place(self.line())
        group, enum = declared.message_type, declared.enum_type
        if enum is not None and tokens.token.isidentifier():
            if tokens.token not in enum.values_by_name:
                hint = nearest(tokens.token, enum.values_by_name)
                raise DataError(
                    self.path, f"{dotted} has no value {tokens.token}{hint}", place.line
                )
        if group is None:
            tokens.TryConsume("-")
            # Neighboring strings are one string.
            while tokens.token[:1] in "'\"" and tokens.token:
                place.key = (place.key or "") + tokens.ConsumeString()
            if place.key is None:
                tokens.NextToken()
            return place
        end = ">" if tokens.TryConsume("<") else "}"
        if end == "}":
            tokens.Consume("{")
        place.fields = self.fields(group, end, dotted, known)
        if group.GetOptions().map_entry and "key" in place.fields:
            place.key = place.fields["key"][0].key
        return place
