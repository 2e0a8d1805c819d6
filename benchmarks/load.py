"""Requests made once and sent often: the load's own cost must not count as the server's."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult, service_pb2

from benchmarks.photos import PhotoSet
from benchmarks.rates import Rate, measure
from facekit.client.connection import NO_PROXY, on_this_machine
from facekit.contract import MODELS
from facekit.errors import PhotoError, ServerError

Array = npt.NDArray[Any]
Grid = npt.NDArray[np.float32]
Job = Sequence[bytes]
"""Requests that are sent one after another, each when the one before is answered."""

INPUTS = {
    "facenet_ensemble": "input_image_data",
    "faces": "image",
    "facemask_ensemble": "input_image_data",
}
"""The models that take a photo alone, and the name of that input."""
GRIDS = ("output_bbox/BiasAdd", "output_cov/Sigmoid")
"""FaceNet's outputs."""

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_TIMEOUT_S = 60.0


def request(model: str, inputs: Mapping[str, Array], outputs: Sequence[str] = ()) -> bytes:
    """Return a serialized request for some outputs, or all of the contract's; inputs by name."""
    message = service_pb2.ModelInferRequest(model_name=model)
    for tensor in MODELS[model].inputs:
        array = np.ascontiguousarray(inputs[tensor.name])
        entry = message.inputs.add(name=tensor.name, datatype=tensor.dtype)
        entry.shape.extend(array.shape)
        message.raw_input_contents.append(array.tobytes())
    for name in outputs or [tensor.name for tensor in MODELS[model].outputs]:
        message.outputs.add(name=name)
    data: bytes = message.SerializeToString()
    return data


def read_answer(data: bytes, outputs: Sequence[str]) -> dict[str, Array]:
    """Return the named outputs in a serialized answer."""
    result = InferResult(service_pb2.ModelInferResponse.FromString(data))
    return {name: result.as_numpy(name) for name in outputs}


class Sender:
    """Sends requests as they are to ``host:port`` and, when asked, reads the answers.

    ``cpu_s`` returns the processor time that the server has used so far, seconds, if known.
    """

    def __init__(self, url: str, cpu_s: Callable[[], float] = lambda: 0.0) -> None:
        # As the kit's clients do, and unlike a bare channel: no proxy to this machine's servers.
        direct = NO_PROXY if on_this_machine(url) else ()
        self._channel = grpc.insecure_channel(url, options=_OPTIONS + direct)
        # No serializers: bytes in, bytes out.
        self._call = self._channel.unary_unary(_METHOD)
        self._cpu_s = cpu_s

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def send(self, data: bytes) -> bytes:
        """Send one request and return the answer's bytes; raises ServerError without an answer."""
        try:
            answer: bytes = self._call(data, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise ServerError(f"{error.code().name}: {error.details()}") from error
        return answer

    def ask(self, model: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return all outputs of a model by name (see ``send`` for errors)."""
        outputs = [tensor.name for tensor in MODELS[model].outputs]
        return read_answer(self.send(request(model, inputs)), outputs)

    def find_boxes(self, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Return the boxes of ``facenet_ensemble`` in whole photo pixels, int32 (N, 4)."""
        answer = self.ask("facenet_ensemble", {"input_image_data": photo[None]})
        count = int(answer["true_count"][0, 0])
        return np.asarray(answer["true_boxes"][0, :count].astype(np.int32))

    def grids(self, photo: npt.NDArray[np.uint8]) -> tuple[Grid, Grid]:
        """Return FaceNet's outputs for a photo: boxes (4, 26, 46) and coverage (1, 26, 46)."""
        checked = self.ask("photo_check", {"image": photo[None]})
        found = self.ask("facenet", self.ask("facenet_preprocess", checked))
        return found[GRIDS[0]][0], found[GRIDS[1]][0]

    def jobs(self, model: str, photo_set: PhotoSet) -> list[Job]:
        """Return what a model of ``INPUTS``, or ``fpenet_ensemble``, is sent for each photo.

        Raises PhotoError if the server finds no face in any of them.
        """
        if model in INPUTS:
            name = INPUTS[model]
            return [[request(model, {name: photo[None]})] for photo in photo_set.photos]
        jobs: list[Job] = []
        for photo in photo_set.photos:
            boxes = self.find_boxes(photo)
            if len(boxes):
                inputs: dict[str, Array] = {"raw_image_data": photo[None], "true_boxes": boxes[:1]}
                jobs.append([request(model, inputs)])
        if not jobs:
            raise PhotoError(f"{photo_set.name}: no face found, so {model} has nothing to do")
        return jobs

    def rate(self, jobs: Sequence[Job], concurrency: int, seconds: float) -> Rate:
        """Measure jobs with so many at a time."""
        turns = itertools.cycle(jobs)  # ``next`` on it is atomic

        def work() -> None:
            for data in next(turns):
                self.send(data)

        return measure([work] * concurrency, seconds=seconds, cpu_s=self._cpu_s)

    def fastest(self, jobs: Sequence[Job], tried: Sequence[int], seconds: float) -> int:
        """Return the concurrency of the highest throughput, by a short look at each."""
        rates = {count: self.rate(jobs, count, seconds).per_second for count in tried}
        return max(rates, key=lambda count: rates[count])
