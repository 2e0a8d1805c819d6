"""Command line: ``python -m training.facenet train|export|evaluate``; see ``commands.py``."""

from __future__ import annotations

from training.libraries import run_module


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_module("training.facenet.commands", arguments)


if __name__ == "__main__":
    raise SystemExit(main())
