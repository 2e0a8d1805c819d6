"""The stages of a conversion, one model after the other: one that fails does not stop the next."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conversion import license, places, releases
from conversion.atomic import Say
from conversion.catalog import Format, Job
from conversion.errors import ConversionError, FetchError, ReleaseError
from conversion.reasons import reason_to_build
from facekit.engines.machine import Machine
from facekit.engines.manifest import REPAIR
from facekit.errors import FacekitError

_WRITES = ("build", "serialize", "all")
_BUILDS = ("build", "all")
_FETCHES = ("fetch", "all")


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


@dataclass
class Result:
    """What was done: a row each of what, with what, and how it ended."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    failed: bool = False

    def add(self, what: str, which: str, end: str) -> None:
        """Note what went well."""
        self.rows.append((what, which, end))

    def fail(self, what: str, which: str, words: str) -> None:
        """Note what did not; the first line of the error has to do here."""
        self.rows.append(
            (what, which, f"FAILED: {words.splitlines()[0] if words else 'no reason is known'}")
        )
        self.failed = True

    def text(self) -> str:
        """Return the table."""
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in (0, 1)]
        lines = []
        for what, which, end in self.rows:
            start = f"{what:<{widths[0]}}  {which:<{widths[1]}}  "
            lines.append(f"{start}{end}")
        return "\n".join(lines)


def run(command: str, jobs: Sequence[Job], options: Options, machine: Machine, say: Say) -> Result:
    """Do ``fetch``, ``build``, ``serialize``, ``verify`` or ``all``.

    Raises:
        ConversionError: it can't even begin; nothing was done.
    """
    run_ = _Run(jobs, options, machine, say)
    run_.check(command)
    with contextlib.ExitStack() as stack:
        if command in _WRITES:
            from conversion.lock import converter_lock

            stack.enter_context(converter_lock(options.repository, wait=options.wait, say=say))
        if command in ("fetch", "build", "all"):
            run_.make(fetches=command in _FETCHES, builds=command in _BUILDS)
        if command in ("serialize", "all"):
            run_.serialize()
        if command in ("verify", "all"):
            run_.verify()
    return run_.result


class _Run:
    """One run over some jobs."""

    def __init__(self, jobs: Sequence[Job], options: Options, machine: Machine, say: Say) -> None:
        self._jobs, self._options, self._machine, self._say = jobs, options, machine, say
        self._table = releases.load()
        self._failed: set[str] = set()
        self._device: str | None = options.device
        self.result = Result()

    def check(self, command: str) -> None:
        """See to it that the run can begin.

        Raises:
            ConversionError: it can't.
        """
        options, machine = self._options, self._machine
        if options.source is not None and not options.source.is_dir():
            raise FetchError(f"--from {options.source}: there is no such folder")
        places.check_repository(options.repository, self._jobs)
        if command in _WRITES:
            places.check_writable(options.repository)
        if command in ("fetch", "build", "all"):
            places.check_writable(options.weights_dir)
        if command in _BUILDS:
            notes = "".join(f" ({note})" for note in machine.notes)
            if machine.tensorrt is None:
                raise ConversionError(
                    f"there is no TensorRT here{notes}; engines are built in the converter's "
                    f"image: {REPAIR}"
                )
            if not machine.gpus:
                raise ConversionError(
                    f"there is no NVIDIA GPU here{notes}, and an engine is built on the GPU that "
                    "runs it. In a container: see that nvidia-smi works on the host and that the "
                    "NVIDIA Container Toolkit is installed. Without a GPU, the server needs no "
                    "engine: docker compose --profile cpu up triton-cpu"
                )
        if command in _FETCHES:
            for job in self._jobs:
                self._check_terms(job, command)

    def make(self, *, fetches: bool, builds: bool) -> None:
        """Fetch what the jobs need, build their engines, or both."""
        for job in self._jobs:
            start = time.monotonic()
            which = job.weights.name
            try:
                end = self._make(job, fetches=fetches, builds=builds)
            except (FacekitError, OSError) as error:
                words = str(error).removeprefix(f"{job.model.name}: ")
                self.result.fail(job.model.name, which, words)
                self._failed.add(job.model.name)
                self._say(f"{job.model.name}: {words}")
                continue
            self.result.add(job.model.name, which, f"{end}{_took(start)}")

    def serialize(self) -> None:
        """Write the DALI pipelines."""
        from conversion.serialize import serialize_pipelines

        options = self._options
        start = time.monotonic()
        try:
            files = serialize_pipelines(options.repository, options.device, self._say)
        except (FacekitError, OSError) as error:
            self.result.fail("pipelines", options.device, str(error))
            self._device = None
            self._say(f"pipelines: {error}")
            return
        self.result.add(
            "pipelines",
            options.device,
            f"{places.counted(len(files), 'file')} written{_took(start)}",
        )

    def verify(self) -> None:
        """Check what is in the repository, but for what an earlier stage has failed at."""
        from conversion.verify import verify

        start = time.monotonic()
        jobs = [job for job in self._jobs if job.model.name not in self._failed]
        if not jobs and self._device is None:
            return
        try:
            problems = verify(
                self._options.repository, jobs, self._machine, self._say, device=self._device
            )
        except (FacekitError, OSError) as error:
            problems = [str(error)]
        words = "all else fits" if self.result.failed else "all fits"
        for problem in problems:
            self.result.fail("verify", "", problem)
        if not problems:
            self.result.add("verify", "", f"{words}{_took(start)}")

    def _make(self, job: Job, *, fetches: bool, builds: bool) -> str:
        """Make one engine, as far as was asked; return how it ended."""
        from conversion.build import build_engine
        from conversion.fetch import Fetched, fetch_weights
        from conversion.lock import converter_lock

        options, machine, say, weights = self._options, self._machine, self._say, job.weights
        warning, converter = self._fit(job)
        if warning:
            say(f"warning: {job.model.name}: {warning}")
        if builds:
            reason = reason_to_build(
                job, self._network(job), options.repository, machine, options.force
            )
            if reason is None:
                return "up to date"
            say(f"{job.model.name}: {reason}")
        source, tool = options.source, None
        directory = options.weights_dir
        if not fetches:
            network = self._network(job)
            if network is None:
                folder = places.folder_of(weights, directory)
                raise FetchError(f"nothing whole in {folder}; first: python -m conversion fetch")
            # Nothing is asked of the network: what is there is found, and looked at again.
            fetched = Fetched(
                network, network.with_name(weights.calibration) if weights.calibration else None
            )
        else:
            fetched = fetch_weights(
                weights, directory=directory, source=source, key=options.key, say=say
            )
        if converter is not None:
            tool = self._tool(converter, fetches=fetches)
        if not builds:
            return f"in {places.spoken(fetched.network.parent)}"
        builds_in = directory / "build"
        places.check_writable(builds_in)
        # Another converter, for another repository, may use the same folder.
        with converter_lock(builds_in, wait=options.wait, say=say):
            manifest = build_engine(
                job,
                fetched,
                repository=options.repository,
                work=builds_in / job.model.name,
                machine=machine,
                tao_converter=tool,
                say=say,
            )
        return f"built, {manifest.precision.upper()} for {manifest.gpu}"

    def _tool(self, version: str, *, fetches: bool) -> Path:
        """Return ``tao-converter``, fetched if that was asked."""
        from conversion.fetch import fetch_tao_converter, find_tao_converter

        options = self._options
        if fetches:
            return fetch_tao_converter(
                version,
                directory=options.weights_dir,
                source=options.source,
                key=options.key,
                say=self._say,
            )
        path = find_tao_converter(version, options.weights_dir)
        if path is None:
            raise FetchError(
                f"there is no tao-converter {version} in {options.weights_dir}; first: "
                "python -m conversion fetch"
            )
        return path

    def _fit(self, job: Job) -> tuple[str | None, str | None]:
        """Return a warning, and the version of the ``tao-converter`` that a job needs.

        Raises:
            ReleaseError: it can't be built with this TensorRT, or on this kind of machine.
        """
        table, architecture = self._table, self._machine.architecture
        tensorrt = self._machine.tensorrt or table.default.tensorrt
        warning = table.check(job.weights, tensorrt, architecture)
        if job.weights.format is Format.ONNX:
            return warning, None
        return warning, table.tao_converter(tensorrt, architecture)

    def _check_terms(self, job: Job, command: str) -> None:
        """See to it that the terms of all that a job fetches are accepted.

        Raises:
            FetchError: they are not.
        """
        from conversion.fetch import find_tao_converter

        options, weights, network = self._options, job.weights, self._network(job)
        try:
            _, version = self._fit(job)
        except ReleaseError:
            return  # nothing is fetched for it; `make` tells
        if command != "fetch" and not reason_to_build(
            job, network, options.repository, self._machine, options.force
        ):
            return
        copies = options.source is not None
        if copies or network is None:
            license.require(weights, options.accepted)
        if version and (copies or find_tao_converter(version, options.weights_dir) is None):
            name = f"tao-converter, needed for {job.model.name}"
            tool = dataclasses.replace(weights, model=name, license=releases.TOOL_LICENSE)
            license.require(tool, options.accepted)

    def _network(self, job: Job) -> Path | None:
        return places.network_of(job.weights, self._options.weights_dir)


def _took(start: float) -> str:
    """Return how long it took, where that is worth a word."""
    seconds = round(time.monotonic() - start)
    return f" in {seconds // 60}:{seconds % 60:02d}" if seconds >= 1 else ""
