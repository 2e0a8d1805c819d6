"""A plan: what a run would do, as data, as JSON and as text."""

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversion.catalog import Job, License, Precision
from conversion.commands import shell
from conversion.paths import display_path
from facekit.contract import is_optional
from facekit.engines.machine import Machine
from facekit.engines.manifest import REPAIR
from facekit.text import count

_INDENT = "  "
_LABEL_WIDTH = 9
_HOST_PATHS = {"--repository", "--weights-dir", "--models", "--from"}


@dataclass(frozen=True)
class Options:
    """What was asked for, other than the weights; the fields are named as the options."""

    repository: Path
    weights_dir: Path
    source: Path | None = None
    key: str | None = field(default=None, repr=False)
    accepted: bool = False
    force: bool = False
    device: str = "gpu"
    wait: bool = True
    triton: str | None = None


@dataclass(frozen=True)
class Download:
    """One file that a build needs: from where, where to, and whether it is there already."""

    url: str
    path: Path
    size: int | None
    present: bool


@dataclass(frozen=True)
class EnginePlan:
    """What is decided about one engine; a run does what it says.

    Attributes:
        to_accept: name and license of what has to be accepted before it is fetched.
        accepted: whether that is accepted; ``None`` where nothing has to be.
        tool_version: the tool's version on NGC; "" for what the machine comes with.
        reason: why it is built; ``None`` if it is up to date.
        network: the network's file, present or to be fetched.
        command: the arguments that build it, redacted, as ``check`` are those that load it.
        problem: why it cannot be built, if so.
    """

    job: Job
    license: License
    to_accept: tuple[tuple[str, License], ...]
    accepted: bool | None
    downloads: tuple[Download, ...]
    tool: str
    tool_version: str
    precision: Precision
    reason: str | None
    network: Path
    engine: Path
    manifest: Path
    command: tuple[str, ...]
    check: tuple[str, ...]
    warnings: tuple[str, ...]
    problem: str | None

    @property
    def source(self) -> str:
        """The network as NGC names it, or its file on this machine."""
        ngc = self.job.weights.ngc
        return ngc.label if ngc else str(self.network)

    @property
    def config(self) -> str:
        """The configuration of the model that fits the engine."""
        name = self.job.weights.config
        return f"configs/{name}.pbtxt" if name else "config.pbtxt"

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        weights, values = self.job.weights, vars(self).copy()
        for name in ("job", "to_accept", "network"):
            del values[name]
        values |= {"model": weights.model, "weights": weights.name, "note": weights.note}
        values |= {"license": self.license.name, "license_url": self.license.url}
        values |= {"source": self.source, "config": self.config}
        values["downloads"] = [dataclasses.asdict(download) for download in self.downloads]
        return values


@dataclass(frozen=True)
class PipelineFile:
    """One DALI pipeline to serialize, and whether an earlier one is there."""

    path: Path
    present: bool


@dataclass(frozen=True)
class Plan:
    """All that a run would do.

    ``release`` is the Triton tag that the plan is for where this machine has no TensorRT, or where
    one was asked for; ``tensorrt`` the version that the plan is for; ``notes`` what is to be known
    of that release, a sentence each.
    """

    machine: Machine
    release: str | None
    tensorrt: str
    notes: tuple[str, ...]
    repository: Path
    weights_dir: Path
    device: str
    engines: tuple[EnginePlan, ...]
    pipelines: tuple[PipelineFile, ...]

    @property
    def failed(self) -> bool:
        """Whether an engine cannot be built."""
        return any(engine.problem for engine in self.engines)

    def to_json(self) -> str:
        """Return the plan as a JSON object."""
        values = {**vars(self), "machine": dataclasses.asdict(self.machine)}
        values["engines"] = [engine.to_dict() for engine in self.engines]
        values["pipelines"] = [dataclasses.asdict(file) for file in self.pipelines]
        return json.dumps(values, indent=2, default=os.fspath)

    def text(self, arguments: Sequence[str] = ()) -> str:
        """Return the plan for people; ``arguments`` are those of the command that does it."""
        return "\n".join(_lines(self, arguments))


def _lines(plan: Plan, arguments: Sequence[str]) -> Iterator[str]:
    yield from _machine(plan)
    repository, downloads = display_path(plan.repository), display_path(plan.weights_dir)
    yield f"model repository {repository}, downloads in {downloads}"
    for engine in plan.engines:
        yield ""
        yield from _engine(engine)
    yield ""
    yield f"DALI pipelines for the {plan.device.upper()}"
    for file in plan.pipelines:
        yield f"{_INDENT}{display_path(file.path)}  ({'replaced' if file.present else 'missing'})"
    yield ""
    yield _summary(plan)
    yield from _next_steps(plan, arguments)


def _machine(plan: Plan) -> Iterator[str]:
    machine = plan.machine
    gpus = ", ".join(map(str, machine.gpus)) or "no GPU"
    tensorrt = f"TensorRT {machine.tensorrt}" if machine.tensorrt else "no TensorRT"
    yield f"this machine: {tensorrt}, {gpus}, {machine.architecture}"
    for note in machine.notes:
        yield f"{_INDENT}{note}"
    if plan.release is not None:
        why = "none here, so the plan" if machine.tensorrt is None else "asked for, so the plan"
        yield f"{why} is for release {plan.release}: TensorRT {plan.tensorrt}"
    for note in plan.notes:
        yield f"note: {note}"


def _engine(engine: EnginePlan) -> Iterator[str]:
    weights = engine.job.weights
    note = f": {weights.note}" if weights.note else ""
    yield f"{weights.model}, weights {weights.name}{note}"
    if engine.problem:
        yield _row("problem", engine.problem)
        return
    up_to_date = engine.reason is None
    yield _row("build", "no, it is up to date" if up_to_date else f"yes: {engine.reason}")
    yield _row("source", engine.source if weights.ngc else display_path(engine.network))
    yield _row("license", _license(engine))
    for warning in engine.warnings:
        yield _row("warning", warning)
    if up_to_date:
        return
    for download in engine.downloads:
        size = f", {download.size:,} bytes" if download.size else ""
        if download.present:
            yield _row("present", f"{display_path(download.path)}{size}")
        else:
            yield _row("fetch", f"{download.url}{size}")
            yield _row("", f"to {display_path(download.path)}")
    version = f" {engine.tool_version}" if engine.tool_version else ", which TensorRT comes with"
    yield _row("with", f"{engine.tool}{version}, in {engine.precision.value.upper()}")
    yield _row("", shell(engine.command))
    yield _row("check", shell(engine.check))
    path = display_path(engine.engine)
    yield _row("to", f"{path} and {engine.manifest.name}, for {engine.config}")


def _row(label: str, text: str) -> str:
    return f"{_INDENT}{label:<{_LABEL_WIDTH}}{text}"


def _license(engine: EnginePlan) -> str:
    license = ", ".join(filter(None, (engine.license.name, engine.license.url)))
    if engine.accepted is None:
        return license
    to_accept = "to be accepted with --accept-eula or FACEKIT_ACCEPT_EULA=yes"
    return f"{license}; {'accepted' if engine.accepted else to_accept}"


def _summary(plan: Plan) -> str:
    to_build = [e for e in plan.engines if e.reason is not None and not e.problem]
    files = {d.path for e in to_build for d in e.downloads if not d.present}
    parts = [
        f"{count(len(files), 'file')} to fetch",
        f"{count(len(to_build), 'engine')} to build" + (" (minutes each)" if to_build else ""),
        f"{count(len(plan.pipelines), 'pipeline')} to serialize",
    ]
    broken = sum(engine.problem is not None for engine in plan.engines)
    if broken:
        parts.append(f"{count(broken, 'model')} with a problem")
    return "in all: " + ", ".join(parts)


def _next_steps(plan: Plan, arguments: Sequence[str]) -> Iterator[str]:
    # The mask detector's configuration is the same beside any other weights.
    engines = [engine for engine in plan.engines if not is_optional(engine.job.model.name)]
    configs = {engine.config: engine.job.model.name for engine in engines}
    if len(configs) > 1:
        fits = ", ".join(f"{config} fits {model}" for config, model in configs.items())
        yield f"these don't go together: a server has one set of configurations, and {fits}"
        yield "choose weights of one kind for all models, such as --weights open"
        return
    if any(e.accepted is False and e.reason is not None and not e.problem for e in plan.engines):
        yield "first read the license above; then accept it (in .env: FACEKIT_ACCEPT_EULA=yes)"
    if not all(engine.problem for engine in plan.engines):
        # The container sees no path of this machine except those that the script mounts.
        tool = ["scripts/convert"] if _HOST_PATHS & set(arguments) else REPAIR.split()
        where = "" if plan.machine.gpus else ", on the machine with the GPU that is to run it"
        yield f"do it{where}: {shell((*tool, *(('all', *arguments) if arguments else ())))}"
