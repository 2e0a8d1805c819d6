"""Whether the model repository can be served on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conversion.build import check_engine
from conversion.catalog import Job
from conversion.errors import ConversionError
from conversion.paths import Say
from conversion.staleness import reason_to_build
from facekit.engines.machine import Machine
from facekit.engines.manifest import REPAIR, VERSION_DIR, engine_path, repair_command


def verify(
    repository: Path, jobs: Sequence[Job], machine: Machine, say: Say, device: str | None
) -> list[str]:
    """Return what keeps the engines and pipelines from serving, a sentence each.

    Each engine is compared with its ``plan.json``, the configuration that a server would read, the
    weights chosen and this machine, and is loaded where ``trtexec`` is. The pipelines' files must
    be there.

    Args:
        repository: the model repository.
        jobs: the engines that should be there.
        machine: what they are to run on.
        say: takes lines for people.
        device: whose pipelines have to be there; ``None`` to skip them.
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
        check_engine(engine_path(repository, job.model.name), job, say)
    except ConversionError as error:
        return [f"{error}\n{repair}"]
    return []


def _pipeline_problems(repository: Path, device: str) -> list[str]:
    try:
        from facekit.pipelines.definitions import COLORS_OF
        from facekit.pipelines.serialize import file_name
    except ImportError as error:
        return [f"the pipelines were not checked: DALI is not installed ({error}): {REPAIR}"]
    files = [
        repository / model / VERSION_DIR / file_name(color, device)
        for model, colors in COLORS_OF.items()
        for color in colors
        if (repository / model).is_dir()
    ]
    return [
        f"{path.parent.parent.name}: the pipeline {path} is missing: {REPAIR}"
        for path in files
        if not path.is_file() or path.stat().st_size == 0
    ]
