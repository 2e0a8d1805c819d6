"""``facekit token``: a token that lets its holder call a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "token",
        help="make a token for callers of a server",
        description="Make a token, print it, and add its name and hash to FILE, which "
        "`facekit serve --tokens FILE` lets in at once. Delete a line to lock its holder out.",
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the file of tokens, made if needed"
    )
    parser.add_argument("name", metavar="NAME", help="whose token it is")


def run(args: argparse.Namespace) -> int:
    """Make and print the token, and return the exit status."""
    from facekit.gateway.access import new_token
    from facekit.text import show

    show(new_token(args.file, args.name))
    return 0
