"""Whether an engine has to be built again, and which precision it can be built in here."""

from pathlib import Path

from conversion.catalog import Job, Precision, Weights
from conversion.commands import states_precision
from facekit.engines.machine import Gpu, Machine, supports
from facekit.engines.manifest import (
    HALF_SUFFIX,
    EngineManifest,
    engine_path,
    file_problem,
    read_manifest,
    sha256_of,
)
from facekit.errors import ConfigError


def reason_to_build(
    job: Job, network: Path | None, repository: Path, machine: Machine, force: bool
) -> str | None:
    """Return why a model's engine has to be built; ``None`` if the existing one fits.

    The calibration cache is beside ``network``. Where that is ``None``, and where ``machine`` has
    no TensorRT or no GPU, these are not compared.
    """
    if force:
        return "--force"
    model = job.model.name
    engine = engine_path(repository, model)
    if not engine.is_file():
        return "there is no engine yet"
    try:
        manifest = read_manifest(repository, model)
    except ConfigError as error:
        return f"its plan.json is damaged: {error}"
    if manifest is None:
        return "its plan.json is missing"
    return (
        file_problem(engine, manifest)
        or _other_source(manifest, job, network)
        or _other_machine(manifest, machine)
        or _other_shape(manifest, job, machine)
    )


def precision_for(weights: Weights, machine: Machine) -> tuple[Precision, str | None]:
    """Return the precision that an engine can have here, and why if it is not the one asked for."""
    asked = weights.precision
    if states_precision(machine.tensorrt):
        states_it = weights.holds_scales or weights.network.endswith(HALF_SUFFIX)
        if asked is Precision.FP32 or states_it:
            return asked, None
        return Precision.FP32, (
            f"TensorRT {machine.tensorrt} computes in the types that the network's file states, "
            f"and takes no request for {asked.value.upper()}; counted as FP32"
            f" (FP16 takes a file *{HALF_SUFFIX} beside it, which the trainers' export writes)"
        )
    if not machine.gpus:
        return asked, None
    gpu = machine.gpus[0]
    order = list(Precision)
    chosen = next(
        choice
        for choice in order[order.index(asked) :]
        if supports(gpu.compute_capability, choice.value)
    )
    if chosen is asked:
        return asked, None
    if weights.holds_scales:
        return asked, (
            f"{_described(gpu)} has no fast INT8, and the network is quantized, so that it cannot "
            "be built in another precision; if the build fails, take the network as it was before"
        )
    slow, fast = asked.value.upper(), chosen.value.upper()
    return chosen, f"{_described(gpu)} has no fast {slow}: building {fast} instead"


def _other_source(manifest: EngineManifest, job: Job, network: Path | None) -> str | None:
    weights = job.weights
    if manifest.weights != weights.name:
        return f"the engine was made of the weights {manifest.weights!r}, not {weights.name!r}"
    if manifest.source_format != weights.format.value:
        return f"the engine was made of {manifest.source_format}, not {weights.format.value}"
    if network is None:
        return None
    if sha256_of(network) != manifest.source_sha256:
        return f"the network {network.name} has changed since its engine was built"
    if manifest.precision == Precision.INT8.value and weights.calibration is not None:
        calibration = network.with_name(weights.calibration)
        if sha256_of(calibration) != manifest.calibration_sha256:
            return f"the cache {calibration.name} has changed since the engine was built"
    return None


def _other_machine(manifest: EngineManifest, machine: Machine) -> str | None:
    if machine.tensorrt is not None and manifest.tensorrt != machine.tensorrt:
        return f"the engine is for TensorRT {manifest.tensorrt}, here is {machine.tensorrt}"
    if machine.gpus:
        gpu = machine.gpus[0]
        built = Gpu(manifest.gpu, manifest.compute_capability)
        if gpu != built:
            return f"the engine is for {_described(built)}, here is {_described(gpu)}"
    return None


def _other_shape(manifest: EngineManifest, job: Job, machine: Machine) -> str | None:
    precision, _ = precision_for(job.weights, machine)
    if manifest.precision != precision.value:
        built, wanted = manifest.precision.upper(), precision.value.upper()
        return f"the engine computes in {built}, {wanted} is wanted"
    if manifest.batch != job.model.batch:
        return f"the engine takes batches of {manifest.batch}, {job.model.batch} is wanted"
    if manifest.inputs != {job.model.input: job.model.input_dims}:
        return "the engine's input is not the model's"
    if manifest.outputs != dict(job.weights.outputs):
        return "the engine's outputs are not those of the weights"
    if manifest.config != job.weights.config:
        return f"the engine is for the configurations {manifest.config!r}, not the weights'"
    return None


def _described(gpu: Gpu) -> str:
    return f"{gpu.name} (compute capability {gpu.compute_capability})"
