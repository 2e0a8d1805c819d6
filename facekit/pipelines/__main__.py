"""Write a repository's DALI files: ``python -m facekit.pipelines REPOSITORY --device cpu``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from facekit.errors import SetupError
from facekit.pipelines.definitions import DEVICES
from facekit.pipelines.serialize import write_all


def main() -> int:
    """Write the files, name them, and return the exit code."""
    parser = argparse.ArgumentParser(description="Serialize the DALI pipelines.")
    parser.add_argument("repository", type=Path, help="the model repository to write into")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    args = parser.parse_args()
    try:
        for path in write_all(args.repository, devices=(args.device,)):
            sys.stdout.write(f"{path}\n")
    except SetupError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
