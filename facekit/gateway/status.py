"""``GET /v1/status``: the servers, their models, and the requests of this gateway."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from tritonclient.grpc import service_pb2

import facekit
from facekit.errors import FacekitError
from facekit.gateway.answers import json_response
from facekit.gateway.upstream import Server

# A server that takes longer is shown as away.
_TIMEOUT_S = 2.0
# Within it all callers get the same answer, so that they can't load the servers with it.
_KEPT_S = 1.0
_NS_PER_MS = 1e6

router = APIRouter(prefix="/v1", tags=["state"])


class ModelStatus(BaseModel):
    """One model of a server, since that started."""

    name: str
    version: str
    state: str = Field(description="READY, LOADING, UNLOADING or UNAVAILABLE")
    requests: int = Field(description="that were answered")
    failed: int
    queue_ms: float = Field(description="mean of the answered requests")
    compute_ms: float = Field(description="mean of the answered requests")


class ServerStatus(BaseModel):
    """One server behind the gateway."""

    url: str = Field(description="its number and the first word of its host's name")
    ready: bool
    triton: str = Field(description="version; empty while it is away")
    models: list[ModelStatus]


class RequestCounts(BaseModel):
    """Requests of this gateway since its start."""

    total: int
    per_s: float = Field(description="of the last ten seconds")
    in_flight: int
    waiting: int = Field(description="for a server to have time for them")


class Status(BaseModel):
    """The state of the gateway and of the servers behind it."""

    facekit: str = Field(description="version")
    servers: list[ServerStatus]
    requests: RequestCounts
    refused: dict[str, int] = Field(description="requests refused, by reason")
    since: str = Field(description="start of the gateway, ISO 8601")


class Servers:
    """What was last known of the servers behind a gateway."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self._asking = asyncio.Lock()
        self._asked = -_KEPT_S
        self._known: list[dict[str, Any]] = []

    async def states(self) -> list[dict[str, Any]]:
        """Return what ``ServerStatus`` describes, at most a second old."""
        async with self._asking:
            if time.monotonic() - self._asked >= _KEPT_S:
                self._known = await asyncio.gather(
                    *(_state(number, server) for number, server in enumerate(self._servers, 1))
                )
                self._asked = time.monotonic()
        return self._known


@router.get("/status", responses={200: {"model": Status}})
async def status(request: Request) -> Response:
    """Return the state of the servers, and counts of this gateway's requests."""
    state = request.app.state
    counts = state.counts
    return json_response(
        {
            "facekit": facekit.__version__,
            "servers": await state.servers.states(),
            "requests": {**counts.to_dict(), "waiting": state.upstream.waiting},
            "refused": dict(sorted(counts.refused.items())),
            "since": counts.since.isoformat(timespec="seconds"),
        }
    )


async def _state(number: int, server: Server) -> dict[str, Any]:
    host = server.url.rpartition(":")[0]
    url = f"{number} {_short(host)}".strip()
    state: dict[str, Any] = {"url": url, "ready": False, "triton": "", "models": []}
    try:
        ready, about, stats, index = await asyncio.wait_for(
            asyncio.gather(
                server.rpc("ServerReady", service_pb2.ServerReadyRequest()),
                server.rpc("ServerMetadata", service_pb2.ServerMetadataRequest()),
                server.rpc("ModelStatistics", service_pb2.ModelStatisticsRequest()),
                _states(server),
            ),
            _TIMEOUT_S,
        )
    except (FacekitError, asyncio.TimeoutError):
        return state
    known = {(each.name, each.version): each for each in stats.model_stats}
    # An index has models too that could not be loaded; only loaded ones have statistics.
    states = {**dict.fromkeys(known, "READY"), **index}
    models = [_model(*key, states[key], known.get(key)) for key in sorted(states)]
    return {**state, "ready": ready.ready, "triton": about.version, "models": models}


async def _states(server: Server) -> dict[tuple[str, str], str]:
    """Return the states of a server's models, or none where management is restricted."""
    try:
        index = await server.rpc("RepositoryIndex", service_pb2.RepositoryIndexRequest())
    except FacekitError:
        return {}
    return {(each.name, each.version): each.state for each in index.models}


def _model(name: str, version: str, state: str, known: Any) -> dict[str, Any]:
    stats = (known or service_pb2.ModelStatistics()).inference_stats
    answered = max(1, stats.success.count)
    compute_ns = stats.compute_input.ns + stats.compute_infer.ns + stats.compute_output.ns
    return {
        "name": name,
        "version": version,
        "state": state,
        "requests": stats.success.count,
        "failed": stats.fail.count,
        "queue_ms": round(stats.queue.ns / answered / _NS_PER_MS, 3),
        "compute_ms": round(compute_ns / answered / _NS_PER_MS, 3),
    }


def _short(host: str) -> str:
    """Return a host without its domain; an address or the path of a socket is not shown."""
    first = host.partition(".")[0]
    return first if first[:1].isalpha() else ""
