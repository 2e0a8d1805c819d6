"""What a caller is told when a request can't be answered: problem details (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from facekit.errors import (
    ConfigError,
    DeadlineError,
    FacekitError,
    InputError,
    ModelMissingError,
    ServerUnavailableError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
"""What a caller is told to wait; a server that is restarted is back within seconds."""


class ProblemError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        detail: One sentence: what is wrong, where, and what was expected.
        reason: A short word that refusals are counted by.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason or HTTPStatus(status).phrase.lower()
        self.headers = dict(headers or {})
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the problem's JSON."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    def response(self, path: str = "") -> Response:
        """Return the answer to a request of a path: problem JSON, or as Triton does under /v2."""
        kserve = f"{path}/".startswith("/v2/")
        body = json.dumps({"error": self.detail} if kserve else self.to_dict(), ensure_ascii=False)
        media_type = "application/json" if kserve else MEDIA_TYPE
        return Response(body.encode("utf-8", "replace"), self.status, self.headers, media_type)


def problem_of(error: FacekitError) -> ProblemError:
    """Return the problem that one of the kit's errors is for a caller.

    A photo or a value that was read and is wrong is 422; what the server lacks is 404, 503 or 504,
    and an answer that breaks the tensor contract is 502.
    """
    status, reason = HTTPStatus.BAD_GATEWAY, "answer"
    if isinstance(error, InputError | ConfigError):
        status, reason = HTTPStatus.UNPROCESSABLE_ENTITY, "input"
    elif isinstance(error, ModelMissingError):
        status, reason = HTTPStatus.NOT_FOUND, "model"
    elif isinstance(error, ServerUnavailableError):
        detail = "the server is away or still starts: try again"
        return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, reason="server away")
    elif isinstance(error, DeadlineError):
        status, reason = HTTPStatus.GATEWAY_TIMEOUT, "timeout"
    return ProblemError(status, str(error), reason=reason)
