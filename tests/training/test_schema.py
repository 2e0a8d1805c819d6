"""The compiled schema is that of the ``.proto``, and every field in it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.protobuf")

from google.protobuf import descriptor_pb2

from tests.training.spec_text import write_spec
from training.experiment.schema import COMPILED, SOURCE, message_type
from training.experiment.sections import read_sections


def sample(field: Any) -> str:
    """Return a value for a field without effect."""
    if field.message_type is not None:
        entries = field.message_type.GetOptions().map_entry
        return '{ key: "a" }' if entries else "{ }"
    if field.enum_type is not None:
        return str(field.enum_type.values[0].name)
    texts = {field.CPPTYPE_STRING: '"a"', field.CPPTYPE_BOOL: "true"}
    return texts.get(field.cpp_type, "1")


def without_effect(descriptor: Any, within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field that is known but not honored, and a value as its end."""
    for field in descriptor.fields:
        path = (*within, field.name)
        if field.GetOptions().deprecated:
            yield (*path, sample(field))
        elif field.message_type is not None:
            entry = field.message_type.GetOptions().map_entry
            inner = field.message_type.fields_by_name["value"] if entry else field
            if inner.message_type is not None:
                steps = (*path, "value") if entry else path
                yield from without_effect(inner.message_type, steps)


KINDS = ("Experiment", "Inference", "DatasetExportConfig")
NO_EFFECT = [
    (kind, *path) for kind in KINDS for path in without_effect(message_type(kind).DESCRIPTOR)
]


@pytest.mark.parametrize(("kind", "path"), [(p[0], p[1:]) for p in NO_EFFECT],
                         ids=[".".join(p[:-1]) for p in NO_EFFECT])  # fmt: skip
def test_every_known_field_parses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, path: tuple[str, ...]
) -> None:
    *groups, name, value = path
    text = f"\n{name}: {value}\n"
    for group in reversed(groups):
        text = f"{group} {{{text}}}"
    read_sections(write_spec(tmp_path / "spec.txt", text), kind)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path / 'spec.txt'}:2: ")
    assert f"{name} has no effect here" in record.getMessage()


def test_there_are_such_fields() -> None:
    assert len(NO_EFFECT) > 50


_DECLARATION = re.compile(
    r"^(?:(optional|repeated)\s+)?(map<\s*\w+\s*,\s*\w+\s*>|\w+)\s+(\w+)\s*=\s*(\d+)\s*(\[.*\])?;$"
)
_LABELS = {1: "optional", 3: "repeated"}


def declared_in_source() -> set[tuple[str, ...]]:
    """Return every field and enumeration value of the .proto by a reading of its text."""
    found = set()
    within: list[tuple[str, str]] = []
    text = re.sub(r"//.*", "", SOURCE.read_text(encoding="utf-8"))
    # A declaration or the head of a group a line.
    for raw in re.sub(r"([{};])", r"\1\n", text).splitlines():
        line = " ".join(raw.split())
        head = re.match(r"(message|enum|oneof) (\w+) \{", line)
        if head:
            within.append((head[1], head[2]))
        elif line == "}":
            within.pop()
        elif within and (match := _DECLARATION.match(line)):
            label, kind, name, number, options = match.groups()
            owner = ".".join(n for k, n in within if k != "oneof")
            assert label or "map<" in kind or within[-1][0] == "oneof", line
            label = "repeated" if "map<" in kind else label or "optional"
            kind = "map" if "map<" in kind else kind
            found.add((owner, name, number, label, kind, str("deprecated" in (options or ""))))
        elif within and within[-1][0] == "enum" and (match := re.match(r"(\w+) = (\d+);", line)):
            found.add((".".join(n for _, n in within), match[1], match[2]))
        else:
            assert line in ("", 'syntax = "proto2";', "package facekit.experiment;"), line
    return found


def declared_in_compiled() -> set[tuple[str, ...]]:
    """Return the same of the compiled descriptors."""
    found = set()
    types = descriptor_pb2.FieldDescriptorProto.Type

    def enumeration(enum: Any, owner: str) -> None:
        for value in enum.value:
            found.add((f"{owner}{enum.name}", value.name, str(value.number)))

    def message(declared: Any, owner: str) -> None:
        name = f"{owner}{declared.name}"
        maps = {f".facekit.experiment.{name}.{n.name}" for n in declared.nested_type
                if n.options.map_entry}  # fmt: skip
        for field in declared.field:
            kind = field.type_name.split(".")[-1] or types.Name(field.type)[5:].lower()
            kind = "map" if field.type_name in maps else kind
            found.add((name, field.name, str(field.number), _LABELS[field.label], kind,
                       str(field.options.deprecated)))  # fmt: skip
        for inner in declared.nested_type:
            if not inner.options.map_entry:
                message(inner, f"{name}.")
        for enum in declared.enum_type:
            enumeration(enum, f"{name}.")

    files = descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes())
    for file in files.file:
        for declared in file.message_type:
            message(declared, "")
    return found


def test_the_compiled_schema_is_that_of_the_source() -> None:
    source, compiled = declared_in_source(), declared_in_compiled()
    assert len(source) > 250
    assert source == compiled
