"""What a run would do, and why: found out without the network, and without writing anything."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conversion import catalog_file, commands, places, releases
from conversion.catalog import Catalog, Format, Job, License, Precision, Weights
from conversion.errors import ConversionError
from conversion.plan import Download, EnginePlan, PipelineFile, Plan
from conversion.reasons import precision_for, reason_to_build
from facekit.contract import MODELS
from facekit.engines.machine import Machine
from facekit.engines.manifest import MANIFEST_FILE, VERSION_DIR, engine_path

TAO_CONVERTER = "tao-converter"
TRTEXEC = "trtexec"
ENGINE = "$ENGINE"
"""Stands for the engine's temporary file in the commands that are printed."""

_DALI_FILE = re.compile(r'default_model_filename:\s*"([^"]+\.dali)"')
_BARE = re.compile(r"[\w@%+=:,./$-]+")


@dataclass(frozen=True)
class Circumstances:
    """Where a run takes place and what was asked for, other than the weights."""

    repository: Path
    weights_dir: Path
    machine: Machine
    accepted: bool = False
    force: bool = False
    device: str = "gpu"
    triton: str | None = None


def make_plan(
    jobs: Sequence[Job], about: Circumstances, environment: Mapping[str, str] = os.environ
) -> Plan:
    """Find out what would be done.

    Raises:
        ConversionError: the release asked for is unknown, or a table is wrong.
    """
    table = releases.load()
    machine = about.machine
    if machine.tensorrt is None or about.triton:
        found = table.by_tag(about.triton) if about.triton else table.default
        tensorrt, release, wheel = found.tensorrt, found.tag, found.dali_wheel
    else:
        here = table.here(environment) or table.by_tensorrt(machine.tensorrt)
        tensorrt, release, wheel = machine.tensorrt, None, here.dali_wheel if here else ""
    engines = tuple(_engine(job, about, table, tensorrt, environment) for job in jobs)
    return Plan(
        machine,
        release,
        tensorrt,
        wheel,
        about.repository,
        about.weights_dir,
        about.device,
        engines,
        tuple(pipeline_files(about.repository, about.device)),
    )


def pipeline_files(repository: Path, device: str) -> list[PipelineFile]:
    """Return the DALI files that are written for a device.

    Each color of a pipeline is committed for the CPU, so those files name all there are; the
    configuration names what is served. DALI itself would take seconds to ask.
    """
    found = []
    for name, spec in MODELS.items():
        if spec.backend != "dali":
            continue
        folder = repository / name / VERSION_DIR
        names = {path.name for path in folder.glob("*cpu.dali")}
        for config in (repository / name / "config.pbtxt", *(repository / name).glob("configs/*")):
            if config.is_file():
                names |= set(_DALI_FILE.findall(config.read_text("utf-8", "replace")))
        targets = {re.sub(r"(^|\.)(cpu|gpu)\.dali$", rf"\1{device}.dali", name) for name in names}
        found += [PipelineFile(folder / n, (folder / n).is_file()) for n in sorted(targets)]
    return found


def command_lines(catalog: Catalog | None = None) -> list[str]:
    """Return every command that the kit's own weights are built with, as a shell takes it.

    Below each source of weights come its own precision, those it falls back to where the GPU lacks
    one, and how the engine is tried out. Paths are the converter image's; ``$ENGINE`` is a file
    beside the model's.
    """
    if catalog is None:
        catalog = catalog_file.load(repository=Path("/models"))
    lines: list[str] = []
    for model in catalog.models.values():
        for weights in model.weights.values():
            job = Job(model, weights)
            lines.append(f"# {model.name}, weights {weights.name}")
            for precision in _fallbacks(weights.precision):
                lines.append(shell(_build_command(job, Path("/weights"), precision)))
            lines.append(shell(commands.trtexec_load_command(TRTEXEC, ENGINE, model, weights)))
    return lines


def shell(argv: Sequence[str]) -> str:
    """Return arguments as a line for a shell, with ``$NAME`` left to it.

    >>> shell(["trtexec", "--saveEngine=$ENGINE", "--onnx=my network.onnx"])
    "trtexec --saveEngine=$ENGINE '--onnx=my network.onnx'"
    """
    return " ".join(word if _BARE.fullmatch(word) else shlex.quote(word) for word in argv)


def _engine(
    job: Job,
    about: Circumstances,
    table: releases.Releases,
    tensorrt: str,
    environment: Mapping[str, str],
) -> EnginePlan:
    weights = job.weights
    # As it will be where the engine is built.
    machine = dataclasses.replace(about.machine, tensorrt=tensorrt)
    warnings, problem = [], None
    version = ""
    try:
        warning = table.check(weights, tensorrt, machine.architecture)
        warnings += [warning] if warning else []
        if weights.format is not Format.ONNX:
            version = table.tao_converter(tensorrt, machine.architecture)
    except ConversionError as error:
        problem = str(error)
    precision, remark = precision_for(weights, machine)
    warnings += [remark] if remark else []
    network = places.network_of(weights, about.weights_dir)
    engine = engine_path(about.repository, weights.model)
    downloads: tuple[Download, ...] = ()
    try:
        downloads = tuple(_downloads(weights, about.weights_dir, version, environment))
    except ConversionError as error:
        problem = problem or str(error)
    license = _terms(
        weights, any(d.path.name == TAO_CONVERTER and not d.present for d in downloads)
    )
    reason = reason_to_build(job, network, about.repository, machine, about.force)
    return EnginePlan(
        model=weights.model,
        weights=weights.name,
        note=weights.note,
        license=license.name,
        license_url=license.url,
        accepted=about.accepted if license.accept else None,
        source=weights.ngc.label if weights.ngc else str(_network(weights, about.weights_dir)),
        downloads=downloads,
        tool=TRTEXEC if weights.format is Format.ONNX else TAO_CONVERTER,
        tool_version=version,
        precision=precision.value,
        reason=reason,
        engine=engine,
        manifest=engine.with_name(MANIFEST_FILE),
        config=f"configs/{weights.config}.pbtxt" if weights.config else "config.pbtxt",
        command=tuple(_build_command(job, about.weights_dir, precision, tensorrt)),
        check=tuple(commands.trtexec_load_command(TRTEXEC, ENGINE, job.model, weights)),
        warnings=tuple(warnings),
        problem=problem,
    )


def _downloads(
    weights: Weights, directory: Path, converter: str, environment: Mapping[str, str]
) -> list[Download]:
    from conversion.fetch import find_tao_converter
    from conversion.ngc import Artifact, base_url

    base = base_url(environment)
    folder = places.folder_of(weights, directory)
    found = []
    for name in (weights.network, weights.calibration):
        if name is not None and weights.ngc is not None:
            known = {file.name: file for file in weights.ngc.files}
            size, path = known[name].size, folder / name
            present = path.is_file() and size in (None, path.stat().st_size)
            url = Artifact.of(weights.ngc).urls(base, name)[0]
            found.append(Download(url, path, size, present))
    if converter:
        artifact = Artifact("resources", "nvidia", "tao", TAO_CONVERTER, converter)
        there = find_tao_converter(converter, directory)
        path = there or directory / f"{TAO_CONVERTER}_{converter}" / TAO_CONVERTER
        url = artifact.urls(base, TAO_CONVERTER)[0]
        found.append(Download(url, path, None, there is not None))
    return found


def _terms(weights: Weights, fetches_tool: bool) -> License:
    """Return the terms of all that is fetched for some weights."""
    own, tool = weights.license, releases.TOOL_LICENSE
    if not fetches_tool or own == tool:
        return own
    words = ", ".join(filter(None, (own.name, own.url)))
    return dataclasses.replace(tool, name=f"{words}; those of tao-converter: {tool.name}")


def _build_command(
    job: Job, directory: Path, precision: Precision, tensorrt: str | None = None
) -> list[str]:
    weights = job.weights
    network = _network(weights, directory)
    needs_cache = weights.calibration is not None and precision is Precision.INT8
    calibration = network.with_name(weights.calibration or "") if needs_cache else None
    if weights.format is Format.ONNX:
        argv = commands.trtexec_build_command(
            TRTEXEC, weights, job.model, network, calibration, ENGINE, precision, tensorrt
        )
    else:
        argv = commands.tao_converter_command(
            TAO_CONVERTER, weights, job.model, network, calibration, ENGINE, precision
        )
    return commands.redacted(argv, weights)


def _network(weights: Weights, directory: Path) -> Path:
    return places.folder_of(weights, directory) / weights.network


def _fallbacks(precision: Precision) -> list[Precision]:
    every = list(Precision)
    return every[every.index(precision) :]
