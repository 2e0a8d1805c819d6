"""Spec files as protobuf text: their values, checked, and the line where each stands."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from facekit.errors import DataError
from training.experiment.schema import message_type
from training.experiment.walk import Place, Walk, nearest

LOGGER = logging.getLogger("training")
Range = tuple[float, float]
"""Least and largest value of a field."""


class Section:
    """One group of a spec: its values, checked, and its place in the file."""

    def __init__(self, path: Path, name: str, message: Any, place: Place) -> None:
        """Pair a message with the place that it was read from."""
        self.path, self.name, self.message, self._place = path, name, message, place

    @property
    def line(self) -> int:
        """Line where the group begins, from 1."""
        return self._place.line

    def has(self, name: str) -> bool:
        """Return whether the spec sets a field."""
        return name in self._place.fields

    def error(self, name: str, reason: str, index: int = 0) -> DataError:
        """Return an error at a field, or at the group where the field is not set."""
        return DataError(self.path, f"{self._dotted(name)} {reason}", self.line_of(name, index))

    def line_of(self, name: str, index: int = 0) -> int:
        """Return the line of a field, or of the group where the field is not set."""
        places = self._place.fields.get(name)
        return places[index].line if places else self.line

    def require(self, *names: str) -> None:
        """Check that fields are set.

        Raises:
            DataError: One is not.
        """
        for name in names:
            if not self.has(name):
                raise self.error(name, "is missing")

    def section(self, name: str) -> Section:
        """Return a group within this one; an empty one where the spec has none."""
        places = self._place.fields.get(name)
        place = places[0] if places else Place(self.line)
        return Section(self.path, self._dotted(name), getattr(self.message, name), place)

    def sections(self, name: str) -> list[Section]:
        """Return the groups of a repeated field, in their order."""
        places = self._place.fields.get(name, [])
        return [
            Section(self.path, self._dotted(name), message, place)
            for message, place in zip(getattr(self.message, name), places, strict=True)
        ]

    def entries(self, name: str) -> dict[str, Section]:
        """Return a map's groups by their key, in the order of the text.

        Raises:
            DataError: A key stands twice.
        """
        values = getattr(self.message, name)
        return {
            key: Section(
                self.path,
                f"{self._dotted(name)}[{key}]",
                values[key],
                place.fields["value"][0] if "value" in place.fields else place,
            )
            for key, place in self._keys(name)
        }

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a map's values by their key, in the order of the text.

        Raises:
            DataError: A key stands twice.
        """
        values = getattr(self.message, name)
        return {key: values[key] for key, _ in self._keys(name)}

    def value_line(self, name: str, key: str) -> int:
        """Return the line of the value in a map's entry."""
        return next(_line(place, "value") for at, place in self._keys(name) if at == key)

    def given(self, ranges: Mapping[str, Range]) -> dict[str, Any]:
        """Return the numbers that the spec sets, by name.

        Args:
            ranges: Least and largest value by field name.

        Raises:
            DataError: A number is out of range, or not finite.
        """
        found = {}
        for name, (low, high) in ranges.items():
            if self.has(name):
                value = getattr(self.message, name)
                if not (low <= value <= high) or math.isinf(value):
                    raise self.error(name, f"is {value:g}; {bounds(low, high)}")
                found[name] = value
        return found

    def only(self, name: str, *values: Any) -> None:
        """Check a field that the kit can do in certain ways alone.

        Raises:
            DataError: The spec asks for another.
        """
        if self.has(name) and getattr(self.message, name) not in values:
            asked = getattr(self.message, name)
            shown = " or ".join(_text(value) for value in values)
            raise self.error(name, f"is {_text(asked)}; only {shown} can be done here")

    def choice(self, name: str) -> str | None:
        """Return the name of an enumeration's value, None where it is not set."""
        if not self.has(name):
            return None
        enum: FieldDescriptor = self.message.DESCRIPTOR.fields_by_name[name]
        return str(enum.enum_type.values_by_number[getattr(self.message, name)].name)

    def check_keys(self, name: str, classes: Sequence[str]) -> None:
        """Check that a map's keys are classes, or ``default``.

        Raises:
            DataError: One is neither.
        """
        for key, place in self._keys(name):
            if key not in classes and key != "default":
                reason = f"{self._dotted(name)} names class {key!r}{nearest(key, classes)}"
                raise DataError(self.path, reason, _line(place, "key"))

    def _dotted(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name

    def _keys(self, name: str) -> list[tuple[str, Place]]:
        seen: dict[str, Place] = {}
        for place in self._place.fields.get(name, []):
            key = place.key or ""
            if key in seen:
                before = _line(seen[key], "key")
                reason = f"{self._dotted(name)} has {key!r} already in line {before}"
                raise DataError(self.path, reason, _line(place, "key"))
            seen[key] = place
        return list(seen.items())


def _line(entry: Place, part: str) -> int:
    """Return the line of a map entry's key or value, or of the entry where it has none."""
    return entry.fields[part][0].line if part in entry.fields else entry.line


def bounds(low: float, high: float) -> str:
    """Return a range in words."""
    if low == high:
        return f"only {low:g} can be done here"
    return f"it must be between {low:g} and {high:g}" if high < math.inf else f"at least {low:g}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def read_text(path: Path) -> str:
    """Return a spec's text, without the mark that some editors begin a file with.

    Raises:
        DataError: The file can't be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(path, f"cannot be read: {error}") from error


def read_sections(path: Path, kind: str) -> Section:
    """Read a spec file.

    Every field that is known but has no effect here is named in a warning, once, with its lines.

    Args:
        path: The spec.
        kind: The schema's message: ``Experiment``, ``Inference`` or ``DatasetExportConfig``.

    Raises:
        DataError: The file can't be read, is no protobuf text, or has an unknown field or a value
            of the wrong kind; names the line.
    """
    text = read_text(path)
    message = message_type(kind)()
    walk = Walk(path, text)
    try:
        places = walk.fields(message.DESCRIPTOR, "", "")
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        # The message repeats the position, and may quote the line.
        reason = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error))
        raise DataError(path, reason, error.GetLine()) from error
    for name, lines in walk.without_effect.items():
        where = ", ".join(str(line) for line in sorted(set(lines))[1:])
        also = f" (also line {where})" if where else ""
        LOGGER.warning("%s:%d: %s has no effect here%s", path, min(lines), name, also)
    return Section(path, "", message, Place(1, fields=places))
