"""The picture of docs/privacy.md: a portrait as it is, and with its face covered in each way.

``python examples/draw_blur.py OUT.jpg``; needs the packages of the demo.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.command import run_command
from facekit.data.portraits import heads
from facekit.outputs import check_own, is_our_picture, picture_bytes
from facekit.privacy.cover import METHODS, cover_faces
from facekit.privacy.options import THRESHOLD
from facekit.runs import connect

_GAP_PX = 8
_SIDE = 240


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture and return the exit code."""
    parser = argparse.ArgumentParser(description="Draw a portrait and the ways to cover its face.")
    parser.add_argument("out", metavar="OUT.jpg", type=Path)
    args = parser.parse_args(argv)
    return run_command(lambda: run(args.out), "draw_blur")


def run(out: Path) -> int:
    """Find the face of a portrait, cover it, and write one picture of all; see ``connect``."""
    check_own(out, is_our_picture)
    pixels = np.asarray(heads()[0].resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
    with connect(None, timeout_s=60) as client:
        faces = client.detect(pixels, model="facenet_ensemble", threshold=THRESHOLD)
    row = Image.new("RGB", ((1 + len(METHODS)) * (_SIDE + _GAP_PX) - _GAP_PX, _SIDE), "white")
    row.paste(Image.fromarray(pixels))
    for place, how in enumerate(METHODS, 1):
        covered = pixels.copy()
        cover_faces(covered, faces.boxes_xyxy, how)
        row.paste(Image.fromarray(covered), (place * (_SIDE + _GAP_PX), 0))
    out.write_bytes(picture_bytes(row, out.suffix))
    return 0


if __name__ == "__main__":
    sys.exit(main())
