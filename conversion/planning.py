"""Decide what a run does, and why: without the network, and without writing anything."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from conversion import commands
from conversion.catalog import Format, Job, License, Precision
from conversion.catalog_file import load_catalog
from conversion.errors import ConversionError
from conversion.ngc import Artifact, base_url, find_tao_converter, tao_converter_folders
from conversion.plan import Download, EnginePlan, Options, PipelineFile, Plan
from conversion.releases import TAG_VARIABLE, TOOL_LICENSE, Releases, load_releases
from conversion.staleness import precision_for, reason_to_build
from facekit.contract import MODELS
from facekit.engines.machine import Machine
from facekit.engines.manifest import VERSION_DIR, engine_path, manifest_path

_DALI_FILE = re.compile(r'default_model_filename:\s*"([^"]+\.dali)"')


def make_plan(
    jobs: Sequence[Job],
    options: Options,
    machine: Machine,
    environment: Mapping[str, str] = os.environ,
) -> Plan:
    """Decide what is done about every engine and pipeline.

    Raises ConversionError if the release asked for is unknown, or a table is wrong.
    """
    table = load_releases()
    weights, release = [job.weights for job in jobs], None
    tag, tensorrt = environment.get(TAG_VARIABLE, ""), machine.tensorrt
    notes: list[str] = []
    if tensorrt is None or options.triton:
        tag = release = options.triton or table.best(weights, machine.gpus[:1])
        nearest, note = table.nearest(tag)
        tensorrt, cuda = table.known[nearest].tensorrt, table.known[nearest].cuda
        notes.append(f"made for CUDA {cuda}, NVIDIA driver {table.known[nearest].driver} or newer")
    else:
        nearest, note = table.nearest(tag, tensorrt)
    jobs = [commands.for_tensorrt(job, tensorrt) for job in jobs]
    # As it will be where the engine is built.
    target = dataclasses.replace(machine, tensorrt=tensorrt)
    return Plan(
        machine,
        release,
        tensorrt,
        tuple(filter(None, (*notes, note, *table.notes(nearest, weights)))),
        options.repository,
        options.weights_dir,
        options.device,
        tuple(_engine(job, options, target, tensorrt, table, environment) for job in jobs),
        tuple(pipeline_files(options.repository, options.device)),
    )


def pipeline_files(repository: Path, device: str) -> list[PipelineFile]:
    """Return the DALI files that are written for a device.

    Each color of a pipeline is committed for the CPU, so those files name all there are; the
    configuration names what is served. DALI itself would take seconds to import.
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


def command_lines() -> list[str]:
    """Return every command that the kit's own weights are built with, as a shell takes it.

    Under each source of weights come its own precision, those it falls back to where the GPU lacks
    one, and how the engine is checked. Paths are the converter image's.
    """
    lines: list[str] = []
    every = list(Precision)
    for model in load_catalog(repository=Path("/models")).values():
        for weights in model.weights.values():
            job = Job(model, weights)
            network = weights.folder_in(Path("/weights")) / weights.network
            lines.append(f"# {model.name}, weights {weights.name}")
            for precision in every[every.index(weights.precision) :]:
                argv = commands.build_command(job, _tool(job), network, commands.ENGINE, precision)
                lines.append(commands.shell(commands.redacted(argv, weights)))
            lines.append(
                commands.shell(commands.load_command(job, commands.TRTEXEC, commands.ENGINE))
            )
    return lines


def _tool(job: Job) -> str:
    return commands.TRTEXEC if job.weights.format is Format.ONNX else commands.TAO_CONVERTER


def _engine(
    job: Job,
    options: Options,
    machine: Machine,
    tensorrt: str,
    table: Releases,
    environment: Mapping[str, str],
) -> EnginePlan:
    weights = job.weights
    warnings: list[str | None] = []
    problem, version = None, ""
    downloads: list[Download] = []
    try:
        warnings.append(table.check(weights, tensorrt, machine.architecture, machine.gpus[:1]))
        if weights.format is not Format.ONNX:
            version = table.tao_converter(tensorrt, machine.architecture)
        downloads = _downloads(job, options.weights_dir, version, environment)
    except ConversionError as error:
        problem = str(error)
    precision, remark = precision_for(weights, machine)
    present = weights.find(options.weights_dir)
    network = weights.folder_in(options.weights_dir) / weights.network
    copies = options.source is not None
    fetches_tool = any(d.path.name == commands.TAO_CONVERTER and not d.present for d in downloads)
    name, to_accept = f"{weights.model}={weights.name}", []
    if weights.license.accept and (copies or present is None):
        to_accept.append((name, weights.license))
    if fetches_tool or (copies and version):
        to_accept.append((f"{commands.TAO_CONVERTER}, needed for {name}", TOOL_LICENSE))
    argv = commands.build_command(job, _tool(job), network, commands.ENGINE, precision, tensorrt)
    return EnginePlan(
        job=job,
        license=_license(weights.license, fetches_tool),
        to_accept=tuple(to_accept),
        accepted=options.accepted if to_accept else None,
        downloads=tuple(downloads),
        tool=_tool(job),
        tool_version=version,
        precision=precision,
        reason=reason_to_build(job, present, options.repository, machine, options.force),
        network=network,
        engine=engine_path(options.repository, weights.model),
        manifest=manifest_path(options.repository, weights.model),
        command=tuple(commands.redacted(argv, weights)),
        check=tuple(commands.load_command(job, commands.TRTEXEC, commands.ENGINE)),
        warnings=tuple(filter(None, (*warnings, remark))),
        problem=problem,
    )


def _downloads(
    job: Job, directory: Path, converter: str, environment: Mapping[str, str]
) -> list[Download]:
    weights, base = job.weights, base_url(environment)
    found = []
    for name, file in weights.files.items() if weights.ngc else ():
        assert weights.ngc is not None
        path = directory / weights.ngc.folder / name
        present = path.is_file() and file.size in (None, path.stat().st_size)
        url = Artifact.model(weights.ngc).urls(base, name)[0]
        found.append(Download(url, path, file.size, present))
    if converter:
        there = find_tao_converter(converter, directory)
        path = there or directory / tao_converter_folders(converter)[0] / commands.TAO_CONVERTER
        url = Artifact.tao_converter(converter).urls(base, commands.TAO_CONVERTER)[0]
        found.append(Download(url, path, None, there is not None))
    return found


def _license(own: License, fetches_tool: bool) -> License:
    """Return the license of all that is fetched for some weights."""
    if not fetches_tool or own == TOOL_LICENSE:
        return own
    name = ", ".join(filter(None, (own.name, own.url)))
    return License(
        name=f"{name}; that of tao-converter: {TOOL_LICENSE.name}",
        url=TOOL_LICENSE.url,
        accept=True,
    )
