"""The arguments that ``tao-converter`` and ``trtexec`` are called with.

The build runs these lists, the plan prints them, and the tests' stand-ins for the tools accept
nothing else. Paths may be symbolic (``$ENGINE``): no file is opened.
"""

import dataclasses
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from conversion.catalog import Format, Job, Model, Precision, Weights
from conversion.errors import BuildError
from facekit.engines.manifest import HALF_SUFFIX, sha256_of

FileName = str | os.PathLike[str]

TAO_CONVERTER = "tao-converter"
TRTEXEC = "trtexec"
ENGINE = "$ENGINE"
"""Stands for the engine's temporary file in the commands that are printed."""

_BARE = re.compile(r"[\w@%+=:,./$-]+")

_CALIBRATION_BATCH = 8
"""Photos a batch of a calibration: the tool's own default (TAO Converter documentation)."""

_WORKSPACE_MIB = 1024
"""Scratch memory for the builder, as much as ``tao-converter`` takes by default. ``trtexec`` would
take all of the GPU's, which a server may be using at the same time."""

_STRONGLY_TYPED_SINCE = 11
"""From TensorRT 11 on a network is computed in the types its file states; ``--fp16``, ``--int8``
and ``--calib`` are gone (NVIDIA's guide for the move from 10 to 11)."""


def build_command(
    job: Job,
    tool: FileName,
    network: Path,
    engine: FileName,
    precision: Precision,
    tensorrt: str | None = None,
) -> list[str]:
    """Return the arguments that make an engine: of ``tao-converter``, or ``trtexec`` for ONNX.

    The calibration cache is beside ``network``. From ``tensorrt`` 11 on, a version such as
    ``8.6.3``, ``precision`` has no effect. Raises BuildError for INT8 without a calibration cache.
    """
    model, weights = job.model, job.weights
    shapes = [_shape(model, size) for size in _sizes(model)]
    if weights.format is Format.ONNX:
        argv = [os.fspath(tool), f"--onnx={os.fspath(network)}"]
        for name, size in zip(("min", "opt", "max"), _sizes(model), strict=True):
            argv.append(f"--{name}Shapes={shape_spec(model, size)}")
        if not states_precision(tensorrt):
            if precision is Precision.INT8:
                argv += ["--int8", "--fp16"]
                if not weights.holds_scales:
                    argv.append(f"--calib={_calibration(weights, network)}")
            elif precision is Precision.FP16:
                argv.append("--fp16")
        return [
            *argv,
            f"--memPoolSize=workspace:{_WORKSPACE_MIB}",
            "--skipInference",
            f"--saveEngine={os.fspath(engine)}",
        ]
    argv = [os.fspath(tool), "-k", weights.key or "", "-t", precision.value]
    if precision is Precision.INT8:
        argv += ["-c", _calibration(weights, network), "-b", str(_CALIBRATION_BATCH)]
    if weights.format is Format.UFF_ETLT:
        # A fixed graph of implicit batch: dims, outputs and the largest batch; -p is ignored here.
        argv += [
            *("-d", ",".join(map(str, model.input_dims))),
            *("-o", ",".join(weights.outputs)),
            *("-m", str(model.batch.maximum)),
        ]
    else:
        # An ONNX graph brings its dims and outputs along; NVIDIA's own script names neither.
        argv += ["-p", ",".join([model.input, *shapes])]
    return [*argv, "-e", os.fspath(engine), os.fspath(network)]


def load_command(job: Job, tool: FileName, engine: FileName) -> list[str]:
    """Return the arguments of ``trtexec`` that load an engine and run it once on a single sample.

    Whether ``--skipInference`` reads more than the file's header differs between releases, so one
    inference is asked for.
    """
    argv = [os.fspath(tool), f"--loadEngine={os.fspath(engine)}"]
    implicit = job.weights.format is Format.UFF_ETLT
    argv.append("--batch=1" if implicit else f"--shapes={shape_spec(job.model, 1)}")
    return [*argv, "--warmUp=0", "--duration=0", "--iterations=1"]


def states_precision(tensorrt: str | None) -> bool:
    """Return whether with this TensorRT the network's file alone decides the precision."""
    return tensorrt is not None and int(tensorrt.split(".")[0]) >= _STRONGLY_TYPED_SINCE


def for_tensorrt(job: Job, tensorrt: str | None) -> Job:
    """Return a job with the network's file in FP16 where that is asked for and takes a file.

    That is one beside the network's, made of this very one: it has its SHA-256.
    """
    weights = job.weights
    local = weights.folder if weights.format is Format.ONNX else None
    if not states_precision(tensorrt) or weights.precision is not Precision.FP16 or local is None:
        return job
    network = local / weights.network
    half = network.with_suffix(HALF_SUFFIX)
    if not half.is_file() or sha256_of(network).encode() not in half.read_bytes():
        return job
    return dataclasses.replace(job, weights=dataclasses.replace(weights, network=half.name))


def shape_spec(model: Model, batch: int) -> str:
    """Return the input and its shape as ``trtexec`` reads them, a name with a colon in quotes."""
    name = f"'{model.input}'" if ":" in model.input else model.input
    return f"{name}:{_shape(model, batch)}"


def shell(argv: Sequence[str]) -> str:
    """Return arguments as a line for a shell, with ``$NAME`` left to it."""
    return " ".join(word if _BARE.fullmatch(word) else shlex.quote(word) for word in argv)


def redacted(argv: Sequence[str], weights: Weights) -> list[str]:
    """Return the arguments with a key that is not public replaced by ``***``."""
    if weights.key is None or weights.key_is_public:
        return list(argv)
    return ["***" if argument == weights.key else argument for argument in argv]


def _calibration(weights: Weights, network: Path) -> str:
    if weights.calibration is None:
        raise BuildError(
            f"{weights.model}={weights.name}: INT8 needs a calibration cache; name one with "
            "`calibration:` in the weights' entry, or ask for `precision: fp16`"
        )
    return str(network.with_name(weights.calibration))


def _sizes(model: Model) -> tuple[int, int, int]:
    return model.batch.minimum, model.batch.optimum, model.batch.maximum


def _shape(model: Model, batch: int) -> str:
    return "x".join(map(str, (batch, *model.input_dims)))
