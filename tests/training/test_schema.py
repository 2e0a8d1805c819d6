"""Every field that is known but has no effect is read, and named in a warning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("pydantic")

from facekit.errors import DataError
from tests.training.spec_text import changed, write_spec
from training.experiment.data import DatasetExportConfig
from training.experiment.group import Group, read_group
from training.experiment.inference import InferenceSpec
from training.experiment.spec import ExperimentSpec

KINDS = (ExperimentSpec, InferenceSpec, DatasetExportConfig)
MAPS = ("target_class_config", "classwise_bbox_handler_config", "evaluation_box_config")


def groups(
    kind: type[Group], within: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], type[Group]]]:
    """Yield every group of a spec with the names of the fields that lead to it."""
    yield within, kind
    for name, field in kind.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Group):
                yield from groups(part, (*within, field.alias or name))


NO_EFFECT = [
    (kind, within, name, inner)
    for kind in KINDS
    for within, group in groups(kind)
    for name, inner in group.without_effect.items()
]


def test_there_are_such_fields() -> None:
    assert len(NO_EFFECT) > 50


@pytest.mark.parametrize(
    ("kind", "within", "name", "inner"),
    NO_EFFECT,
    ids=[".".join((*path, name)) for _, path, name, _ in NO_EFFECT],
)
def test_a_field_without_effect_is_named(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: type[Group],
    within: tuple[str, ...],
    name: str,
    inner: frozenset[str],
) -> None:
    fields = " ".join(f"{field}: 1" for field in sorted(inner))
    text = f"\n{name} {{ {fields} }}" if inner else f"\n{name}: 1"
    for group in reversed(within):
        text = f'key: "x" value {{ {text} }}' if group in MAPS else text
        text = f"{group} {{ {text} }}"
    # The rest of the spec is missing, which is found after this.
    with suppress(DataError):
        read_group(write_spec(tmp_path / "spec.txt", text), kind)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path / 'spec.txt'}:2: ")
    assert f"{name} has no effect here" in record.getMessage()
    if inner:
        wrong, _ = changed(text, f"{min(inner)}:", "unheard_of:")
        with pytest.raises(DataError, match=r"spec\.txt:2: unknown field 'unheard_of' of .*known"):
            read_group(write_spec(tmp_path / "spec.txt", wrong), kind)
