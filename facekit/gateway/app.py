"""The gateway's application: its routes, and what stands before them."""

import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route

import facekit
from facekit.errors import FacekitError
from facekit.gateway import rest, status
from facekit.gateway.access import Rates, Tokens
from facekit.gateway.bodies import Bodies
from facekit.gateway.counts import Counts
from facekit.gateway.grpc_proxy import GrpcProxy, start_grpc
from facekit.gateway.kserve import KServe
from facekit.gateway.middleware import HEADERS, AccessMiddleware
from facekit.gateway.openapi import describe
from facekit.gateway.pages import router as pages
from facekit.gateway.problems import ProblemError, problem_of
from facekit.gateway.settings import GatewaySettings
from facekit.gateway.sites import Sites
from facekit.gateway.status import Servers
from facekit.gateway.upstream import Upstream

# Its traceback is written to the log.
_OWN_FAULT = ProblemError(
    500, "an error of the gateway itself; its log tells which", headers=HEADERS
)
# Letters of what a caller sent that an error repeats.
_SHOWN = 40


def create_app(settings: GatewaySettings, counts: Counts, say: Callable[[str], None]) -> FastAPI:
    """Return the application; routes find ``upstream``, ``bodies``, ``counts`` in its state.

    Raises DataError if the file of tokens can't be used, and ConfigError for a wrong address.
    """
    upstream = Upstream(settings)

    tokens = None
    if settings.tokens is not None:
        tokens = Tokens(settings.tokens, say, settings.own_token)
    rates = None if settings.rate_per_s is None else Rates(settings.rate_per_s)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        proxy = None
        if tokens is not None and settings.grpc_port is not None:
            proxy = await start_grpc(settings, GrpcProxy(upstream, tokens, rates))
        yield
        if proxy is not None:
            await proxy.stop(grace=None)
        await upstream.close()

    app = FastAPI(
        title="facekit",
        version=facekit.__version__,
        description="Boxes and landmarks of faces in photos.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.upstream = upstream
    app.state.bodies = Bodies(settings.limits)
    app.state.counts = counts
    app.state.servers = Servers(upstream.servers)
    kserve = KServe(upstream, app.state.bodies, counts, settings.limits)
    app.router.routes.append(Route("/v2{rest:path}", kserve, include_in_schema=False))
    _handle_errors(app, counts)
    for router in (rest.router, status.router, pages):
        app.include_router(router)
    describe(app, tokens=settings.tokens is not None)
    app.add_middleware(
        AccessMiddleware,
        counts=counts,
        tokens=tokens,
        rates=rates,
        sites=Sites(settings.origins, local=_is_local(settings)),
    )
    # Around all, so that other sites' pages can read what they are refused for too.
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Inference-Header-Content-Length", "Retry-After"],
        )
    return app


def _handle_errors(app: FastAPI, counts: Counts) -> None:
    def answer(problem: ProblemError) -> Response:
        counts.refuse(problem.reason)
        return problem.response()

    def of_http(_request: Request, error: Any) -> Response:
        return answer(ProblemError(error.status_code, str(error.detail), headers=error.headers))

    def of_validation(_request: Request, error: Any) -> Response:
        detail = "; ".join(map(_described, error.errors()))
        return answer(ProblemError(422, detail, reason="input"))

    app.add_exception_handler(ProblemError, lambda _request, error: answer(error))
    app.add_exception_handler(FacekitError, lambda _request, error: answer(problem_of(error)))
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, lambda _request, _error: answer(_OWN_FAULT))
    app.add_exception_handler(RequestValidationError, of_validation)


def _described(wrong: Any) -> str:
    """Say what is wrong with one parameter, from FastAPI's error."""
    name = ".".join(map(str, wrong["loc"][1:] or wrong["loc"]))[:_SHOWN]
    if wrong["type"] == "extra_forbidden":
        return f"{name}: not a parameter of this call; /docs names those"
    return f"{name}: {wrong['msg']}, got {str(wrong['input'])[:_SHOWN]!r}"


def _is_local(settings: GatewaySettings) -> bool:
    """Return whether nobody else can call, neither directly nor through a proxy."""
    return ipaddress.ip_address(settings.address).is_loopback and not settings.trusted_proxies
