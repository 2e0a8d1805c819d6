"""Runs a serialized DALI pipeline on the CPU, request by request or many at once."""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import types
from nvidia.dali.pipeline import Pipeline

from facekit.backends.model_config import ModelConfig
from facekit.errors import CANNOT_BE_DECODED, ConfigError, FacekitError, PhotoError, ResponseError

Array = NDArray[Any]
Inputs = Mapping[str, Array]

_DTYPES = {"FP16": types.FLOAT16, "FP32": types.FLOAT, "FP64": types.FLOAT64, "BOOL": types.BOOL}
_DTYPES |= {
    name: getattr(types, name)
    for name in ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
}
# The part of DALI's error text between its traceback and its C++ stack.
_REASON = re.compile(r"encountered:\s+(.*?)\s*(?:C\+\+ context|Current pipeline|$)", re.DOTALL)
_SAMPLE = re.compile(r" sample #\d+")

_SAMPLES_A_RUN = 2
_BYTES_A_RUN = 4 * 2**20
"""Samples, and bytes of encoded photos, that DALI processes at a time. Every step keeps a buffer of
the largest run, and with a batch of 32 large photos these would take gigabytes."""


class DaliPipeline:
    """A DALI model: runs batches of inputs by name, and returns outputs in the config's order.

    Raises ConfigError if the file does not load, or does not fit the configuration.
    """

    def __init__(self, config: ModelConfig) -> None:
        config.check_parameters(("num_threads",))
        self._threads = config.integer("num_threads", 1, 1, 256)
        self._config = config
        self._serialized = config.file.read_bytes()
        try:
            self._pipeline = self._load()
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConfigError(
                f"model {config.name}: DALI cannot load {config.file.name}: {_reason(error)}"
            ) from error
        self._check()

    def run(self, requests: Sequence[Inputs]) -> list[list[Array] | FacekitError]:
        """Return the outputs, or the error, of every request.

        Each maps every input's name to an array whose first axis is the sample, as it is of the
        outputs; together they hold at most ``max_batch_size`` samples. Outputs may be views of
        DALI's own memory, which the next call overwrites.
        """
        try:
            return self._run_together(requests)
        except RuntimeError:
            # A pipeline object that failed cannot be used again.
            self._pipeline = self._load()
        return self._run_apart(requests)

    def _load(self) -> Any:
        # Prefetching would start a second run, without data.
        pipeline = Pipeline.deserialize(
            serialized_pipeline=self._serialized,
            batch_size=max(self._config.max_batch_size, 1),
            num_threads=self._threads,
            device_id=None,
            prefetch_queue_depth=1,
            exec_pipelined=False,
            exec_async=False,
        )
        pipeline.build()
        return pipeline

    def _check(self) -> None:
        config = self._config
        for tensor in config.inputs:
            try:
                self._pipeline.input_feed_count(tensor.name)
            except RuntimeError:
                raise ConfigError(
                    f"model {config.name}: the pipeline has no input {tensor.name!r}"
                ) from None
        count = int(self._pipeline.num_outputs)
        if count != len(config.outputs):
            raise ConfigError(
                f"model {config.name}: the pipeline has {count} outputs and the configuration "
                f"{len(config.outputs)}; they are matched by position"
            )

    def _run_together(self, requests: Sequence[Inputs]) -> list[list[Array] | FacekitError]:
        if _samples_a_run(requests) >= sum(map(_count, requests)):
            return self._run_once(requests)
        return [self._run_in_parts(request) for request in requests]

    def _run_in_parts(self, request: Inputs) -> list[Array] | FacekitError:
        """Run the samples of one request a few at a time, into arrays of their own."""
        count, step = _count(request), _samples_a_run([request])
        wholes: list[Array] = []
        for start in range(0, count, step):
            stop = min(start + step, count)
            part = {name: array[start:stop] for name, array in request.items()}
            (result,) = self._run_once([part])
            if isinstance(result, FacekitError):
                return result
            if not wholes:
                wholes = [np.empty((count, *array.shape[1:]), array.dtype) for array in result]
            for whole, array in zip(wholes, result, strict=True):
                if array.shape[1:] != whole.shape[1:]:
                    # The pipeline may pad the samples of a run to the largest of them.
                    (result,) = self._run_once([request])
                    if isinstance(result, FacekitError):
                        return result
                    return [array.copy() for array in result]
                whole[start:stop] = array
        return wholes

    def _run_once(self, requests: Sequence[Inputs]) -> list[list[Array] | FacekitError]:
        for tensor in self._config.inputs:
            samples = [sample for request in requests for sample in request[tensor.name]]
            self._pipeline.feed_input(tensor.name, samples)
        results: list[list[Array] | FacekitError] = [[] for _ in requests]
        counts = [_count(request) for request in requests]
        for position, batch in enumerate(self._pipeline.run()):
            self._check_output(position, batch)
            for index, part in enumerate(_split(batch, counts)):
                result = results[index]
                if part is None:
                    results[index] = self._uneven(position)
                elif isinstance(result, list):
                    result.append(part)
        return results

    def _run_apart(self, requests: Sequence[Inputs]) -> list[list[Array] | FacekitError]:
        """Find the requests with a bad sample and run the others."""
        errors = {
            index: error
            for index, request in enumerate(requests)
            if (error := self._first_error(request)) is not None
        }
        good = [request for index, request in enumerate(requests) if index not in errors]
        try:
            outputs = iter(self._run_together(good) if good else [])
        except RuntimeError as error:
            self._pipeline = self._load()
            outputs = iter([PhotoError(_reason(error))] * len(good))
        return [
            errors[index] if index in errors else next(outputs) for index in range(len(requests))
        ]

    def _first_error(self, request: Inputs) -> PhotoError | None:
        count = _count(request)
        for index in range(count):
            sample = {name: array[index : index + 1] for name, array in request.items()}
            try:
                self._run_together([sample])
            except RuntimeError as error:
                self._pipeline = self._load()
                return PhotoError(
                    f"photo {index + 1} of {count} in `{self._config.inputs[0].name}` "
                    f"{CANNOT_BE_DECODED}: {_reason(error)}"
                )
        return None

    def _check_output(self, position: int, batch: Any) -> None:
        spec = self._config.outputs[position]
        if batch.dtype != _DTYPES.get(spec.dtype):
            raise ConfigError(
                f"model {self._config.name}: output {position} of the pipeline is "
                f"{batch.dtype.name}, but the configuration has {spec.name} {spec.dtype}"
            )

    def _uneven(self, position: int) -> ResponseError:
        name = self._config.outputs[position].name
        return ResponseError(
            f"the photos of one request have {name} of different shapes: send them one by one"
        )


def _count(request: Inputs) -> int:
    return len(next(iter(request.values())))


def _samples_a_run(requests: Sequence[Inputs]) -> int:
    longest: int = max(
        sum(array[0].nbytes for array in one.values() if len(array)) for one in requests
    )
    return max(1, min(_SAMPLES_A_RUN, _BYTES_A_RUN // max(longest, 1)))


def _split(batch: Any, counts: Sequence[int]) -> list[Array | None]:
    """Cut a DALI batch into one array a request; ``None`` where its samples differ in shape."""
    spans = [range(start, stop) for start, stop in pairwise([0, *accumulate(counts)])]
    if batch.is_dense_tensor():
        whole = np.asarray(batch.as_tensor())
        return [whole[span.start : span.stop] for span in spans]
    return [_stack([np.asarray(batch[index]) for index in span]) for span in spans]


def _stack(samples: list[Array]) -> Array | None:
    if any(sample.shape != samples[0].shape for sample in samples):
        return None
    return samples[0][np.newaxis] if len(samples) == 1 else np.stack(samples)


def _reason(error: BaseException) -> str:
    text = str(error)
    match = _REASON.search(text)
    lines = (match.group(1) if match else text).strip().splitlines() or ["no reason given"]
    # DALI counts within its own batch, and its callers name the photo already.
    return _SAMPLE.sub("", lines[0]).strip().rstrip(" :")
