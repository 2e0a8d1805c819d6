"""Whether the model repository can be served on this machine."""

from collections.abc import Sequence
from pathlib import Path

from conversion.build import check_engine
from conversion.catalog import Job
from conversion.errors import ConversionError
from conversion.paths import Say
from conversion.pipelines import placement_problems
from conversion.staleness import reason_to_build
from facekit.engines.machine import Machine
from facekit.engines.manifest import REPAIR, VERSION_DIR, engine_path, repair_command


def verify(
    repository: Path, jobs: Sequence[Job], machine: Machine, say: Say, device: str | None
) -> list[str]:
    """Return what keeps the engines and pipelines from serving, a sentence each.

    Each engine is compared with its ``plan.json``, the configuration that a server would read, the
    weights chosen and this machine, and is loaded where ``trtexec`` is. The pipelines of ``device``
    must be there, and the steps of the GPU's must run on it with this machine's DALI; with ``None``
    the pipelines are not checked.
    """
    from facekit.engines.check import check_engines

    problems: list[str] = []
    for job in jobs:
        found = check_engines(repository, [job.model.name], machine)
        problems += [problem for problem in found if problem not in problems]
        if not found:
            problems += _engine_problems(repository, job, machine, say)
    return problems if device is None else problems + _pipeline_problems(repository, device, say)


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


def _pipeline_problems(repository: Path, device: str, say: Say) -> list[str]:
    try:
        from facekit.pipelines.definitions import COLORS_OF, PIPELINES
        from facekit.pipelines.serialize import file_name
    except ImportError as error:
        return [f"the pipelines were not checked: DALI is not installed ({error}): {REPAIR}"]
    problems = []
    for model, colors in COLORS_OF.items():
        if not (repository / model).is_dir():
            continue
        for color in colors:
            path = repository / model / VERSION_DIR / file_name(color, device)
            if not path.is_file() or path.stat().st_size == 0:
                problems.append(f"{model}: the pipeline {path} is missing: {REPAIR}")
            try:
                misplaced = placement_problems(PIPELINES[model]("gpu", color))
            except AttributeError as error:  # DALI's graph is not a public interface
                say(f"warning: {model}: this DALI does not tell where its steps run: {error}")
            else:
                problems += [f"{model}: its GPU pipeline: {problem}" for problem in misplaced]
    return problems
