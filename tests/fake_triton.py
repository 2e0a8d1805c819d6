"""A gRPC server that speaks Triton's protocol and answers whatever a test wants it to answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
Answer = Callable[[str, Inputs, grpc.ServicerContext], dict[str, Array]]


def faces_answer(count: int = 2, *, points: int = 68, rows: int | None = None) -> dict[str, Array]:
    """Return the outputs of ``faces`` for one photo; ``rows`` beyond ``count`` are padding."""
    rows = count if rows is None else rows
    boxes = np.arange(rows * 4, dtype=np.float32).reshape(1, rows, 4)
    return {
        "boxes": boxes,
        "scores": np.linspace(0.9, 0.5, rows, dtype=np.float32)[None],
        "keypoints": np.arange(rows * points * 2, dtype=np.float32).reshape(1, rows, points, 2),
        "keypoint_scores": np.full((1, rows, points), 0.25, np.float32),
        "image_size": np.array([[300, 400, 3]], np.int64),
        "count": np.array([[count]], np.int32),
        "sharpness": np.full((1, rows), 0.375, np.float32),
        "least_side": np.array([[20]], np.float32),
    }


def boxes_answer(count: int = 2, *, rows: int | None = None) -> dict[str, Array]:
    """Return the outputs of ``facenet_ensemble`` for one photo."""
    answer = faces_answer(count, rows=rows)
    return {
        "true_boxes": answer["boxes"],
        "true_proba": answer["scores"][:, :, None],
        "true_image_size": answer["image_size"],
        "true_count": answer["count"],
    }


def masks_answer(count: int = 2, *, rows: int | None = None) -> dict[str, Array]:
    """Return the outputs of ``facemask_ensemble`` for one photo: no-mask, mask, no-mask, ..."""
    answer = boxes_answer(count, rows=rows)
    labels = 1 - np.arange(answer["true_boxes"].shape[1], dtype=np.int32) % 2
    labels[count:] = -1
    return {**answer, "true_labels": labels[None]}


def landmarks_answer(count: int, points: int = 68) -> dict[str, Array]:
    """Return the outputs of ``landmarks`` for one photo."""
    answer = faces_answer(count, points=points)
    return {name: answer[name] for name in ("keypoints", "keypoint_scores", "image_size")}


def _two_faces(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
    if model == "landmarks":
        return landmarks_answer(inputs["boxes"].shape[1])
    return faces_answer()


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers ``ModelInfer`` through ``answer(model, inputs, context)`` and keeps what came in."""

    def __init__(
        self,
        answer: Answer = _two_faces,
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.answer = answer
        self.ready = True
        self.received: list[tuple[str, Inputs]] = []
        self.parameters: list[dict[str, str]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        limit = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(32), options=limit)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        address = f"{host}:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self.url = f"{host}:{self.port}"

    def __enter__(self) -> FakeTriton:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Cut all connections."""
        self._server.stop(None).wait()

    def ServerReady(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=self.ready)

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        inputs = {
            tensor.name: np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(
                tensor.shape
            )
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        with self._lock:
            self.received.append((request.model_name, inputs))
            given = request.parameters.items()
            self.parameters.append(
                {name: value.string_param for name, value in given if value.string_param}
            )
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            outputs = self.answer(request.model_name, inputs, context)
        finally:
            with self._lock:
                self._at_once -= 1
        wanted = [output.name for output in request.outputs] or list(outputs)
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name in wanted:
            if name in outputs:
                value = outputs[name]
                dtype = np_to_triton_dtype(value.dtype)
                response.outputs.add(name=name, datatype=dtype, shape=value.shape)
                response.raw_output_contents.append(value.tobytes())
        return response


def failing(code: grpc.StatusCode, text: str) -> Answer:
    """Return an answer that is this error."""

    def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        context.abort(code, text)
        raise AssertionError("abort raises")

    return answer


def slow(seconds: float) -> Answer:
    """Return an answer that comes late, or ends early with the connection."""

    def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, Array]:
        end = time.monotonic() + seconds
        while time.monotonic() < end and context.is_active():
            time.sleep(0.01)
        return _two_faces(model, inputs, context)

    return answer
