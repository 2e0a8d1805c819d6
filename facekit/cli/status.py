"""``facekit status``: check by inference whether a server works."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from facekit.cli import add_tls_certificate, timeout
from facekit.engines.releases import known_holes
from facekit.errors import ConfigError
from facekit.text import one_line, show

if TYPE_CHECKING:
    from facekit.serving.health import Health


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "status",
        help="check by inference whether a server works",
        description="Send the built-in photo through every model that clients use. The exit code "
        "is 0 only if all of them answer: Triton's own ready flag stays set when a backend process "
        "has died.",
    )
    url_help = "gRPC endpoint (localhost:8001)"
    parser.add_argument("--url", default="localhost:8001", metavar="HOST:PORT", help=url_help)
    timeout_help = "seconds that the inferences may take together (30)"
    parser.add_argument("--timeout", type=timeout, default=30.0, metavar="S", help=timeout_help)
    add_tls_certificate(parser)
    once_help = "run each model once, instead of once for each of its processes"
    parser.add_argument("--once", action="store_true", help=once_help)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Check, print the report, and return the exit status."""
    from facekit.serving.health import check
    from facekit.serving.own_token import read_own_token

    health = check(
        args.url,
        timeout_s=args.timeout,
        once=args.once,
        tls_certificate=args.tls_cert,
        token=os.environ.get("FACEKIT_TOKEN") or read_own_token(args.url),
    )
    show(json.dumps(health.to_dict(), indent=2) if args.json else describe(health))
    return 0 if health.ok else 1


def describe(health: Health) -> str:
    """Return the report as text."""
    lines = [
        f"{model.name:<18} ok      {model.latency_ms:7.1f} ms"
        if model.ok
        else f"{model.name:<18} FAILED  {one_line(str(model.error))}"
        for model in health.models
    ]
    if health.ok:
        verdict = f"{health.url} works."
    elif health.error is not None:
        verdict = f"{health.url} does not work: {one_line(health.error)}"
    elif isinstance(refused := health.models[0].error if health.models else None, ConfigError):
        verdict = f"{health.url} does not let this caller in: {one_line(str(refused))}"
    elif health.claims_ready:
        verdict = f"{health.url} reports that it is ready, but its inferences fail: restart it."
    else:
        verdict = f"{health.url} does not work, and reports so itself."
    holes = one_line(known_holes(health.version))
    return "\n".join([*lines, verdict, *filter(None, [holes])])
