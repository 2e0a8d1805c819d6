"""The options that every kind of server has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from facekit.serving.tls import Tls


@dataclass(frozen=True)
class ServerOptions:
    """What every kind of server can be told.

    Attributes:
        http_port: 0 for any free one, as for the other two.
        grpc_port: see ``http_port``.
        metrics_port: see ``http_port``.
        address: the IPv4 or IPv6 address to listen on, or a name for one.
        log_file: gets the server's log, appended; ``-`` is standard error; by default a temporary
            file.
        tls: encrypts gRPC; HTTP stays plain.
        color: what FaceNet is fed, ``gray`` or ``rgb``; by default what the repository's
            configurations say.
        restrict_management: refuses every caller what is no inference: loading models, shared
            memory, trace and log settings.
        extra_args: more options for the ``tritonserver`` program.
    """

    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    address: str = "127.0.0.1"
    log_file: str | os.PathLike[str] | None = None
    tls: Tls | None = None
    color: str | None = None
    restrict_management: bool = False
    extra_args: Sequence[str] = ()

    def ports(self) -> dict[str, int]:
        """Return the ports wanted by the names that ``tritonserver`` has for them."""
        return {
            "--http-port": self.http_port,
            "--grpc-port": self.grpc_port,
            "--metrics-port": self.metrics_port,
        }
