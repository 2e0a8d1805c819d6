"""Find the engines that a server could not run, and how to repair them, before it starts.

TensorRT refuses a foreign engine with an assertion that does not name it, and Triton then lists
every model that depends on it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from facekit.contract import MODELS, is_optional
from facekit.engines.configs import active_configs, active_file, runs_engine
from facekit.engines.machine import Machine
from facekit.engines.manifest import (
    OPEN_WEIGHTS,
    REPAIR,
    VERSION_DIR,
    EngineManifest,
    engine_path,
    file_problem,
    manifest_path,
    read_manifest,
    repair_command,
    sha256_of,
)
from facekit.engines.releases import gpu_problem
from facekit.errors import ConfigError

_WITHOUT_GPU = "docker compose --profile cpu up triton-cpu"
# The only model whose tensors depend on the weights: the number of its points.
_DECIDES = "fpenet"


def active_config(repository: Path) -> str:
    """Return the name of the configurations that fit the engines; "" for ``config.pbtxt``."""
    try:
        manifest = read_manifest(repository, _DECIDES)
    except ConfigError:  # `check_engines` reports it
        return ""
    return "" if manifest is None else manifest.config


def needs_machine(repository: Path, config: str) -> bool:
    """Return whether any model is served by TensorRT; raises ConfigError for unreadable files."""
    return any(map(runs_engine, active_configs(repository, config).values()))


def check_engines(
    repository: Path, models: Iterable[str] | None, machine: Machine, config: str | None = None
) -> list[str]:
    """Return a sentence for each problem that keeps a model's engine or pipeline from serving.

    Each names the model and the file, and ends with the command that repairs it. ``models`` are
    names, ``None`` for all; ``config`` is the set of ``configs/<name>.pbtxt`` that is served, by
    default the one that the engines were built for, which then must be the same for all of them.
    """
    name = active_config(repository) if config is None else config
    try:
        configs = active_configs(repository, name)
    except ConfigError as error:
        return [f"{error}: correct the file"]
    wanted = set(configs) if models is None else set(models)
    engines = {
        model: found
        for model, found in configs.items()
        if model in wanted and runs_engine(found) and _is_ours(repository, model)
    }
    problems = _machine_problems(machine) if engines else []
    for model, found in engines.items():
        own = _engine_problems(repository, model, found, name, machine)
        problems += [f"{model}: {problem}" for problem in own]
    if config is None:
        problems += _mixed_problems(repository, engines, name)
    for model, found in configs.items():
        if model in wanted and found.backend == "dali":
            problems += _pipeline_problems(repository / model, found)
    return problems


def _is_ours(repository: Path, model: str) -> bool:
    """Return whether the converter builds this engine; any other is left to Triton to check."""
    return model in MODELS or manifest_path(repository, model).exists()


def _mixed_problems(repository: Path, models: Iterable[str], served: str) -> list[str]:
    """Return a sentence for each engine that was built for other configurations than are served.

    A server has one set of configurations, with the thresholds of the detector and the number of
    points. The mask detector has the same configuration in all sets.
    """
    problems = []
    for model in models:
        try:
            manifest = read_manifest(repository, model)
            decides = read_manifest(repository, _DECIDES)
        except ConfigError:  # `_engine_problems` reports it
            continue
        if manifest is None or decides is None or is_optional(model) or manifest.config == served:
            continue
        problems.append(
            f"{model}: its engine is for {_config_file(manifest.config)}, that of {_DECIDES} is "
            f"for {_config_file(served)}, and a server has one of them; repair it with: "
            f"{repair_command(model, decides.weights)}"
        )
    return problems


def _machine_problems(machine: Machine) -> list[str]:
    why = "".join(f" ({note})" for note in machine.notes)
    if machine.tensorrt is None:
        return [
            f"this server has no TensorRT (libnvinfer){why}, which engines need; "
            f"without it: {_WITHOUT_GPU}"
        ]
    if not machine.gpus:
        return [
            f"this server has no NVIDIA GPU{why}, which engines need; check the driver and the "
            f"NVIDIA container toolkit; without a GPU: {_WITHOUT_GPU}"
        ]
    kinds = list(dict.fromkeys(map(str, machine.gpus)))
    if len(kinds) > 1:
        return [
            f"this server has several kinds of GPU ({', '.join(kinds)}), and an engine runs on "
            f"one; select one kind by CUDA_VISIBLE_DEVICES or the device_ids of "
            f"docker-compose.yml, then: {REPAIR}"
        ]
    problem = gpu_problem(machine.gpus[0], machine.tensorrt)
    if problem is None:
        return []
    return [f"{problem}, then build and convert again; without a GPU: {_WITHOUT_GPU}"]


def _engine_problems(
    repository: Path, model: str, config: Any, name: str, machine: Machine
) -> list[str]:
    engine = engine_path(repository, model)
    try:
        manifest = read_manifest(repository, model)
    except ConfigError as error:
        repair = repair_command(model)
        return [f"the description of its engine is damaged: {error}; repair it with: {repair}"]
    repair = repair_command(model, None if manifest is None else manifest.weights)
    if not engine.is_file():
        return [f"the engine {engine} is missing; repair it with: {repair}"]
    if manifest is None:
        return [
            f"{manifest_path(repository, model)} is missing, which states what the engine "
            f"{engine.name} was built for; repair it with: {repair}"
        ]
    problem = (
        file_problem(engine, manifest)
        or _tensorrt_problem(engine, manifest, machine)
        or _gpu_problem(engine, manifest, machine)
        or _source_problem(repository, manifest)
    )
    problems = [] if problem is None else [f"{problem}; repair it with: {repair}"]
    return problems + _config_problems(manifest, config, repository / model, name)


def _tensorrt_problem(engine: Path, manifest: EngineManifest, machine: Machine) -> str | None:
    if machine.tensorrt is None or _patch(manifest.tensorrt) == _patch(machine.tensorrt):
        return None
    return (
        f"the engine {engine} was built by TensorRT {manifest.tensorrt}, and this server has "
        f"{machine.tensorrt}"
    )


def _patch(version: str) -> str:
    """Return major, minor and patch: a fourth number tells builds of one version apart."""
    return ".".join(version.split(".")[:3])


def _gpu_problem(engine: Path, manifest: EngineManifest, machine: Machine) -> str | None:
    built = (manifest.gpu, manifest.compute_capability)
    if len(set(machine.gpus)) > 1:  # `_machine_problems` reports it
        return None
    for gpu in machine.gpus:
        if (gpu.name, gpu.compute_capability) != built:
            return f"the engine {engine} was built for {built[0]} ({built[1]}), and this is {gpu}"
    return None


def _source_problem(repository: Path, manifest: EngineManifest) -> str | None:
    source = repository / manifest.model / VERSION_DIR / manifest.source
    if manifest.weights != OPEN_WEIGHTS or not source.is_file():
        return None
    try:
        if sha256_of(source) == manifest.source_sha256:
            return None
    except OSError as error:
        return f"the network {source} can't be read ({error.strerror})"
    return f"the network {source} was changed after its engine was built"


def _config_problems(manifest: EngineManifest, config: Any, model: Path, name: str) -> list[str]:
    file = active_file(model, name)
    repair = repair_command(manifest.model, manifest.weights)
    remedy = f"choose weights that fit, or correct the file, then: {repair}"
    if name != manifest.config and not is_optional(manifest.model):
        option = f"--config-name '{manifest.config}'"
        remedy = f"the engine is for {_config_file(manifest.config)}: facekit serve {option}"
    problems = []
    for output in config.output:
        dims = manifest.outputs.get(output.name)
        if dims is None:
            given = ", ".join(manifest.outputs)
            problems.append(
                f"{file} has the output {output.name}, and the engine has {given}; {remedy}"
            )
        elif not _fits(tuple(output.dims), tuple(dims)):
            problems.append(
                f"{file} has {output.name} {list(output.dims)}, and the engine has "
                f"{list(dims)}; {remedy}"
            )
    batch = manifest.batch
    if config.max_batch_size > batch.maximum:
        problems.append(
            f"{file} allows batches of {config.max_batch_size}, and the engine takes "
            f"{batch.maximum} at most; repair it with: {repair}"
        )
    if batch.minimum > 1:
        problems.append(
            f"the engine takes no batch below {batch.minimum}, and single photos would fail; "
            f"repair it with: {repair}"
        )
    return problems


def _fits(wanted: tuple[int, ...], given: tuple[int, ...]) -> bool:
    return len(wanted) == len(given) and all(
        want in (-1, got) for want, got in zip(wanted, given, strict=True)
    )


def _pipeline_problems(model: Path, config: Any) -> list[str]:
    file = model / VERSION_DIR / (config.default_model_filename or "model.dali")
    if file.is_file() and file.stat().st_size > 0:
        return []
    return [f"{model.name}: the pipeline {file} is missing; repair it with: {REPAIR}"]


def _config_file(name: str) -> str:
    return f"configs/{name}.pbtxt" if name else "config.pbtxt"
