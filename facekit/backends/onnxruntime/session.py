"""Runs an ONNX network with ONNX Runtime on the CPU, many requests in one batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from facekit.backends.model_config import ModelConfig
from facekit.contract import TensorSpec
from facekit.engines.manifest import restore_hint
from facekit.errors import ConfigError, FacekitError, InputError

Array = NDArray[Any]
Inputs = Mapping[str, Array]

_DTYPES = {"tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64"}
_DTYPES |= {
    f"tensor({name.lower()})": name
    for name in ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
}
_PARAMETERS = (
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
    "enable_mem_arena",
    "enable_mem_pattern",
    "memory.enable_memory_arena_shrinkage",
)
_SAMPLES_A_RUN = 4
_BYTES_A_RUN = 8 * 2**20
"""Samples of a batch, and bytes of its first input, that the network runs at a time. A larger run
is not faster on a CPU, but ONNX Runtime keeps the memory of the largest: 0.7 GB with 32 photos."""
_SESSION_PREFIX = "session."


class OnnxSession:
    """An ONNX model: runs batches of inputs by name, and returns the requested outputs.

    Raises ConfigError if the file does not load, or does not fit the configuration.
    """

    def __init__(self, config: ModelConfig) -> None:
        config.check_parameters(_PARAMETERS, prefixes=(_SESSION_PREFIX,))
        self._config = config
        self._run_options = ort.RunOptions()
        shrink = config.parameters.get("memory.enable_memory_arena_shrinkage")
        if shrink:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", shrink)
        options = session_options(config)
        try:
            self._session = _loaded(config, options)
        except ConfigError as error:
            hint = restore_hint(config.name, config.file)
            raise ConfigError(f"{error} ({config.file})" + (f"; {hint}" if hint else "")) from error
        self._buffers: dict[str, Array] = {}

    def run(
        self, requests: Sequence[Inputs], wanted: Sequence[Sequence[str]]
    ) -> list[dict[str, Array] | FacekitError]:
        """Return the outputs ``wanted`` by name, or the error, of every request.

        Each maps every input's name to an array; with batching its first axis is the sample, and
        requests of one shape are run together.
        """
        results: list[dict[str, Array] | FacekitError] = [{} for _ in requests]
        for group in self._groups(requests):
            names = sorted({name for index in group for name in wanted[index]})
            try:
                parts = self._run_group([requests[index] for index in group], names)
            except Exception as error:  # ONNX Runtime's errors share no narrower class
                if len(group) == 1:
                    results[group[0]] = InputError(f"the network refused the input: {error}")
                    continue
                # One request of a batch must not fail the others.
                for index in group:
                    (results[index],) = self.run([requests[index]], [wanted[index]])
                continue
            for index, part in zip(group, parts, strict=True):
                results[index] = {name: part[name] for name in wanted[index]}
        return results

    def _groups(self, requests: Sequence[Inputs]) -> list[list[int]]:
        """Gather the requests that can run as one batch: same shapes but for the batch axis."""
        if self._config.max_batch_size == 0:
            return [[index] for index in range(len(requests))]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for index, request in enumerate(requests):
            key = tuple(request[spec.name].shape[1:] for spec in self._config.inputs)
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    def _run_group(self, requests: Sequence[Inputs], names: list[str]) -> list[dict[str, Array]]:
        if len(requests) == 1:
            return [self._infer(requests[0], names)]
        first = self._config.inputs[0].name
        counts = [len(request[first]) for request in requests]
        outputs = self._infer(
            {
                spec.name: self._joined(spec.name, [request[spec.name] for request in requests])
                for spec in self._config.inputs
            },
            names,
        )
        edges = np.cumsum([0, *counts])
        return [
            {name: outputs[name][edges[index] : edges[index + 1]] for name in names}
            for index in range(len(requests))
        ]

    def _infer(self, inputs: Inputs, names: list[str]) -> dict[str, Array]:
        first = inputs[self._config.inputs[0].name]
        if self._config.max_batch_size == 0 or not len(first):
            return self._infer_once(inputs, names)
        step = max(1, min(_SAMPLES_A_RUN, _BYTES_A_RUN // max(1, first[0].nbytes)))
        parts = [
            self._infer_once({name: a[at : at + step] for name, a in inputs.items()}, names)
            for at in range(0, len(first), step)
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _infer_once(self, inputs: Inputs, names: list[str]) -> dict[str, Array]:
        outputs = self._session.run(names, dict(inputs), self._run_options)
        return dict(zip(names, outputs, strict=True))

    def _joined(self, name: str, arrays: list[Array]) -> Array:
        """Concatenate into a reused buffer: fresh pages cost more than the copy itself."""
        count = sum(len(array) for array in arrays)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape[1:] != arrays[0].shape[1:] or len(buffer) < count:
            buffer = np.empty((count, *arrays[0].shape[1:]), arrays[0].dtype)
            self._buffers[name] = buffer
        return np.concatenate(arrays, out=buffer[:count])


def _loaded(config: ModelConfig, options: ort.SessionOptions) -> ort.InferenceSession:
    """Load a network and check it against its configuration."""
    try:
        session = ort.InferenceSession(
            str(config.file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no narrower class
        raise ConfigError(
            f"model {config.name}: ONNX Runtime cannot load {config.file.name}: {error}"
        ) from error
    _check(config, "input", config.inputs, session.get_inputs())
    _check(config, "output", config.outputs, session.get_outputs())
    missing = {entry.name for entry in session.get_inputs()}
    missing -= {spec.name for spec in config.inputs}
    if missing:
        raise ConfigError(
            f"model {config.name}: the network needs the input {sorted(missing)[0]!r}, which the "
            "configuration lacks"
        )
    return session


def session_options(config: ModelConfig) -> ort.SessionOptions:
    """Return ONNX Runtime's options for a configuration, named as the native backend names them.

    Raises ConfigError for a value out of range.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.integer("intra_op_thread_count", 0, 0, 1024)
    options.inter_op_num_threads = config.integer("inter_op_thread_count", 0, 0, 1024)
    if config.integer("execution_mode", 0, 0, 1):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = bool(config.integer("enable_mem_arena", 1, 0, 1))
    options.enable_mem_pattern = bool(config.integer("enable_mem_pattern", 1, 0, 1))
    levels = {
        -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    if config.graph_level not in levels:
        raise ConfigError(
            f"model {config.name}: optimization.graph.level is {config.graph_level}; expected -1, "
            "0, 1 or 2"
        )
    options.graph_optimization_level = levels[config.graph_level]
    options.log_severity_level = 3
    # A spinning thread would take the core from the other backend processes.
    entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    entries.update(
        (name, text) for name, text in config.parameters.items() if name.startswith(_SESSION_PREFIX)
    )
    for name, text in entries.items():
        options.add_session_config_entry(name, text)
    return options


def _check(config: ModelConfig, kind: str, specs: Sequence[TensorSpec], entries: Any) -> None:
    """Check the configuration against the network's tensors, as strictly as the native backend."""
    found = {entry.name: entry for entry in entries}
    for spec in specs:
        entry = found.get(spec.name)
        if entry is None:
            names = ", ".join(repr(name) for name in found)
            raise ConfigError(
                f"model {config.name}: the network has no {kind} {spec.name!r}; it has {names}"
            )
        where = f"model {config.name}: {kind} {spec.name!r}"
        dtype = _DTYPES.get(entry.type, entry.type)
        if dtype != spec.dtype:
            raise ConfigError(f"{where} is {dtype} in the network and {spec.dtype} in the config")
        shape = [size if isinstance(size, int) else -1 for size in entry.shape]
        if config.max_batch_size > 0:
            if not shape or shape[0] != -1:
                raise ConfigError(
                    f"{where} has the shape {shape} in the network, whose first axis must be "
                    f"free for a max_batch_size of {config.max_batch_size}"
                )
            shape = shape[1:]
        fits = len(shape) == len(spec.dims) and all(
            one in (-1, other) for one, other in zip(shape, spec.dims, strict=True)
        )
        if not fits:
            raise ConfigError(
                f"{where} has the dims {shape} in the network and {list(spec.dims)} in the config"
            )
