"""Triton's metrics, passed on: its own page can be ended by one request."""

import asyncio
import urllib.request
from http.client import HTTPException

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from facekit.gateway.counts import Counts

_TIMEOUT_S = 5
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def metrics_app(url: str, counts: Counts) -> Starlette:
    """Return the application of the metrics' own port: Triton's page at ``url``, and our counts."""

    async def metrics(_request: Request) -> Response:
        try:
            text = await asyncio.to_thread(_read, url)
        except (OSError, HTTPException) as error:
            return PlainTextResponse(f"# Triton's metrics are away: {error}\n", 503)
        return PlainTextResponse(text + _own(counts))

    return Starlette(routes=[Route("/metrics", metrics)])


def _read(url: str) -> str:
    with _DIRECT.open(url, timeout=_TIMEOUT_S) as page:
        return "# Triton's own metrics\n" + str(page.read().decode("utf-8", "replace"))


def _own(counts: Counts) -> str:
    lines = [
        "# The gateway's",
        "# HELP facekit_http_requests_total HTTP requests that came",
        "# TYPE facekit_http_requests_total counter",
        f"facekit_http_requests_total {counts.total}",
        "# HELP facekit_http_refused_total HTTP requests that were refused, by reason",
        "# TYPE facekit_http_refused_total counter",
        *(
            f'facekit_http_refused_total{{reason="{reason}"}} {number}'
            for reason, number in sorted(counts.refused.items())
        ),
    ]
    return "\n".join(lines) + "\n"
