"""A run: fetch, build, serialize and verify, one model after the other.

A model that fails does not stop the next. What is fetched and built is what the plan says, which is
made when the repository is locked.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conversion import paths
from conversion.catalog import Job
from conversion.commands import for_tensorrt
from conversion.errors import BuildError, ConversionError, FetchError
from conversion.ngc import find_tao_converter
from conversion.paths import Say
from conversion.plan import EnginePlan, Options, Plan
from conversion.planning import make_plan
from facekit.engines.machine import Machine
from facekit.engines.manifest import REPAIR
from facekit.errors import FacekitError
from facekit.text import count, table

_WRITES = ("build", "serialize", "all")
_MAKES = ("fetch", "build", "all")
_BUILDS = ("build", "all")
_FETCHES = ("fetch", "all")


@dataclass
class Result:
    """What was done: a row each of what, with what, and how it ended."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    failed: bool = False

    def fail(self, what: str, which: str, reason: str) -> None:
        """Note what failed, with the first line of the reason."""
        self.rows.append((what, which, f"FAILED: {reason.partition(chr(10))[0] or 'unknown'}"))
        self.failed = True

    def text(self) -> str:
        """Return the table."""
        return table(self.rows, "lll", header=False) if self.rows else ""


def run(command: str, jobs: Sequence[Job], options: Options, machine: Machine, say: Say) -> Result:
    """Do ``fetch``, ``build``, ``serialize``, ``verify`` or ``all``.

    Raises ConversionError if it can't begin; then nothing was done.
    """
    _check_machine(command, jobs, options, machine)
    run_ = _Run(jobs, options, machine, say)
    with contextlib.ExitStack() as stack:
        if command in _WRITES:
            from conversion.lock import converter_lock

            stack.enter_context(converter_lock(options.repository, wait=options.wait, say=say))
        if command in _MAKES:
            plan = make_plan(jobs, options, machine)
            if command in _FETCHES:
                _check_licenses(plan, command)
            for note in plan.notes:
                say(f"note: {note}")
            run_.make(plan, fetches=command in _FETCHES, builds=command in _BUILDS)
        if command in ("serialize", "all"):
            run_.serialize()
        if command in ("verify", "all"):
            run_.verify()
    return run_.result


def _check_machine(command: str, jobs: Sequence[Job], options: Options, machine: Machine) -> None:
    """Check that the run can begin on this machine."""
    if options.source is not None and not options.source.is_dir():
        raise FetchError(f"--from {options.source}: no such folder")
    paths.check_repository(options.repository, jobs)
    if command in _WRITES:
        paths.check_writable(options.repository)
    if command in _MAKES:
        paths.check_writable(options.weights_dir)
    if command not in _BUILDS:
        return
    notes = "".join(f" ({note})" for note in machine.notes)
    if machine.tensorrt is None:
        raise ConversionError(
            f"there is no TensorRT here{notes}; engines are built in the converter's image: "
            f"{REPAIR}"
        )
    if not machine.gpus:
        raise ConversionError(
            f"there is no NVIDIA GPU here{notes}, and an engine is built on the GPU that runs it. "
            "In a container: check that nvidia-smi works on the host and that the NVIDIA Container "
            "Toolkit is installed. Without a GPU, the server needs no engine: "
            "docker compose --profile cpu up triton-cpu"
        )


def _check_licenses(plan: Plan, command: str) -> None:
    """Check that the licenses of all that is fetched are accepted."""
    for engine in plan.engines:
        if engine.problem or (command != "fetch" and engine.reason is None):
            continue
        if engine.accepted is False:
            what, license = engine.to_accept[0]
            raise FetchError(
                f"{what} is under the {license.name}: {license.url}. Read it, then accept it with "
                "--accept-eula or with FACEKIT_ACCEPT_EULA=yes in .env. "
                "The kit's own networks need no license to be accepted: --weights open"
            )


class _Run:
    """One run over some jobs."""

    def __init__(self, jobs: Sequence[Job], options: Options, machine: Machine, say: Say) -> None:
        self._jobs = [for_tensorrt(job, machine.tensorrt) for job in jobs]
        self._options, self._machine, self._say = options, machine, say
        self._failed: set[str] = set()
        self._device: str | None = options.device
        self.result = Result()

    def make(self, plan: Plan, *, fetches: bool, builds: bool) -> None:
        """Fetch what the engines need, build them, or both."""
        for engine in plan.engines:
            start = time.monotonic()
            model, weights = engine.job.model.name, engine.job.weights.name
            try:
                end = self._make(engine, fetches=fetches, builds=builds)
            except (FacekitError, OSError) as error:
                reason = str(error).removeprefix(f"{model}: ")
                self.result.fail(model, weights, reason)
                self._failed.add(model)
                self._say(f"{model}: {reason}")
                continue
            self.result.rows.append((model, weights, f"{end}{_duration(start)}"))

    def serialize(self) -> None:
        """Write the DALI pipelines."""
        from conversion.pipelines import serialize_pipelines

        start, device = time.monotonic(), self._options.device
        try:
            files = serialize_pipelines(self._options.repository, device, self._say)
        except (FacekitError, OSError) as error:
            self.result.fail("pipelines", device, str(error))
            self._device = None
            self._say(f"pipelines: {error}")
            return
        end = f"{count(len(files), 'file')} written{_duration(start)}"
        self.result.rows.append(("pipelines", device, end))

    def verify(self) -> None:
        """Check what is in the repository, except for what an earlier stage has failed at."""
        from conversion.verify import verify

        start = time.monotonic()
        jobs = [job for job in self._jobs if job.model.name not in self._failed]
        if not jobs and self._device is None:
            return
        repository = self._options.repository
        try:
            problems = verify(repository, jobs, self._machine, self._say, self._device)
        except (FacekitError, OSError) as error:
            problems = [str(error)]
        end = "all else fits" if self.result.failed else "all fits"
        for problem in problems:
            self.result.fail("verify", "", problem)
        if not problems:
            self.result.rows.append(("verify", "", f"{end}{_duration(start)}"))

    def _make(self, engine: EnginePlan, *, fetches: bool, builds: bool) -> str:
        """Make one engine, as far as was asked; return how it ended."""
        from conversion.fetch import Fetcher

        options, say, job = self._options, self._say, engine.job
        if engine.problem is not None:
            raise BuildError(engine.problem)
        for warning in engine.warnings:
            say(f"warning: {job.model.name}: {warning}")
        if builds:
            if engine.reason is None:
                return "up to date"
            say(f"{job.model.name}: {engine.reason}")
        version, tool = engine.tool_version, None
        if fetches:
            fetcher = Fetcher(options.weights_dir, options.source, options.key, say)
            network = fetcher.weights(job.weights)
            tool = fetcher.tao_converter(version) if version else None
        else:
            found = job.weights.find(options.weights_dir)
            if found is None:
                raise FetchError(
                    f"the files in {engine.network.parent} are not complete; first: "
                    "python -m conversion fetch"
                )
            network = found
            tool = find_tao_converter(version, options.weights_dir) if version else None
            if version and tool is None:
                raise FetchError(
                    f"there is no tao-converter {version} in {options.weights_dir}; first: "
                    "python -m conversion fetch"
                )
        if not builds:
            return f"in {paths.display_path(network.parent)}"
        return self._build(engine, network, tool)

    def _build(self, engine: EnginePlan, network: Path, tool: Path | None) -> str:
        from conversion.build import build_engine
        from conversion.lock import converter_lock

        folder = self._options.weights_dir / "build"
        paths.check_writable(folder)
        # Another converter, for another repository, may use the same folder.
        with converter_lock(folder, wait=self._options.wait, say=self._say):
            manifest = build_engine(
                engine.job,
                network,
                engine.precision,
                repository=self._options.repository,
                work=folder / engine.job.model.name,
                machine=self._machine,
                tao_converter=tool,
                say=self._say,
            )
        return f"built, {manifest.precision.upper()} for {manifest.gpu}"


def _duration(start: float) -> str:
    """Return how long it took, where it was a second or more."""
    seconds = round(time.monotonic() - start)
    return f" in {seconds // 60}:{seconds % 60:02d}" if seconds >= 1 else ""
