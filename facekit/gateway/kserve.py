"""KServe's protocol over HTTP, as Triton speaks it: what is under ``/v2``.

What only its administrator may do does not exist here: loading models, shared memory, trace and
log settings.
"""

import asyncio
import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tritonclient.grpc import service_pb2

from facekit.errors import FacekitError
from facekit.gateway.bodies import Bodies
from facekit.gateway.counts import Counts
from facekit.gateway.messages import (
    InferRequest,
    raw_request,
    read_request,
    to_dict,
    write_answer,
)
from facekit.gateway.middleware import unless_gone
from facekit.gateway.problems import ProblemError, problem_of
from facekit.gateway.settings import GatewayLimits
from facekit.gateway.tensors import refused
from facekit.gateway.upstream import Upstream

_MODEL = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]+))?"
    r"(?:/(?P<what>infer|ready|config|stats))?"
)
# What a gateway offers of Triton's extensions of the protocol.
_EXTENSIONS = {
    "classification",
    "sequence",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
}
# Triton's own, by the name of gRPC's.
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "CANCELLED": 503,
    "DEADLINE_EXCEEDED": 504,
}
# More takes a thread of its own, so that others are answered between its steps.
_LARGE_BYTES = 2**17
_LARGE_AT_ONCE = 2
_INFERENCE_HEADER = "Inference-Header-Content-Length"
Converted = TypeVar("Converted")
_COMPRESSORS = {"gzip": 31, "deflate": 15}


class KServe:
    """ASGI application of the routes under ``/v2``."""

    def __init__(
        self, upstream: Upstream, bodies: Bodies, counts: Counts, limits: GatewayLimits
    ) -> None:
        self._upstream = upstream
        self._bodies = bodies
        self._counts = counts
        self._limits = limits
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
            if len(response.body) > _LARGE_BYTES:
                with self._bodies.holding(len(response.body)):
                    await _send_large(response, send)
                return
        except ProblemError as problem:
            response = self._refusal(scope, problem)
        except FacekitError as error:
            response = self._refusal(scope, _problem(error))
        await response(scope, receive, send)

    def _refusal(self, scope: Scope, problem: ProblemError) -> Response:
        self._counts.refuse(problem.reason)
        return problem.response(scope["path"])

    async def _answer(self, request: Request) -> Response:
        path: str = request.scope["path"]
        found = _MODEL.fullmatch(path)
        if path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats"):
            _check_method(request, "GET")
            return await self._of_server(path)
        if found is None:
            raise ProblemError(404, "Not Found", reason="path")
        _check_method(request, "POST" if found["what"] == "infer" else "GET")
        if found["what"] == "infer":
            return await self._infer(request, found["model"], found["version"] or "")
        return await self._of_model(found["what"] or "", found["model"], found["version"] or "")

    async def _of_server(self, path: str) -> Response:
        if path == "/v2":
            found = to_dict(await self._ask("ServerMetadata", service_pb2.ServerMetadataRequest()))
            found["extensions"] = [name for name in found["extensions"] if name in _EXTENSIONS]
            return _json(found)
        if path == "/v2/models/stats":
            return _json(
                to_dict(await self._ask("ModelStatistics", service_pb2.ModelStatisticsRequest()))
            )
        # As KServe's protocol has it; Triton's own answers have no body.
        if path == "/v2/health/live":
            found = to_dict(await self._ask("ServerLive", service_pb2.ServerLiveRequest()))
        else:
            found = to_dict(await self._ask("ServerReady", service_pb2.ServerReadyRequest()))
        if not all(found.values()):
            raise ProblemError(400, "no server is ready", reason="server away")
        return _json(found)

    async def _of_model(self, what: str, model: str, version: str) -> Response:
        named = {"name": model, "version": version}
        if what == "ready":
            answer = await self._ask("ModelReady", service_pb2.ModelReadyRequest(**named), model)
            if not answer.ready:
                raise ProblemError(400, "Model version not ready", reason="model")
            return _json({"name": model, **to_dict(answer)})
        if what == "config":
            answer = await self._ask("ModelConfig", service_pb2.ModelConfigRequest(**named), model)
            return _json(to_dict(answer.config))
        method, message = {
            "": ("ModelMetadata", service_pb2.ModelMetadataRequest),
            "stats": ("ModelStatistics", service_pb2.ModelStatisticsRequest),
        }[what]
        return _json(to_dict(await self._ask(method, message(**named), model)))

    async def _ask(self, method: str, message: Any, model: str = "") -> Any:
        """Make a call that no inference is waited for."""
        return await self._upstream.run(
            lambda server: server.rpc(method, message, model), queued=False
        )

    async def _infer(self, request: Request, model: str, version: str) -> Response:
        header_bytes = _header_bytes(request.headers)
        async with self._bodies.read(request) as data:
            if header_bytes == 0:
                named = service_pb2.ModelConfigRequest(name=model, version=version)
                config = (await self._ask("ModelConfig", named, model)).config
                asked = raw_request(model, version, data, config)
            else:
                json_bytes = len(data) if header_bytes is None else header_bytes
                asked = await self._converted(
                    json_bytes,
                    lambda: read_request(
                        model, version, data, header_bytes, self._limits.json_bytes
                    ),
                )
            answer = await unless_gone(
                request,
                self._upstream.run(lambda server: server.rpc("ModelInfer", asked.message, model)),
            )
        size = answer.ByteSize()
        return await self._converted(size, lambda: _response(asked, answer, request.headers))

    async def _converted(self, size: int, convert: Callable[[], Converted]) -> Converted:
        """Convert a message, in a thread if it is large; few at a time, for their memory."""
        if size <= _LARGE_BYTES:
            return convert()
        async with self._large:
            return await asyncio.to_thread(convert)


async def _send_large(response: Response, send: Send) -> None:
    """Send an answer as its caller reads it, so that it is known until when it takes memory."""
    start = {"type": "http.response.start", "status": response.status_code}
    await send({**start, "headers": response.raw_headers})
    body = memoryview(response.body)
    for at in range(0, len(body), _LARGE_BYTES):
        piece = body[at : at + _LARGE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


def _response(asked: InferRequest, answer: Any, headers: Headers) -> Response:
    body, header_bytes = write_answer(asked, answer)
    named = {} if header_bytes is None else {_INFERENCE_HEADER: str(header_bytes)}
    kind = "application/json" if header_bytes is None else "application/octet-stream"
    encoding = _accepted(headers.get("accept-encoding", ""))
    if encoding:
        compressor = zlib.compressobj(wbits=_COMPRESSORS[encoding])
        body = compressor.compress(body) + compressor.flush()
        named["Content-Encoding"] = encoding
    return Response(body, headers=named, media_type=kind)


def _problem(error: FacekitError) -> ProblemError:
    """Return an error of a server as its own HTTP would tell it."""
    problem = problem_of(error)
    cause = error.__cause__
    if not isinstance(cause, grpc.aio.AioRpcError):
        return problem
    status = _STATUSES.get(cause.code().name, 500)
    if status >= 503:
        return ProblemError(status, problem.detail, reason=problem.reason)
    return ProblemError(status, cause.details() or str(error), reason=problem.reason)


def _check_method(request: Request, method: str) -> None:
    allowed = [method, "HEAD"] if method == "GET" else [method]
    if request.method not in allowed:
        raise ProblemError(
            405, "Method Not Allowed", reason="method", headers={"Allow": ", ".join(allowed)}
        )


def _header_bytes(headers: Headers) -> int | None:
    """Return the length of the JSON in binary form, or None where all is JSON."""
    value = headers.get(_INFERENCE_HEADER)
    if value is None:
        return None
    if not re.fullmatch("[0-9]{1,12}", value):
        raise refused(f"{_INFERENCE_HEADER}: expected a whole number of bytes, got {value[:40]!r}")
    return int(value)


def _accepted(header: str) -> str:
    """Return the compression that an ``Accept-Encoding`` header likes best, or ""."""
    best, most = "", 0.0
    for part in header.split(","):
        name, _, quality = part.partition(";")
        found = re.fullmatch(r"\s*q=([01](?:\.[0-9]{0,3})?)\s*", quality)
        value = float(found[1]) if found else float(not quality)
        if name.strip().lower() in _COMPRESSORS and value > most:
            best, most = name.strip().lower(), value
    return best


def _json(found: Mapping[str, Any]) -> Response:
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return Response(text, media_type="application/json")
