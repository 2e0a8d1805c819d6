"""Make an engine, try it, and only then put it in the old one's place."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from conversion import places
from conversion.atomic import Say
from conversion.catalog import Format, Job, Precision
from conversion.commands import (
    redacted,
    tao_converter_command,
    trtexec_build_command,
    trtexec_load_command,
)
from conversion.errors import BuildError
from conversion.faults import explain
from conversion.reasons import precision_for
from conversion.toolrun import ToolRun, run_tool
from facekit.engines.machine import Machine
from facekit.engines.manifest import (
    ENGINE_FILE,
    REPAIR,
    EngineManifest,
    engine_path,
    manifest_path,
    sha256_of,
)

if TYPE_CHECKING:
    # It loads an HTTP client, of which a build has no use.
    from conversion.fetch import Fetched

_TRTEXEC_OF_IMAGE = Path("/usr/src/tensorrt/bin/trtexec")
"""Where NVIDIA's images have it, which is not on their PATH."""
_LOAD_LIMIT_S = 600.0
_FILE_MODE = 0o644
# As trtexec of TensorRT 8 to 10 names what an engine gives.
_OUTPUT_LINE = re.compile(r"output binding for (\S+) with dimensions (\d+(?:x\d+)*)", re.I)


def find_trtexec() -> Path | None:
    """Return ``trtexec``: that of FACEKIT_TRTEXEC, of the PATH, or of NVIDIA's images."""
    named = os.environ.get("FACEKIT_TRTEXEC")
    if named:
        return Path(named)
    found = shutil.which("trtexec")
    if found:
        return Path(found)
    return _TRTEXEC_OF_IMAGE if _TRTEXEC_OF_IMAGE.exists() else None


def build_engine(
    job: Job,
    fetched: Fetched,
    *,
    repository: Path,
    work: Path,
    machine: Machine,
    tao_converter: Path | None,
    say: Say,
) -> EngineManifest:
    """Build a model's engine in ``work``, try it, and put it and its ``plan.json`` in place.

    Until the last step the repository's engine is the old one. The caller holds the locks of the
    repository and of ``work``, so what a killed run left there is nobody's and is removed.

    Args:
        job: the model and its weights.
        fetched: the network and its calibration cache.
        repository: the model repository.
        work: a folder of its own for this model; it is emptied.
        machine: what the engine is built with and for.
        tao_converter: the tool for ``.etlt`` files.
        say: takes what the tool prints, and words for people.

    Raises:
        BuildError: no engine that loads was made; says why as far as is known, and what to do.
    """
    model, weights = job.model, job.weights
    if machine.tensorrt is None or not machine.gpus:
        raise BuildError(
            f"{model.name}: building an engine needs TensorRT and an NVIDIA GPU, and here is "
            f"{'no TensorRT' if machine.tensorrt is None else 'no GPU'}: {REPAIR}"
        )
    precision, remark = precision_for(weights, machine)
    if remark:
        say(f"{model.name}: {remark}")
    _prepare(work, repository, model.name)
    engine = work / ENGINE_FILE
    argv = _command(job, fetched, engine, precision, machine, tao_converter)
    _make(argv, job, engine, precision, say)
    try_engine(engine, job, say)
    manifest = EngineManifest(
        model=model.name,
        weights=weights.name,
        config=weights.config,
        source=fetched.network.name,
        source_sha256=sha256_of(fetched.network),
        source_format=weights.format.value,
        tensorrt=machine.tensorrt,
        gpu=machine.gpus[0].name,
        compute_capability=machine.gpus[0].compute_capability,
        precision=precision.value,
        batch=model.batch,
        outputs=dict(weights.outputs),
        engine_sha256=sha256_of(engine),
        engine_bytes=engine.stat().st_size,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=tuple(redacted(argv, weights)),
        inputs={model.input: model.input_dims},
        calibration_sha256=(
            sha256_of(fetched.calibration)
            if precision is Precision.INT8 and fetched.calibration is not None
            else None
        ),
    )
    _put_in_place(engine, manifest, repository)
    shutil.rmtree(work, ignore_errors=True)
    say(f"{model.name}: engine of {manifest.engine_bytes:,} bytes is in place")
    return manifest


def _prepare(work: Path, repository: Path, model: str) -> None:
    """See that both folders can be written, before minutes are spent, and tidy them."""
    folder = engine_path(repository, model).parent
    try:
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
    except OSError as error:
        raise BuildError(f"{model}: {places.refused(work.parent, error)}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".*.part"):
            part.unlink()
        probe = folder / f".{ENGINE_FILE}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BuildError(f"{model}: {places.refused(folder, error)}") from error


def _command(
    job: Job,
    fetched: Fetched,
    engine: Path,
    precision: Precision,
    machine: Machine,
    tao_converter: Path | None,
) -> list[str]:
    model, weights = job.model, job.weights
    network, calibration = fetched.network, fetched.calibration
    if weights.format is Format.ONNX:
        tool = find_trtexec()
        if tool is None:
            raise BuildError(
                f"{model.name}: trtexec is not here (PATH, {_TRTEXEC_OF_IMAGE}, FACEKIT_TRTEXEC); "
                f"it comes with TensorRT: {REPAIR}"
            )
        return trtexec_build_command(
            tool, weights, model, network, calibration, engine, precision, machine.tensorrt
        )
    if tao_converter is None:
        raise BuildError(f"{model.name}: an .etlt needs tao-converter, and none was fetched")
    return tao_converter_command(
        tao_converter, weights, model, network, calibration, engine, precision
    )


def _make(argv: list[str], job: Job, engine: Path, precision: Precision, say: Say) -> None:
    """Run the tool; what counts is the engine, because its exit code says little."""
    name, weights, tool = job.model.name, job.weights, Path(argv[0]).name
    secret = None if weights.key_is_public else weights.key
    task = f"building {name} {precision.value.upper()}"
    say(f"{task} with {tool}")
    run = run_tool(argv, task=task, say=say, secret=secret)
    problem = _engine_problem(engine, run)
    if problem is not None:
        raise BuildError(explain(run, problem, tool, name))
    if run.code != 0:
        if find_trtexec() is None:
            problem = "there is no trtexec here to tell whether its engine is any good"
            raise BuildError(explain(run, problem, tool, name))
        say(f"{name}: {tool} {run.ending}, and there is an engine all the same: trying it")


def _engine_problem(engine: Path, run: ToolRun) -> str | None:
    if run.timed_out:
        return "so its engine is not used"
    try:
        empty = engine.stat().st_size == 0
    except FileNotFoundError:
        return f"it wrote no engine to {engine}"
    return "the engine is empty" if empty else None


def try_engine(engine: Path, job: Job, say: Say) -> None:
    """Load the engine and run it once, where ``trtexec`` is at hand.

    Raises:
        BuildError: it does not load, or gives other outputs than the weights say.
    """
    name, tool = job.model.name, find_trtexec()
    if tool is None:
        say(f"{name}: trtexec is not here, so the engine was not tried")
        return
    outputs: dict[str, tuple[int, ...]] = {}

    def listen(line: str) -> None:
        if match := _OUTPUT_LINE.search(line):
            outputs[match[1]] = tuple(int(part) for part in match[2].split("x"))
        # Hundreds of lines of timings; only what it says when it fails is of use.
        if not line.startswith("  | "):
            say(line)

    argv = trtexec_load_command(tool, engine, job.model, job.weights)
    run = run_tool(argv, task=f"trying {name}'s engine", say=listen, limit_s=_LOAD_LIMIT_S)
    if run.code != 0 or run.timed_out:
        raise BuildError(explain(run, "the engine does not load", tool.name, name))
    _compare_outputs(outputs, job)
    say(f"{name}: the engine loads and runs")


def _compare_outputs(found: dict[str, tuple[int, ...]], job: Job) -> None:
    """Hold what the engine gives to what the weights say, if ``trtexec`` told."""
    wanted = job.weights.outputs
    if not found:
        return
    same = set(found) == set(wanted) and all(
        # With or without the batch, as the engine is of explicit or implicit batch.
        tuple(wanted[name]) in (dims, dims[1:])
        for name, dims in found.items()
    )
    if not same:
        words = ", ".join(f"{name} {list(dims)}" for name, dims in found.items())
        raise BuildError(
            f"{job.model.name}: the engine gives {words}, and the weights {job.weights.name!r} "
            f"promise {', '.join(f'{name} {list(dims)}' for name, dims in wanted.items())}\n"
            "what to do: correct `outputs:` in the weights' stanza"
        )


def _put_in_place(engine: Path, manifest: EngineManifest, repository: Path) -> None:
    """Put an engine and its ``plan.json`` in place of the old ones.

    Each file appears whole, and if one of them can't be written both are the old ones again. Only
    a run that is killed, or a loss of power, between the two renames leaves the new engine with
    the old ``plan.json``: the server refuses that pair by its SHA-256, and the next run builds
    again.
    """
    model = manifest.model
    target, note = engine_path(repository, model), manifest_path(repository, model)
    part, note_part, old = (
        target.with_name(f".{name}.part") for name in (target.name, note.name, "old")
    )
    first = not target.exists()
    try:
        shutil.copyfile(engine, part)
        note_part.write_text(manifest.to_json(), "utf-8")
        for path in (part, note_part):
            path.chmod(_FILE_MODE)
            _sync(path)
        # Not every file system has links; there a failure is as a killed run is.
        with contextlib.suppress(OSError):
            old.hardlink_to(target)
        try:
            part.replace(target)
            note_part.replace(note)
        except BaseException:
            if old.exists():
                old.replace(target)
            elif first:
                target.unlink(missing_ok=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise BuildError(
            f"{manifest.model}: the engine can't be put in place: "
            f"{places.refused(target.parent, error)}, then run the converter again"
        ) from error
    finally:
        for left in (part, note_part, old):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
