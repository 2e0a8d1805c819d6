"""Groups of a spec as pydantic models: what is wrong in one is named with its line."""

import difflib
import logging
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    ValidationError,
    model_validator,
)

from facekit.errors import DataError, reading
from training.experiment.prototext import Block, Value, Word, parse

LOGGER = logging.getLogger("training")
GroupT = TypeVar("GroupT", bound="Group")
_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "model_type": "a group in braces",
}
"""Kind of value that a field takes, by pydantic's name of the error."""


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


def ignored(names: str = "", **groups: str) -> dict[str, frozenset[str]]:
    """Return fields that are known but have no effect here, for ``Group.without_effect``.

    Names have spaces between them; ``groups`` are groups, and the fields that they may have.
    """
    fields = dict.fromkeys(names.split(), frozenset[str]())
    return fields | {name: frozenset(inner.split()) for name, inner in groups.items()}


class Group(BaseModel):
    """A group of a spec: its fields with their defaults and bounds, read from a ``Block``.

    Attributes:
        without_effect: Fields that are known but have no effect here, and what a group of them
            may hold; a spec that sets one gets a warning.
        exclusive: Fields of which a spec has at most one (protobuf's ``oneof``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    without_effect: ClassVar[Mapping[str, frozenset[str]]] = {}
    exclusive: ClassVar[tuple[str, ...]] = ()
    _block: Block = PrivateAttr(default_factory=lambda: Block(Path(), 1))

    def check(self) -> None:
        """Raise DataError if the fields do not fit together."""

    @property
    def path(self) -> Path:
        """The file."""
        return self._block.path

    def has(self, name: str) -> bool:
        """Return whether the spec sets a field."""
        return name in self._block.fields

    def line_of(self, name: str, key: int | str = 0) -> int:
        """Return the line of a field, or of the group where the field is not set.

        ``key`` says which value of a list, or of a map.
        """
        return _value(self._block, name, key).line

    def error(self, name: str, reason: str, key: int | str = 0) -> DataError:
        """Return an error at a field, or at the group where the field is not set."""
        return _error(self._block, name, reason, key)

    def check_keys(self, name: str, classes: Collection[str]) -> None:
        """Raise DataError if a map's key is neither a class nor ``default``."""
        for key in getattr(self, name):
            if key not in classes and key != "default":
                reason = f"{self._block.dotted(name)} names class {key!r}{nearest(key, classes)}"
                line = _value(self._block, name, key, "key").line
                raise DataError(self.path, reason, line)

    @model_validator(mode="wrap")
    @classmethod
    def _bind(cls, data: Any, handler: ModelWrapValidatorHandler[GroupT]) -> GroupT:
        if not isinstance(data, Block):
            return handler(data)
        values = cls._values(data)
        try:
            group = handler(values)
        except ValidationError as error:
            found = [_found(data, detail) for detail in error.errors()]
            raise min(found, key=_line) from None
        group._block = data
        group.check()
        return group

    @classmethod
    def _fields(cls) -> dict[str, Any]:
        """Return the types of the fields that have an effect, by their names in a spec."""
        return {field.alias or name: field.annotation for name, field in cls.model_fields.items()}

    @classmethod
    def _values(cls, block: Block) -> dict[str, Any]:
        """Return a block's values as pydantic takes them for this group's fields."""
        values: dict[str, Any] = {}
        for name, kind in cls._fields().items():
            found = block.fields.get(name)
            if found and get_origin(kind) is tuple:
                values[name] = [value.value for value in found]
            elif found:
                values[name] = _entries(block, name) if _is_map(kind) else _single(block, name)
        both = [name for name in block.fields if name in cls.exclusive]
        if len(both) > 1:
            raise _error(block, both[1], f"is set beside {both[0]}: only one of them can be")
        return values

    @classmethod
    def _survey(cls, block: Block, unknown: list[DataError], warned: dict[str, list[int]]) -> None:
        """Name the blocks in a block, whose name is set, and look at the names of all fields.

        ``unknown`` takes an error for every unknown field, ``warned`` the lines of those without
        effect.
        """
        fields = cls._fields()
        _check_names(block, fields.keys() | cls.without_effect.keys(), unknown)
        for name, found in block.fields.items():
            dotted, kind = block.dotted(name), fields.get(name)
            if name in cls.without_effect:
                # By one name, whichever entry of a map it stands in.
                lines = warned.setdefault(re.sub(r"\[[^\]]*\]", "", dotted), [])
                lines.extend(value.line for value in found)
            for inner in (value.value for value in found if isinstance(value.value, Block)):
                inner.name = dotted
                if cls.without_effect.get(name):
                    _check_names(inner, cls.without_effect[name], unknown)
                elif _is_map(kind):
                    _check_names(inner, ("key", "value"), unknown)
                    key = (inner.fields.get("key") or [Value(0, "")])[0].value
                    if "value" not in inner.lines and _group_of(kind):
                        inner.fields["value"] = [Value(inner.line, Block(inner.path, inner.line))]
                    for value in inner.fields.get("value", []):
                        if isinstance(value.value, Block) and (group := _group_of(kind)):
                            value.value.name = f"{dotted}[{key}]"
                            group._survey(value.value, unknown, warned)
                elif group := _group_of(kind):
                    group._survey(inner, unknown, warned)


def _is_map(kind: Any) -> bool:
    return get_origin(kind) is dict


def _group_of(kind: Any) -> type[Group] | None:
    """Return the group that a field's type is, or is a list or a map of; None for scalars."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, Group):
            return part
    return None


def _check_names(block: Block, known: Collection[str], unknown: list[DataError]) -> None:
    for name in block.lines.keys() - known:
        where = f" of {block.name}" if block.name else ""
        reason = f"unknown field {name!r}{where}{nearest(name, known)}"
        unknown.append(DataError(block.path, reason, block.lines[name]))


def _single(block: Block, name: str) -> Any:
    if len(block.fields[name]) > 1:
        raise _error(block, name, "is set a second time", 1)
    return block.fields[name][0].value


def _entries(block: Block, name: str) -> dict[str, Any]:
    """Return a map's values by key; each entry is a block of ``key`` and ``value``."""
    entries: dict[str, Any] = {}
    for number, entry in enumerate(block.fields[name]):
        if not isinstance(entry.value, Block) or "value" not in entry.value.fields:
            reason = f"is {_shown(entry.value)}; expected a group of key and value"
            raise _error(block, name, reason, number)
        key = _single(entry.value, "key") if "key" in entry.value.fields else ""
        if not isinstance(key, str) or key in entries:
            reason = f"has the key {_shown(key)}; expected a text in quotes"
            if isinstance(key, str):
                reason = f"has {key!r} already in line {_value(block, name, key, 'key').line}"
            line = entry.value.fields["key"][0].line
            raise DataError(block.path, f"{block.dotted(name)} {reason}", line)
        entries[key] = _single(entry.value, "value")
    return entries


def _value(block: Block, name: str, key: int | str = 0, part: str = "value") -> Value:
    """Return a field's value with its line; the block with its own where the field is not set.

    ``key`` says which value of a list, or of a map; ``part`` is the ``key`` or the ``value`` of a
    map's entry, which is returned where it has no such part.
    """
    found = block.fields.get(name)
    if not found:
        return Value(block.line, block)
    if isinstance(key, int):
        return found[key]
    for entry in found:
        fields = entry.value.fields if isinstance(entry.value, Block) else {}
        if fields.get("key", [Value(0, "")])[0].value == key:
            return fields[part][0] if part in fields else entry
    raise KeyError(key)


def _error(block: Block, name: str, reason: str, key: int | str = 0) -> DataError:
    shown = block.dotted(name) + (f"[{key}]" if isinstance(key, str) else "")
    return DataError(block.path, f"{shown} {reason}", _value(block, name, key).line)


def _found(block: Block, detail: Any) -> DataError:
    """Return one of pydantic's errors as one of this kit's."""
    name, key = (*detail["loc"], 0)[:2]
    kind, context = detail["type"], detail.get("ctx", {})
    shown = _shown(_value(block, name, key).value)
    reason = f"is {shown}; expected {_EXPECTED.get(kind, kind)}"
    if kind == "missing":
        reason = "is missing"
    elif kind == "value_error":
        reason = str(context["error"])
    elif kind == "literal_error":
        expected = context["expected"].replace("True", "true").replace("False", "false")
        reason = f"is {shown}; only {expected} can be done here"
    return _error(block, name, reason, key)


def _shown(value: Any) -> str:
    if isinstance(value, Block):
        return "a group"
    if isinstance(value, Word):
        return value.text
    return str(value).lower() if isinstance(value, bool) else repr(value)


def read_group(path: Path, kind: type[GroupT]) -> tuple[GroupT, str]:
    """Read a spec file, and return the spec and its text.

    Every field that is known but has no effect here is named in a warning, once, with its lines.
    An editor's mark before the text is passed over. A DataError names the line of a field that is
    unknown, missing, of the wrong kind or out of range, or says why the file can't be read.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8-sig")
    block, damage = parse(path, text)
    errors: list[DataError] = []
    warned: dict[str, list[int]] = {}
    kind._survey(block, errors, warned)
    # Where a brace is missing, what follows stands in a group that it is not a field of.
    errors += [damage] if damage else []
    if errors:
        raise min(errors, key=_line)
    for name, lines in sorted(warned.items(), key=lambda item: min(item[1])):
        where = ", ".join(str(line) for line in sorted(set(lines))[1:])
        also = f" (also line {where})" if where else ""
        LOGGER.warning("%s:%d: %s has no effect here%s", path, min(lines), name, also)
    return kind.model_validate(block), text


def _line(error: DataError) -> int:
    return error.line or 0


def must(test: Callable[[Any], bool], reason: str) -> AfterValidator:
    """Return the check that a number passes a test; the error names it before the reason."""

    def check(value: Any) -> Any:
        if not test(value):
            raise ValueError(f"is {value:g}; {reason}")
        return value

    return AfterValidator(check)


def within(low: float, high: float = math.inf) -> AfterValidator:
    """Return the check that a number lies in a range and is finite."""
    bound = f"between {low:g} and {high:g}" if high < math.inf else f"at least {low:g}"
    return must(lambda value: low <= value <= high and not math.isinf(value), f"it must be {bound}")


def choice(*names: str) -> BeforeValidator:
    """Return what reads an enumeration's value, by its name or its number from 0."""

    def check(value: Any) -> Any:
        if type(value) is int and 0 <= value < len(names):
            return names[value]
        text = value.text if isinstance(value, Word) else value
        if text not in names:
            raise ValueError(f"has no value {_shown(value)}{nearest(str(text), names)}")
        return text

    return BeforeValidator(check)


def _flag(value: Any) -> Any:
    """Return protobuf's short ways to write true and false as those."""
    if isinstance(value, Word):
        return {"t": True, "f": False}.get(value.text, value)
    return bool(value) if type(value) is int and value in (0, 1) else value


SHORT_FLAG = BeforeValidator(_flag)
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict(), SHORT_FLAG]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Count = Annotated[Whole, within(0, 2**32 - 1)]
Share = Annotated[Number, within(0, 1)]
Positive = Annotated[Number, within(0)]
