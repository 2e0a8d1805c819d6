"""A plan as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from conversion.places import counted, spoken
from conversion.plan import EnginePlan, Plan
from conversion.planning import shell
from facekit.contract import is_optional
from facekit.engines.manifest import REPAIR

_INDENT = "  "
_LABEL_WIDTH = 9
_HOST_PATHS = {"--repository", "--weights-dir", "--models", "--from"}


def text(plan: Plan, arguments: Sequence[str] = ()) -> str:
    """Return the whole plan; ``arguments`` are what the command that does it has to be given."""
    return "\n".join(_lines(plan, arguments))


def _lines(plan: Plan, arguments: Sequence[str]) -> Iterator[str]:
    yield _machine(plan)
    yield f"model repository {spoken(plan.repository)}, downloads in {spoken(plan.weights_dir)}"
    for engine in plan.engines:
        yield ""
        yield from _engine(engine)
    yield ""
    yield f"DALI pipelines for the {plan.device.upper()}{_wheel(plan)}"
    for file in plan.pipelines:
        yield f"{_INDENT}{spoken(file.path)}  ({'written anew' if file.present else 'missing'})"
    yield ""
    yield _summary(plan)
    yield from _next_steps(plan, arguments)


def _machine(plan: Plan) -> str:
    machine = plan.machine
    gpus = ", ".join(map(str, machine.gpus)) or "no GPU"
    here = f"TensorRT {machine.tensorrt}" if machine.tensorrt else "no TensorRT"
    line = f"this machine: {here}, {gpus}, {machine.architecture}"
    for note in machine.notes:
        line += f"\n{_INDENT}{note}"
    if plan.release is None:
        return line
    why = "none here, so the plan" if machine.tensorrt is None else "asked for, so the plan"
    return f"{line}\n{why} is for release {plan.release}: TensorRT {plan.tensorrt}"


def _engine(engine: EnginePlan) -> Iterator[str]:
    yield f"{engine.model}, weights {engine.weights}" + (f": {engine.note}" if engine.note else "")
    if engine.problem:
        yield _row("problem", engine.problem)
        return
    yield _row(
        "build", "no, it is up to date" if engine.reason is None else f"yes: {engine.reason}"
    )
    source = Path(engine.source)
    yield _row("source", spoken(source) if source.is_absolute() else engine.source)
    yield _row("terms", _terms(engine))
    for warning in engine.warnings:
        yield _row("warning", warning)
    if engine.reason is None:
        return
    for download in engine.downloads:
        size = f", {download.size:,} bytes" if download.size else ""
        if download.present:
            yield _row("there is", f"{spoken(download.path)}{size}")
        else:
            yield _row("fetch", f"{download.url}{size}")
            yield _row("", f"to {spoken(download.path)}")
    version = f" {engine.tool_version}" if engine.tool_version else ", which TensorRT comes with"
    yield _row("with", f"{engine.tool}{version}, in {engine.precision.upper()}")
    yield _row("", shell(engine.command))
    yield _row("try it", shell(engine.check))
    yield _row("place", f"{spoken(engine.engine)} and {engine.manifest.name}, for {engine.config}")


def _wheel(plan: Plan) -> str:
    return f", with DALI {plan.dali_wheel} in the converter's image" if plan.dali_wheel else ""


def _row(label: str, words: str) -> str:
    return f"{_INDENT}{label:<{_LABEL_WIDTH}}{words}"


def _terms(engine: EnginePlan) -> str:
    terms = ", ".join(filter(None, (engine.license, engine.license_url)))
    if engine.accepted is None:
        return terms
    if engine.accepted:
        return f"{terms}; accepted"
    return f"{terms}; to be accepted with --accept-eula or FACEKIT_ACCEPT_EULA=yes"


def _summary(plan: Plan) -> str:
    to_build = [e for e in plan.engines if e.reason is not None and not e.problem]
    files = {d.path: d for e in to_build for d in e.downloads if not d.present}
    parts = [
        f"{counted(len(files), 'file')} to fetch",
        f"{counted(len(to_build), 'engine')} to build" + (" (minutes each)" if to_build else ""),
        f"{counted(len(plan.pipelines), 'pipeline')} to serialize",
    ]
    broken = sum(engine.problem is not None for engine in plan.engines)
    if broken:
        parts.append(f"{counted(broken, 'model')} with a problem")
    return "in all: " + ", ".join(parts)


def _next_steps(plan: Plan, arguments: Sequence[str]) -> Iterator[str]:
    # The mask detector's configuration is the same beside any other weights.
    engines = [engine for engine in plan.engines if not is_optional(engine.model)]
    configs = {engine.config: engine.model for engine in engines}
    if len(configs) > 1:
        fits = ", ".join(f"{config} fits {model}" for config, model in configs.items())
        yield f"these don't go together: a server has one set of configurations, and {fits}"
        yield "choose weights of one kind for all models, such as --weights open"
        return
    if any(e.accepted is False and e.reason is not None and not e.problem for e in plan.engines):
        yield "first read the terms above; then accept them (in .env: FACEKIT_ACCEPT_EULA=yes)"
    if not all(engine.problem for engine in plan.engines):
        # The container sees no path of this machine, but what this script mounts.
        tool = ["scripts/convert"] if _HOST_PATHS & set(arguments) else REPAIR.split()
        where = "" if plan.machine.gpus else ", on the machine with the GPU that shall run it"
        yield f"do it{where}: {shell((*tool, *(('all', *arguments) if arguments else ())))}"
