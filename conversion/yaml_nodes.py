"""Read a YAML file with the line of every value, and collect all that is wrong with it.

PyYAML's own loader drops line numbers and lets a doubled key pass, so the tree of nodes is read
here. A wrong value is noted and replaced by a harmless one, so that one run shows every problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from conversion.errors import ConversionError

MAX_PROBLEMS = 20
"""How many problems of one file are told; more say nothing new."""

_KINDS = {
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:bool": "the yes/no value",
    "tag:yaml.org,2002:int": "the number",
    "tag:yaml.org,2002:float": "the number",
    "tag:yaml.org,2002:timestamp": "the date",
}
_TEXT = "tag:yaml.org,2002:str"


@dataclass
class Problems:
    """What is wrong with one file; ``kind`` is the error that ``stop`` raises."""

    file: Path
    kind: type[ConversionError]
    found: list[str] = field(default_factory=list)

    def add(self, node: yaml.Node | None, path: str, text: str) -> None:
        """Note a problem at a node; ``path`` is its key, such as ``models.facenet``."""
        line = "" if node is None else f":{node.start_mark.line + 1}"
        key = f" {path}:" if path else ""
        self.found.append(f"{self.file}{line}:{key} {text}")

    def stop(self) -> None:
        """Raise ``kind`` with every problem, a line each, if there is one."""
        if not self.found:
            return
        shown = self.found[:MAX_PROBLEMS]
        if len(self.found) > MAX_PROBLEMS:
            shown.append(f"{self.file}: and {len(self.found) - MAX_PROBLEMS} problems more")
        raise self.kind("\n".join(shown))


@dataclass(frozen=True)
class Entry:
    """One value of the file: its node and the path of keys that leads to it."""

    node: yaml.Node
    path: str
    problems: Problems

    def add(self, text: str) -> None:
        """Note a problem with this value."""
        self.problems.add(self.node, self.path, text)

    def expected(self, what: str) -> None:
        """Note that this value is not what was expected."""
        self.add(f"expected {what}, got {self._described()}")

    def entries(self) -> dict[str, Entry]:
        """Return the values of a mapping by key, whatever the keys are called."""
        if not isinstance(self.node, yaml.MappingNode):
            self.expected("keys and values")
            return {}
        found: dict[str, Entry] = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(key, self.path, "expected a plain key, got a list or a mapping")
                continue
            path = f"{self.path}.{key.value}" if self.path else key.value
            if key.value in found:
                line = found[key.value].node.start_mark.line + 1
                self.problems.add(key, path, f"is there twice; first in line {line}")
                continue
            found[key.value] = Entry(value, path, self.problems)
        return found

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Entry]:
        """Return the values of a mapping whose keys are known; note missing and unknown keys."""
        known = [*required, *optional]
        found = self.entries()
        for name in [name for name in found if name not in known]:
            unknown = found.pop(name)
            unknown.add(f"unknown key; known are {', '.join(known)}")
        if isinstance(self.node, yaml.MappingNode):
            missing = [name for name in required if name not in found]
            if missing:
                self.add(f"missing: {', '.join(missing)}")
        return found

    def text(self, what: str = "text", *, secret: bool = False) -> str:
        """Return a text that is not empty; a message does not repeat a secret one."""
        if self._tag() == _TEXT and self.node.value.strip():
            return str(self.node.value)
        kind = _KINDS.get(self._tag())
        hint = " (write it in quotes)" if kind and kind != "nothing" else ""
        got = "a value that is no text" if secret and hint else self._described()
        self.add(f"expected {what}, got {got}{hint}")
        return ""

    def choice(self, names: Sequence[str]) -> str | None:
        """Return one of the names; ``None`` where it is none of them."""
        if self._tag() == _TEXT and self.node.value in names:
            return str(self.node.value)
        *most, last = names
        self.expected(f"{', '.join(most)} or {last}" if most else last)
        return None

    def flag(self) -> bool:
        """Return a yes or no."""
        if self._tag() == "tag:yaml.org,2002:bool":
            return bool(self._value())
        self.expected("true or false")
        return False

    def whole(self, minimum: int) -> int:
        """Return a whole number of at least ``minimum``."""
        value = self._value() if self._tag() == "tag:yaml.org,2002:int" else None
        if isinstance(value, int) and value >= minimum:
            return value
        self.expected(f"a whole number of {minimum} or more")
        return minimum

    def dims(self) -> tuple[int, ...]:
        """Return a tensor's dims without batch: a list of whole numbers of 1 or more."""
        if isinstance(self.node, yaml.SequenceNode) and self.node.value:
            items = enumerate(self.node.value)
            return tuple(
                Entry(item, f"{self.path}[{index}]", self.problems).whole(1)
                for index, item in items
            )
        self.expected("dims without batch, such as [3, 416, 736]")
        return ()

    def _tag(self) -> str:
        return str(self.node.tag) if isinstance(self.node, yaml.ScalarNode) else ""

    def _value(self) -> object:
        loader = yaml.SafeLoader("")
        try:
            value: object = loader.construct_object(self.node)
        except (yaml.YAMLError, ValueError):
            return None
        finally:
            loader.dispose()
        return value

    def _described(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "keys and values"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        value = str(self.node.value)
        shown = value if len(value) <= 60 else value[:59] + "…"
        kind = _KINDS.get(self._tag())
        if kind is None:
            return repr(shown)
        return f"{kind} {shown}" if shown and kind != "nothing" else "nothing"


def read(path: Path, kind: type[ConversionError]) -> Entry:
    """Return a YAML file's outermost mapping.

    Raises:
        ConversionError: as ``kind``: the file can't be read, is empty, or is not YAML.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kind(f"{path}: not a text file: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise kind(f"{path}: can't be read: {error.strerror or error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        words = " ".join(filter(None, (error.context, error.problem)))
        raise kind(f"{path}{line}: not YAML: {words}") from error
    except yaml.YAMLError as error:
        raise kind(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise kind(f"{path}: not such a file: lists within lists without end") from error
    if node is None:
        raise kind(f"{path}: the file is empty")
    return Entry(node, "", Problems(path, kind))


def listed(names: Mapping[str, object] | Sequence[str]) -> str:
    """Return names for a message.

    >>> listed(["nvidia", "open"])
    'nvidia, open'
    """
    return ", ".join(names) or "none"
