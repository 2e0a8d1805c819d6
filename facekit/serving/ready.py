"""A server's own word that every model is loaded."""

from __future__ import annotations

import http.client

_TIMEOUT_S = 5


def answers_ready(address: str) -> bool:
    """Whether the server says that it is ready.

    Args:
        address: ``host:port`` of its HTTP endpoint.
    """
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
