"""``facekit serve``: the embedded Triton server in the foreground, kept up."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand's options."""
    parser = subparsers.add_parser(
        "serve",
        help="run the Triton server on this machine",
        description=(
            "Run the embedded Triton server in the foreground. A dead backend process, or a real "
            "inference that fails, is noticed and mended. Ctrl-C stops the server when the "
            "requests under way have ended; a second Ctrl-C at once."
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--http-port", type=int, default=8000, metavar="N", help="HTTP port (8000; 0: any free one)"
    )
    parser.add_argument(
        "--grpc-port", type=int, default=8001, metavar="N", help="gRPC port (8001; 0: any free one)"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=8002,
        metavar="N",
        help="port of the Prometheus metrics (8002; 0: any free one)",
    )
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="IP",
        help="where to listen (127.0.0.1: this machine only; 0.0.0.0: every network)",
    )
    parser.add_argument(
        "--model-repository",
        type=Path,
        metavar="DIR",
        help="the models (the kit's own; also FACEKIT_MODEL_REPOSITORY)",
    )
    parser.add_argument(
        "--config-name",
        default="cpu",
        metavar="NAME",
        help="prefer <model>/configs/NAME.pbtxt to config.pbtxt (cpu)",
    )
    parser.add_argument(
        "--color",
        choices=("gray", "rgb"),
        default=None,
        help="what FaceNet is fed (as the repository is configured: gray)",
    )
    parser.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="append Triton's log to this file (it is dropped otherwise)",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say only what goes wrong, not where it listens"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; return the exit code."""
    # Here, so that `facekit --help` needs none of it.
    from facekit.serving.embedded import EmbeddedServer, default_model_repository
    from facekit.serving.overlay import colored_repository
    from facekit.serving.supervisor import Supervisor

    def say(line: str) -> None:
        if args.quiet and line.startswith(("ready:", "starting", "stopping")):
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        # Who closed it, such as a terminal that is gone, does not stop the service.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{stamp} facekit serve: {line}\n")
            sys.stderr.flush()

    with contextlib.ExitStack() as stack:
        repository = args.model_repository or default_model_repository()
        if args.color is not None and repository.is_dir():
            repository = stack.enter_context(colored_repository(repository, args.color))
        server = EmbeddedServer(
            repository,
            http_port=args.http_port,
            grpc_port=args.grpc_port,
            metrics_port=args.metrics_port,
            address=args.address,
            config_name=args.config_name,
            log_file=args.log_file,
        )
        say("starting")
        Supervisor(server, say).run()
    return 0
