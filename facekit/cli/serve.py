"""``facekit serve``: a Triton server in the foreground, kept up."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.cli._listening import access_arguments, add_access, add_tls, tls_files, variable
from facekit.errors import SetupError

if TYPE_CHECKING:
    from facekit.serving.server import TritonServer


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "serve",
        help="run the Triton server on this machine",
        description="Run a Triton server in the foreground: the embedded one, or with --native the "
        "one of a container. It is restarted when a backend process has died or an inference "
        "fails. Ctrl-C stops it after the requests in flight; a second Ctrl-C at once.",
        epilog="Options that name an environment variable take it as their default. With --native "
        "every start first checks that the engines fit this TensorRT and this GPU, and prints how "
        "to repair one that does not.",
    )
    for kind, number, what in (
        ("http", 8000, "HTTP port"),
        ("grpc", 8001, "gRPC port"),
        ("metrics", 8002, "port of the Prometheus metrics"),
    ):
        parser.add_argument(
            f"--{kind}-port",
            type=int,
            default=number,
            metavar="N",
            help=f"{what} (%(default)s; 0: any free one)",
        )
    address_help = (
        "IPv4 or IPv6 address to listen on (127.0.0.1 or ::1: this machine only; 0.0.0.0: "
        "every network over IPv4, and gRPC over IPv6 too; :: is every network over both)"
    )
    parser.add_argument("--address", default="127.0.0.1", metavar="IP", help=address_help)
    model_repository_help = (
        "the model repository (default: the kit's own; also FACEKIT_MODEL_REPOSITORY)"
    )
    parser.add_argument("--model-repository", type=Path, metavar="DIR", help=model_repository_help)
    native_help = (
        "run the Triton in this folder, by default the one of NVIDIA's images, with its own "
        "backends"
    )
    parser.add_argument("--native", nargs="?", const="", metavar="DIR", help=native_help)
    parser.add_argument(
        "--config-name",
        metavar="NAME",
        help="prefer <model>/configs/NAME.pbtxt to config.pbtxt (default: cpu; with --native what "
        "the engines were built for; '' for config.pbtxt)",
    )
    parser.add_argument(
        "--color",
        choices=("gray", "rgb"),
        help="color of FaceNet's input (default: as the repository is configured, gray; also "
        "FACEKIT_COLOR)",
    )
    parser.add_argument(
        "--restrict-management",
        action="store_true",
        help="refuse loading models, shared memory, trace and log settings; only inference is "
        "allowed",
    )
    add_tls(parser)
    add_access(parser)
    parser.add_argument(
        "--log-file",
        metavar="FILE",
        help="append Triton's log to FILE, whose folders are created; - is standard error "
        "(default: no log)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print only problems, not where it listens"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, and return the exit status."""
    # The imports are slow, and the first process of a container ignores signals without a handler.
    handlers = {
        number: signal.signal(number, _stop_early) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        return _serve(args)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _serve(args: argparse.Namespace) -> int:
    from facekit.serving.supervisor import Supervisor

    def say(line: str) -> None:
        if args.quiet and line.startswith(("ready:", "Triton ", "starting", "stopping")):
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        # A closed stream, such as of a terminal that is gone, must not stop the service.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{stamp} facekit serve: {line}\n")
            sys.stderr.flush()

    server = _server(args)
    say("starting")
    Supervisor(server, say).run()
    return 0


def _server(args: argparse.Namespace) -> TritonServer:
    from facekit.serving.embedded import EmbeddedServer
    from facekit.serving.repository import COLORS, default_model_repository
    from facekit.serving.stock import DEFAULT_ROOT, StockServer
    from facekit.serving.tls import Tls

    files = tls_files(args)
    if args.tokens is not None:
        from facekit.gateway.access import Tokens

        Tokens(args.tokens, lambda line: None)  # a file that can't be used ends the start here
    _check_config_name(args.model_repository or default_model_repository(), args.config_name)
    options: dict[str, Any] = {
        "http_port": args.http_port,
        "grpc_port": args.grpc_port,
        "metrics_port": args.metrics_port,
        "address": args.address,
        "log_file": args.log_file,
        "tls": None if files is None else Tls(*files),
        "tokens": None if args.tokens is None else Path(args.tokens).absolute(),
        "gateway_args": access_arguments(args),
        "color": _chosen("FACEKIT_COLOR", args.color, COLORS),
        "restrict_management": args.restrict_management,
    }
    if args.native is None:
        config = "cpu" if args.config_name is None else args.config_name
        return EmbeddedServer(args.model_repository, config_name=config, **options)
    return StockServer(
        args.model_repository,
        root=args.native or DEFAULT_ROOT,
        config_name=args.config_name,
        **options,
    )


def _check_config_name(repository: Path, name: str | None) -> None:
    names = {path.stem for path in repository.glob("*/configs/*.pbtxt")}
    if name and names and name not in names:
        raise SetupError(
            f"--config-name {name}: no model of {repository} has a file configs/{name}.pbtxt; "
            f"expected one of {', '.join(sorted(names))}, or '' for config.pbtxt"
        )


def _chosen(name: str, given: str | None, known: tuple[str, ...]) -> str | None:
    value = given or variable(name)
    if value is not None and value not in known:
        raise SetupError(f"{name}: expected {' or '.join(known)}, got {value!r}.")
    return value


def _stop_early(_number: int, _frame: object) -> None:
    raise SystemExit(0)
