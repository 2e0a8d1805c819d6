"""The gateway's own pages: the photo page at ``/``, and what can be called at ``/docs``.

Everything a page needs comes from this server, so that it works offline and under a strict
Content-Security-Policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import APIRouter, Request, Response

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Asked for anew each time, and answered with 304 where it is unchanged.
    "Cache-Control": "no-cache",
}
"""Headers of every file of the pages."""

_OWN = files("facekit.gateway") / "page"
# The one package of PyPI that brings a Swagger UI which reads OpenAPI 3.1, FastAPI's.
_SWAGGER = files("fastapi_offline") / "static"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_SCRIPTS = ("page.js", "calls.js", "camera.js", "draw.js", "faces.js", "status.js")
FILES = {
    "/": _OWN / "index.html",
    **{f"/{name}": _OWN / name for name in (*_SCRIPTS, "page.css", "icon.svg")},
    "/docs": _OWN / "docs.html",
    "/docs/docs.js": _OWN / "docs.js",
    "/docs/swagger-ui.css": _SWAGGER / "swagger-ui.css",
    "/docs/swagger-ui-bundle.js": _SWAGGER / "swagger-ui-bundle.js",
}
"""Path of the URL to file."""


def _route(path: str) -> Callable[[Request], Awaitable[Response]]:
    """Return the route that answers with one file."""
    content = FILES[path].read_bytes()
    headers = {**HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    media_type = _TYPES[FILES[path].name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return answer


router = APIRouter(include_in_schema=False)
"""Routes of the pages."""
for _path in FILES:
    router.add_api_route(_path, _route(_path), methods=["GET", "HEAD"])
