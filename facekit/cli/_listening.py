"""Options of whatever listens: its certificate, and whom it lets in."""

import argparse
import os
from pathlib import Path

from facekit.cli import positive_number
from facekit.errors import SetupError


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Declare the files that encrypt what is listened to."""
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=variable("FACEKIT_TLS_CERT"),
        metavar="FILE",
        help="PEM certificate: with --tls-key HTTP and gRPC are encrypted (also FACEKIT_TLS_CERT)",
    )
    parser.add_argument(
        "--tls-key",
        type=Path,
        default=variable("FACEKIT_TLS_KEY"),
        metavar="FILE",
        help="PEM key of --tls-cert, without a password (also FACEKIT_TLS_KEY)",
    )


def add_access(parser: argparse.ArgumentParser) -> None:
    """Declare who may call, and how often."""
    parser.add_argument(
        "--tokens",
        type=Path,
        default=variable("FACEKIT_TOKENS"),
        metavar="FILE",
        help="let in only callers with a token of this file, which `facekit token` fills (also "
        "FACEKIT_TOKENS)",
    )
    parser.add_argument(
        "--rate",
        type=positive_number,
        metavar="N",
        help="requests a second of one token, or without tokens of one address (default: all)",
    )
    parser.add_argument(
        "--cors",
        default="",
        metavar="ORIGIN,...",
        help="other sites whose pages may call this server, such as https://example.org",
    )
    parser.add_argument(
        "--trusted-proxies",
        default="",
        metavar="IP,...",
        help="proxies whose X-Forwarded-For names the client",
    )


def access_arguments(args: argparse.Namespace) -> list[str]:
    """Return the options of :func:`add_access`, but for the tokens, as they were given."""
    given = [f"--cors={args.cors}", f"--trusted-proxies={args.trusted_proxies}"]
    return given if args.rate is None else [*given, f"--rate={args.rate}"]


def variable(name: str) -> str | None:
    """Return an environment variable; an empty one, as Compose sets it, counts as unset."""
    return os.environ.get(name) or None


def tls_files(args: argparse.Namespace) -> tuple[Path, Path] | None:
    """Return the certificate and the key, or None if neither is given.

    Raises SetupError if one is missing.
    """
    if args.tls_cert is None and args.tls_key is None:
        return None
    if args.tls_cert is None or args.tls_key is None:
        given, missing = ("cert", "key") if args.tls_key is None else ("key", "cert")
        raise SetupError(
            f"--tls-{given} is given and --tls-{missing} is not: TLS needs both "
            "(FACEKIT_TLS_CERT and FACEKIT_TLS_KEY)."
        )
    return Path(args.tls_cert).absolute(), Path(args.tls_key).absolute()


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of a text with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
