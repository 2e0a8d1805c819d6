"""The one table of arguments: what ``tao-converter`` and ``trtexec`` are called with.

The build runs these lists, the plan prints them, and the tests' stand-ins
for the tools accept nothing else. Paths may be symbolic (``$ENGINE``), because none is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from conversion.catalog import Format, Model, Precision, Weights
from conversion.errors import BuildError

FileName = str | os.PathLike[str]

_CALIBRATION_BATCH = 8
"""Photos a batch of a calibration: the tool's own default (TAO Converter documentation)."""

_WORKSPACE_MIB = 1024
"""Scratch memory for the builder, as much as ``tao-converter`` takes by default. ``trtexec`` would
take all of the GPU's, which a server may be using at the same time."""

_STRONGLY_TYPED_SINCE = 11
"""From TensorRT 11 on a network is computed in the types its file states; ``--fp16``, ``--int8``
and ``--calib`` are gone (NVIDIA's guide for the move from 10 to 11)."""


def tao_converter_command(
    tool: FileName,
    weights: Weights,
    model: Model,
    network: FileName,
    calibration: FileName | None,
    engine: FileName,
    precision: Precision,
) -> list[str]:
    """Return the arguments that make an engine of an ``.etlt``.

    Raises:
        BuildError: the weights are no ``.etlt``, or the file that INT8 needs is not named.
    """
    if weights.format is Format.ONNX or weights.key is None:
        raise BuildError(f"{weights.model}={weights.name}: tao-converter reads .etlt files only")
    argv = [os.fspath(tool), "-k", weights.key, "-t", precision.value]
    if precision is Precision.INT8:
        argv += ["-c", _calibration(weights, calibration), "-b", str(_CALIBRATION_BATCH)]
    if weights.format is Format.UFF_ETLT:
        # A fixed graph of implicit batch: dims, outputs and the largest batch; -p is ignored here.
        argv += [
            *("-d", ",".join(map(str, model.input_dims))),
            *("-o", ",".join(weights.outputs)),
            *("-m", str(model.batch.maximum)),
        ]
    else:
        # An ONNX graph brings its dims and outputs along; NVIDIA's own script names neither.
        argv += ["-p", ",".join([model.input, *(_shape(model, n) for n in _batches(model))])]
    return [*argv, "-e", os.fspath(engine), os.fspath(network)]


def trtexec_build_command(
    tool: FileName,
    weights: Weights,
    model: Model,
    network: FileName,
    calibration: FileName | None,
    engine: FileName,
    precision: Precision,
    tensorrt: str | None = None,
) -> list[str]:
    """Return the arguments that make an engine of an ONNX file.

    Args:
        tool: ``trtexec``.
        weights: the network's source.
        model: what it is for.
        network: the ONNX file.
        calibration: the INT8 calibration cache; ``None`` for a network that holds its scales.
        engine: where the engine shall go.
        precision: what to compute in; has no effect from TensorRT 11 on.
        tensorrt: its version, such as ``8.6.3``; ``None`` counts as older than 11.

    Raises:
        BuildError: the weights are no ONNX file, or the file that INT8 needs is not named.
    """
    if weights.format is not Format.ONNX:
        raise BuildError(f"{weights.model}={weights.name}: trtexec reads ONNX files only")
    argv = [os.fspath(tool), f"--onnx={os.fspath(network)}"]
    for word, batch in zip(("min", "opt", "max"), _batches(model), strict=True):
        argv.append(f"--{word}Shapes={shape_spec(model, batch)}")
    if not states_precision(tensorrt):
        if precision is Precision.INT8:
            argv += ["--int8", "--fp16"]
            if not weights.holds_scales:
                argv.append(f"--calib={_calibration(weights, calibration)}")
        elif precision is Precision.FP16:
            argv.append("--fp16")
    return [
        *argv,
        f"--memPoolSize=workspace:{_WORKSPACE_MIB}",
        "--skipInference",
        f"--saveEngine={os.fspath(engine)}",
    ]


def trtexec_load_command(
    tool: FileName, engine: FileName, model: Model, weights: Weights
) -> list[str]:
    """Return the arguments that load an engine and run it once, with a single sample.

    Whether ``--skipInference`` reads more than the file's header differs between releases, so one
    inference is asked for.
    """
    argv = [os.fspath(tool), f"--loadEngine={os.fspath(engine)}"]
    if weights.format is Format.UFF_ETLT:
        argv.append("--batch=1")
    else:
        argv.append(f"--shapes={shape_spec(model, 1)}")
    return [*argv, "--warmUp=0", "--duration=0", "--iterations=1"]


def states_precision(tensorrt: str | None) -> bool:
    """Tell whether with this TensorRT the network's file alone decides what is computed in.

    >>> states_precision("8.6.3"), states_precision("11.2.1"), states_precision(None)
    (False, True, False)
    """
    return tensorrt is not None and int(tensorrt.split(".")[0]) >= _STRONGLY_TYPED_SINCE


def shape_spec(model: Model, batch: int) -> str:
    """Return the input's name and shape as ``trtexec`` reads them.

    A name that holds a colon, as the inputs of many exports do, has to be in single quotes inside
    the argument.
    """
    name = f"'{model.input}'" if ":" in model.input else model.input
    return f"{name}:{_shape(model, batch)}"


def redacted(argv: Sequence[str], weights: Weights) -> list[str]:
    """Return the arguments with a key that is not public replaced by ``***``."""
    if weights.key is None or weights.key_is_public:
        return list(argv)
    return ["***" if argument == weights.key else argument for argument in argv]


def _calibration(weights: Weights, calibration: FileName | None) -> str:
    if calibration is None:
        raise BuildError(
            f"{weights.model}={weights.name}: INT8 needs a calibration cache; name one with "
            "`calibration:` in the weights' stanza, or ask for `precision: fp16`"
        )
    return os.fspath(calibration)


def _batches(model: Model) -> tuple[int, int, int]:
    return model.batch.minimum, model.batch.optimum, model.batch.maximum


def _shape(model: Model, batch: int) -> str:
    return "x".join(map(str, (batch, *model.input_dims)))
