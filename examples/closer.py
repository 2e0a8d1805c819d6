"""The picture of docs/models.md: a panorama and a crowd, as one frame and as tiles show them.

``python examples/closer.py OUT.jpg``; needs the packages of the demo.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit.client import Client
from facekit.command import run_command
from facekit.data.portraits import line_up
from facekit.outputs import check_own, is_our_picture, picture_bytes
from facekit.runs import connect
from facekit.text import show

_BOX_COLOR = (255, 40, 40)
_GAP_PX = 8
_WIDTH = 700


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture, print the numbers of faces, and return the exit code."""
    parser = argparse.ArgumentParser(description="Draw a panorama and a crowd, found in tiles.")
    parser.add_argument("out", metavar="OUT.jpg", type=Path)
    args = parser.parse_args(argv)
    return run_command(lambda: run(args.out), "closer")


def run(out: Path) -> int:
    """Find faces without and with tiles, and write one picture of both; see ``connect``."""
    check_own(out, is_our_picture)
    (panorama, _), (crowd, _) = line_up(12, 1, 300, height=900), line_up(16, 12, 180)
    with connect(None, timeout_s=60) as client:
        rows = [
            _drawn(client, panorama, _WIDTH, "off"),
            _drawn(client, panorama, _WIDTH, "auto"),
            _beside(_drawn(client, crowd, _WIDTH, "off"), _drawn(client, crowd, _WIDTH, "auto")),
        ]
    sheet = Image.new("RGB", (_WIDTH, sum(row.height + _GAP_PX for row in rows) - _GAP_PX), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP_PX
    out.write_bytes(picture_bytes(sheet, out.suffix))
    return 0


def _drawn(client: Client, photo: Image.Image, width: int, tiles: str) -> Image.Image:
    """Return the photo with a box on each face, at another width in pixels."""
    faces = client.detect(np.asarray(photo), tiles=tiles)
    notes = "".join(f"; {note}" for note in faces.notes)
    show(f"{photo.width}x{photo.height}, tiles={tiles}: {len(faces)} boxes{notes}")
    scale = width / photo.width
    small = photo.resize((width, round(photo.height * scale)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    for box in faces.boxes_xyxy * scale:
        draw.rectangle(box.tolist(), outline=_BOX_COLOR, width=2)
    return small


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Return the first quarter of two pictures of one size, beside each other."""
    width, height = left.width // 2 - _GAP_PX // 2, left.height // 2
    both = Image.new("RGB", (left.width, height), "white")
    both.paste(left.crop((0, 0, width, height)), (0, 0))
    both.paste(right.crop((0, 0, width, height)), (left.width - width, 0))
    return both


if __name__ == "__main__":
    sys.exit(main())
