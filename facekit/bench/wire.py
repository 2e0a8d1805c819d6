"""Requests made once and sent often: the load's own cost must not count as the server's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult, service_pb2

from facekit.client.connection import NO_PROXY, on_this_machine
from facekit.contract import MODELS
from facekit.errors import ServerError

Array = npt.NDArray[Any]
Job = Sequence[bytes]
"""Requests that are sent one after another, each when the one before is answered."""

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
TIMEOUT_S = 60.0


def request(model: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> bytes:
    """Return a gRPC inference request of a model of the contract, ready to be sent.

    Args:
        model: Its name.
        inputs: Each input's array, batch dimension first.
        outputs: The outputs to ask for; none means all.
    """
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


class Sender:
    """Sends requests as they are and, when asked, reads the answers.

    Args:
        url: ``host:port`` of the server's gRPC endpoint.
    """

    def __init__(self, url: str) -> None:
        # As the kit's clients do, and unlike a bare channel: no proxy to this machine's servers.
        direct = NO_PROXY if on_this_machine(url) else ()
        self._channel = grpc.insecure_channel(url, options=_OPTIONS + direct)
        # No serializers: bytes in, bytes out.
        self._call = self._channel.unary_unary(_METHOD)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def send(self, data: bytes) -> bytes:
        """Send one request and return the answer's bytes.

        Raises:
            ServerError: The server answered with an error, or not at all.
        """
        try:
            answer: bytes = self._call(data, timeout=TIMEOUT_S)
        except grpc.RpcError as e:
            raise ServerError(f"{e.code().name}: {e.details()}") from e
        return answer

    def ask(self, model: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return all outputs of a model by name.

        Raises:
            ServerError: See ``send``.
        """
        message = service_pb2.ModelInferResponse.FromString(self.send(request(model, inputs, ())))
        result = InferResult(message)
        return {tensor.name: result.as_numpy(tensor.name) for tensor in MODELS[model].outputs}

    def workers(self, jobs: Sequence[Job], count: int) -> list[Callable[[], None]]:
        """Return workers that take turns with the jobs."""
        turns = itertools.cycle(jobs)  # ``next`` on it is atomic

        def work() -> None:
            for data in next(turns):
                self.send(data)

        return [work] * count
