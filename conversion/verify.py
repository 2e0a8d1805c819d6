"""Whether what lies in the repository can be served on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conversion.atomic import Say
from conversion.build import try_engine
from conversion.catalog import Job
from conversion.errors import ConversionError
from conversion.reasons import reason_to_build
from facekit.engines.machine import Machine
from facekit.engines.manifest import REPAIR, VERSION_DIR, engine_path, repair_command


def verify(
    repository: Path, jobs: Sequence[Job], machine: Machine, say: Say, device: str | None
) -> list[str]:
    """Return what keeps the engines and pipelines from serving, a sentence each.

    Each engine is held to its ``plan.json``, to the configuration that a server would read, to the
    weights chosen and to this machine, and is loaded where ``trtexec`` is. The pipelines' files
    must be there, and their graphs must run where they should.

    Args:
        repository: the model repository.
        jobs: the engines that should be there.
        machine: what they shall run on.
        say: takes words for people.
        device: whose pipelines have to be there; ``None`` to leave them alone.
    """
    from facekit.engines.check import check_engines

    problems: list[str] = []
    for job in jobs:
        found = check_engines(repository, [job.model.name], machine)
        problems += [problem for problem in found if problem not in problems]
        if not found:
            problems += _engine_problems(repository, job, machine, say)
    return problems if device is None else problems + _pipeline_problems(repository, device)


def _engine_problems(repository: Path, job: Job, machine: Machine, say: Say) -> list[str]:
    """Return what is wrong with an engine that the server itself would accept."""
    reason = reason_to_build(job, None, repository, machine, False)
    repair = repair_command(job.model.name, job.weights.name)
    if reason is not None:
        return [f"{job.model.name}: {reason}: {repair}"]
    try:
        try_engine(engine_path(repository, job.model.name), job, say)
    except ConversionError as error:
        return [f"{error}\n{repair}"]
    return []


def _pipeline_problems(repository: Path, device: str) -> list[str]:
    try:
        from conversion.device_placement import placement_problems
        from facekit.pipelines.definitions import COLORS_OF, PIPELINES
        from facekit.pipelines.serialize import file_name
    except ImportError as error:
        return [f"the pipelines were not looked at: DALI is not here ({error}): {REPAIR}"]
    wanted = [
        (model, color)
        for model, colors in COLORS_OF.items()
        for color in colors
        if (repository / model).is_dir()
    ]
    files = [repository / m / VERSION_DIR / file_name(c, device) for m, c in wanted]
    problems = [
        f"{path.parent.parent.name}: the pipeline {path} is missing: {REPAIR}"
        for path in files
        if not path.is_file() or path.stat().st_size == 0
    ]
    for model, color in wanted:
        for problem in placement_problems(PIPELINES[model]("gpu", color)):
            problems.append(f"{model}: its GPU pipeline: {problem}")
    return problems
