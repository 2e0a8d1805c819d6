"""Read a YAML file into a pydantic model, with the file, line and key of everything wrong with it.

PyYAML's own loader drops line numbers and accepts a repeated key, so the tree of nodes is walked
here. All problems of a file are reported at once.
"""

import json
import re
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic
import yaml

from conversion.errors import ConversionError
from facekit.errors import reading

MAX_PROBLEMS = 20
"""How many problems of one file are reported."""

Key = tuple[str | int, ...]
"""Where a value is: the keys and list positions that lead to it."""

_TEXT_LENGTH = 60
_EXPECTED = {
    "model_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "tuple_type": "expected a list",
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "greater_than_equal": "expected {ge} or more",
    "too_short": "expected at least {min_length} in it",
    "string_too_short": "expected text",
}
"""What was expected, by pydantic's type of error."""


class Entry(pydantic.BaseModel):
    """A mapping of a file: no other keys than its fields, and no values converted between types."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)


def matching(pattern: str, expected: str) -> pydantic.AfterValidator:
    """Return a validator of text; ``expected`` is what the message says it should be."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return pydantic.AfterValidator(check)


Root = TypeVar("Root", bound=Entry)


class YamlFile(Generic[Root]):
    """A file that was read as a ``model``, and the problems found in it so far.

    What is wrong with it is raised as ``error``.
    """

    def __init__(self, path: Path, model: type[Root], error: type[ConversionError]) -> None:
        self.path, self._error = path, error
        self._lines: dict[Key, int] = {}
        self._problems: list[str] = []
        data = self._values(self._compose(), ())
        self.check()
        try:
            # As JSON, so that a strict model still takes a list for a tuple and text for an enum.
            self.root = model.model_validate_json(json.dumps(data, default=str))
        except pydantic.ValidationError as invalid:
            for found in invalid.errors():
                self._add_invalid(found)
        self.check()

    def add(self, key: Key, text: str) -> None:
        """Add a problem with the value at ``key``."""
        shown = ".".join(map(str, key))
        while key and key not in self._lines:
            key = key[:-1]
        where = f"{self.path}:{self._lines[key]}:" if key in self._lines else f"{self.path}:"
        self._problems.append(f"{where} {shown}: {text}" if shown else f"{where} {text}")

    def check(self) -> None:
        """Raise an error with every problem, one a line, if there are any."""
        if not self._problems:
            return
        shown, more = self._problems[:MAX_PROBLEMS], len(self._problems) - MAX_PROBLEMS
        if more > 0:
            shown.append(f"{self.path}: and {more} more problems")
        raise self._error("\n".join(shown))

    def _compose(self) -> yaml.Node:
        with reading(self.path, self._error):
            text = self.path.read_text("utf-8-sig")
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            reason = " ".join(filter(None, (error.context, error.problem)))
            raise self._error(f"{self.path}{line}: not YAML: {reason}") from error
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise self._error(f"{self.path}: not YAML: {reason}") from error
        except RecursionError as error:
            raise self._error(f"{self.path}: lists or mappings are nested too deeply") from error
        if node is None:
            raise self._error(f"{self.path}: the file is empty")
        return node

    def _values(self, node: yaml.Node, key: Key) -> Any:
        """Return a node's value; note its line and those of all values in it."""
        self._lines[key] = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode):
            return [self._values(item, (*key, place)) for place, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return _scalar(node)
        found: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self.add(key, "expected a plain key, got a list or a mapping")
                continue
            inner = (*key, name.value)
            if name.value in found:
                first, self._lines[inner] = self._lines[inner], name.start_mark.line + 1
                self.add(inner, f"is given twice; first in line {first}")
            else:
                found[name.value] = self._values(value, inner)
        return found

    def _add_invalid(self, found: Any) -> None:
        """Add what pydantic found wrong with a value."""
        key, kind, value = tuple(found["loc"]), found["type"], found["input"]
        if kind == "missing":
            self.add(key[:-1], f"missing: {key[-1]}")
            return
        if kind == "extra_forbidden":
            self.add(key, "unknown key")
            return
        expected = _EXPECTED.get(kind, found["msg"]).format(**found.get("ctx", {}))
        expected = expected.removeprefix("Value error, ").replace("Input should be", "expected")
        if key[-1:] == ("[key]",):
            self.add(key[:-1], f"{expected} as the key")
            return
        quotes = kind == "string_type" and isinstance(value, bool | int | float)
        hint = " (write it in quotes)" if quotes else ""
        # What should have been a key may be one, and is not repeated.
        got = "another value" if key[-1:] == ("key",) and quotes else _described(value)
        self.add(key, f"{expected}, got {got}{hint}")


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError):
        return str(node.value)
    finally:
        loader.dispose()


def _described(value: Any) -> str:
    if isinstance(value, dict | list):
        return "keys and values" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 1] + "…"
