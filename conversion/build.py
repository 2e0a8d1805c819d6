"""Build an engine, check that it loads, and only then replace the old one."""

import contextlib
import os
import re
import shutil
from datetime import datetime, timezone
from pathlib import Path

from conversion.catalog import Format, Job, Precision
from conversion.commands import build_command, load_command, redacted
from conversion.errors import BuildError
from conversion.paths import Say, not_writable
from conversion.tool_process import ToolRun, explain, run_tool
from facekit.engines.machine import Machine
from facekit.engines.manifest import (
    ENGINE_FILE,
    REPAIR,
    EngineManifest,
    engine_path,
    manifest_path,
    sha256_of,
)
from facekit.files import check_writable, sync_to_disk

_TRTEXEC_OF_IMAGE = Path("/usr/src/tensorrt/bin/trtexec")
"""Where NVIDIA's images have it, which is not on their PATH."""
_LOAD_LIMIT_S = 600.0
_FILE_MODE = 0o644
# As trtexec of TensorRT 8 to 10 names an engine's outputs.
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
    network: Path,
    precision: Precision,
    *,
    repository: Path,
    work: Path,
    machine: Machine,
    tao_converter: Path | None,
    say: Say,
) -> EngineManifest:
    """Build a model's engine in ``work``, check it, and put it and its ``plan.json`` in place.

    Until the last step the repository's engine is the old one. The caller holds the locks of the
    repository and of ``work``, so what a killed run left there belongs to nobody and is removed.
    The calibration cache is beside ``network``; ``machine`` has TensorRT and a GPU. A BuildError
    says why no engine that loads was made, and what to do.
    """
    model, weights = job.model, job.weights
    assert machine.tensorrt is not None
    _prepare(work, repository, model.name)
    engine = work / ENGINE_FILE
    argv = build_command(
        job, _tool(job, tao_converter), network, engine, precision, machine.tensorrt
    )
    _run_builder(argv, job, engine, precision, say)
    check_engine(engine, job, say)
    uses_cache = precision is Precision.INT8 and weights.calibration is not None
    manifest = EngineManifest(
        model=model.name,
        weights=weights.name,
        config=weights.config,
        source=network.name,
        source_sha256=sha256_of(network),
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
            sha256_of(network.with_name(weights.calibration or "")) if uses_cache else None
        ),
    )
    _put_in_place(engine, manifest, repository)
    shutil.rmtree(work, ignore_errors=True)
    say(f"{model.name}: engine of {manifest.engine_bytes:,} bytes is in place")
    return manifest


def _prepare(work: Path, repository: Path, model: str) -> None:
    """Check that both folders can be written before minutes are spent, and clean them up."""
    folder = engine_path(repository, model).parent
    try:
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
    except OSError as error:
        raise BuildError(f"{model}: {not_writable(work.parent, error)}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".*.part"):
            part.unlink()
        check_writable(folder)
    except OSError as error:
        raise BuildError(f"{model}: {not_writable(folder, error)}") from error


def _tool(job: Job, tao_converter: Path | None) -> Path:
    if job.weights.format is not Format.ONNX:
        if tao_converter is None:
            raise BuildError(f"{job.model.name}: an .etlt needs tao-converter, which is missing")
        return tao_converter
    tool = find_trtexec()
    if tool is None:
        raise BuildError(
            f"{job.model.name}: trtexec is not here (PATH, {_TRTEXEC_OF_IMAGE}, FACEKIT_TRTEXEC); "
            f"it comes with TensorRT: {REPAIR}"
        )
    return tool


def _run_builder(argv: list[str], job: Job, engine: Path, precision: Precision, say: Say) -> None:
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
            problem = "there is no trtexec here to check its engine"
            raise BuildError(explain(run, problem, tool, name))
        say(f"{name}: {tool} {run.ending}, and there is an engine all the same: checking it")


def _engine_problem(engine: Path, run: ToolRun) -> str | None:
    if run.timed_out:
        return "so its engine is not used"
    try:
        empty = engine.stat().st_size == 0
    except FileNotFoundError:
        return f"it wrote no engine to {engine}"
    return "the engine is empty" if empty else None


def check_engine(engine: Path, job: Job, say: Say) -> None:
    """Load the engine and run it once, if ``trtexec`` is here; a BuildError says what is wrong."""
    name, tool = job.model.name, find_trtexec()
    if tool is None:
        say(f"{name}: trtexec is not here, so the engine was not checked")
        return
    outputs: dict[str, tuple[int, ...]] = {}

    def listen(line: str) -> None:
        if match := _OUTPUT_LINE.search(line):
            outputs[match[1]] = tuple(int(part) for part in match[2].split("x"))
        # Hundreds of lines of timings; only what it says when it fails is of use.
        if not line.startswith("  | "):
            say(line)

    argv = load_command(job, tool, engine)
    run = run_tool(argv, task=f"checking {name}'s engine", say=listen, limit_s=_LOAD_LIMIT_S)
    if run.code != 0 or run.timed_out:
        raise BuildError(explain(run, "the engine does not load", tool.name, name))
    _compare_outputs(outputs, job)
    say(f"{name}: the engine loads and runs")


def _compare_outputs(found: dict[str, tuple[int, ...]], job: Job) -> None:
    """Compare the engine's outputs, if ``trtexec`` printed them, with those of the weights."""
    wanted = job.weights.outputs
    if not found:
        return
    same = set(found) == set(wanted) and all(
        # With or without the batch, as the engine is of explicit or implicit batch.
        tuple(wanted[name]) in (dims, dims[1:])
        for name, dims in found.items()
    )
    if not same:
        has, expected = (
            ", ".join(f"{name} {list(dims)}" for name, dims in outputs.items())
            for outputs in (found, wanted)
        )
        raise BuildError(
            f"{job.model.name}: the engine has the outputs {has}, and the weights "
            f"{job.weights.name!r} have {expected}\n"
            "what to do: correct `outputs:` in the weights' entry"
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
            sync_to_disk(path)
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
        sync_to_disk(target.parent)
    except OSError as error:
        raise BuildError(
            f"{manifest.model}: the engine cannot be put in place: "
            f"{not_writable(target.parent, error)}; then run the converter again"
        ) from error
    finally:
        for left in (part, note_part, old):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)
