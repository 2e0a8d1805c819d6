"""What a gateway is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class GatewayLimits:
    """How much a gateway takes in.

    Attributes:
        body_bytes: One request's body, also after it was decompressed: a batch of photos in binary
            form, as much as gRPC sends.
        json_bytes: A body, or the part of it, that is JSON, which takes a multiple of its size in
            memory once it is read.
        bodies_bytes: The bodies of all requests together.
        header_bytes: Request line and headers.
        connections: Open at a time.
        requests_per_server: Sent to one server at a time; the others wait.
        waiting: Requests that wait; one more is refused.
        header_timeout_s: Until the headers are complete.
        idle_timeout_s: Between two parts of a body, and for a client to read on.
        slowest_bytes_per_s: Of a body, on average, from ``idle_timeout_s`` on.
    """

    body_bytes: int = 256 * MIB
    json_bytes: int = 96 * MIB
    bodies_bytes: int = 512 * MIB
    header_bytes: int = 16 * 1024
    connections: int = 512
    requests_per_server: int = 64
    waiting: int = 256
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 10.0
    slowest_bytes_per_s: int = 16 * 1024


@dataclass(frozen=True)
class GatewaySettings:
    """Where a gateway listens, what it passes requests on to, and whom it lets in.

    Attributes:
        urls: ``host:port`` of each server's gRPC endpoint; all serve the same models.
        address: The IP address to listen on.
        grpc_port: Of gRPC for callers with a token; None for no gRPC.
        metrics_url: Triton's metrics, which are published at a port of their own.
        secret: What the servers ask for with every call (``serving.endpoints``).
        own_token: A token that is in no file, for health checks.
        timeout_s: How long a server may take to answer one request.
        server_certificate: PEM file; the servers' gRPC is encrypted, and shows this certificate.
        certificate: PEM file; with ``key`` HTTP is encrypted.
        tokens: File of the tokens that let a caller in; by default everybody is let in.
        origins: Origins of other sites whose pages may call this server (CORS).
        rate_per_s: Requests a second of one client, or None.
        trusted_proxies: Addresses whose ``X-Forwarded-For`` and ``-Proto`` are believed.
    """

    urls: tuple[str, ...] = ("localhost:8001",)
    address: str = "127.0.0.1"
    grpc_port: int | None = None
    metrics_url: str | None = None
    secret: str | None = field(default=None, repr=False)
    own_token: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    server_certificate: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    tokens: Path | None = None
    origins: tuple[str, ...] = ()
    rate_per_s: float | None = None
    trusted_proxies: tuple[str, ...] = ()
    limits: GatewayLimits = field(default_factory=GatewayLimits)
