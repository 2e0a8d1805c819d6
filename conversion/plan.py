"""A plan: what a run would do, as data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.engines.machine import Machine


@dataclass(frozen=True)
class Download:
    """One file that a build needs: from where, whereto, and whether it is there already."""

    url: str
    path: Path
    size: int | None
    present: bool


@dataclass(frozen=True)
class EnginePlan:
    """One engine.

    Attributes:
        model: the model in the repository.
        weights: the name of the source.
        note: one sentence about the weights.
        license: the name of the terms.
        license_url: where they are to be read.
        accepted: whether they are accepted; ``None`` where nothing is asked.
        source: as NGC names it, or the file of this machine.
        downloads: the files that are fetched.
        tool: what builds the engine.
        tool_version: its version on NGC; "" for what the machine brings along.
        precision: what the engine computes in, as far as is known here.
        reason: why it is built; ``None`` if it is up to date.
        engine: where it goes.
        manifest: where what is known of it goes.
        config: the configuration of the model that fits it.
        command: the arguments that build it.
        check: the arguments that load it.
        warnings: what may go wrong.
        problem: why it can't be built, if so.
    """

    model: str
    weights: str
    note: str
    license: str
    license_url: str
    accepted: bool | None
    source: str
    downloads: tuple[Download, ...]
    tool: str
    tool_version: str
    precision: str
    reason: str | None
    engine: Path
    manifest: Path
    config: str
    command: tuple[str, ...]
    check: tuple[str, ...]
    warnings: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True)
class PipelineFile:
    """One DALI pipeline to serialize, and whether an earlier one lies there."""

    path: Path
    present: bool


@dataclass(frozen=True)
class Plan:
    """All that a run would do.

    ``release`` is the Triton tag that the plan is for where this machine has no TensorRT, or where
    one was asked for; ``tensorrt`` the version that the plan is for; ``dali_wheel`` the DALI that
    writes its pipelines, "" where the table does not know.
    """

    machine: Machine
    release: str | None
    tensorrt: str
    dali_wheel: str
    repository: Path
    weights_dir: Path
    device: str
    engines: tuple[EnginePlan, ...]
    pipelines: tuple[PipelineFile, ...]

    @property
    def failed(self) -> bool:
        """Whether an engine can't be built."""
        return any(engine.problem for engine in self.engines)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        values: dict[str, Any] = _plain(dataclasses.asdict(self))
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
