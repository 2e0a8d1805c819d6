"""``facekit gateway``: the HTTP front alone, before one or several servers."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.cli import timeout
from facekit.cli._listening import add_access, add_tls, listed, tls_files, variable
from facekit.errors import SetupError

if TYPE_CHECKING:
    from facekit.gateway.settings import GatewaySettings


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "gateway",
        help="HTTP in front of servers: KServe's protocol, REST, a page",
        description="Listen for HTTP and pass requests on to one or several Triton servers by "
        "gRPC. `facekit serve` runs one by itself; this is for servers elsewhere.",
        epilog="Options that name an environment variable take it as their default.",
    )
    url_help = "gRPC of the servers, with commas between them (localhost:8001)"
    parser.add_argument("--url", default="localhost:8001", metavar="HOST:PORT,...", help=url_help)
    parser.add_argument(
        "--server-tls-cert",
        type=Path,
        metavar="FILE",
        help="the servers' PEM certificate: their gRPC is encrypted, and this one is trusted",
    )
    parser.add_argument("--http-port", type=int, default=8000, metavar="N", help="port (8000)")
    parser.add_argument(
        "--address", default="127.0.0.1", metavar="IP", help="address to listen on (127.0.0.1)"
    )
    parser.add_argument(
        "--timeout",
        type=timeout,
        default=30.0,
        metavar="SECONDS",
        help="how long a server may take for one request (30)",
    )
    add_tls(parser)
    add_access(parser)
    parser.add_argument(
        "--grpc-port",
        type=int,
        metavar="N",
        help="with --tokens: let their holders in by gRPC too (default: no gRPC)",
    )
    # What `facekit serve` tells the gateway that it starts.
    parser.add_argument("--metrics-url", help=argparse.SUPPRESS)
    parser.add_argument("--metrics-port", type=int, default=0, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, and return the exit status."""
    # Read when NumPy is imported: threads for small matrices would only take the cores away from
    # the server.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from facekit.gateway.server import serve
    from facekit.serving import ports

    address = ports.resolve(args.address)
    settings = settings_of(args, address)
    if settings.grpc_port is not None:
        ports.choose_ports(address, {"--grpc-port": settings.grpc_port})  # whether it is free
    listener = ports.listen(address, args.http_port, "--http-port")
    metrics = None
    if settings.metrics_url is not None:
        metrics = ports.listen(address, args.metrics_port, "--metrics-port")
    else:
        scheme = "http" if settings.certificate is None else "https"
        url = f"{scheme}://{ports.host_in_url(address)}:{listener.getsockname()[1]}"
        _say(f"listening: {url}")
    serve(settings, listener, metrics, _say)
    return 0


def _say(line: str) -> None:
    from facekit.text import show

    show(f"{time.strftime('%Y-%m-%d %H:%M:%S')} facekit gateway: {line}", sys.stderr)


def settings_of(args: argparse.Namespace, address: str) -> GatewaySettings:
    """Return what the options say."""
    from facekit.gateway.settings import GatewaySettings
    from facekit.serving.endpoints import OWN_TOKEN_VARIABLE, SECRET_VARIABLE

    if args.grpc_port is not None and args.tokens is None:
        raise SetupError("--grpc-port: only with --tokens; without them call the servers' own gRPC")
    certificate, key = tls_files(args) or (None, None)
    return GatewaySettings(
        urls=listed(args.url),
        address=address,
        grpc_port=args.grpc_port,
        metrics_url=args.metrics_url,
        secret=variable(SECRET_VARIABLE),
        own_token=variable(OWN_TOKEN_VARIABLE),
        timeout_s=args.timeout,
        server_certificate=args.server_tls_cert,
        certificate=certificate,
        key=key,
        tokens=args.tokens,
        origins=listed(args.cors),
        rate_per_s=args.rate,
        trusted_proxies=listed(args.trusted_proxies),
    )
