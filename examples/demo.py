"""The demo: faces and landmarks in a few portraits, drawn, tabled and written as JSON.

``python examples/demo.py [PHOTO ...]``; ``scripts/demo`` sets up what is missing first.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from facekit.command import run_command
from facekit.data.portraits import demo_photos
from facekit.files import write_whole
from facekit.outputs import check_own
from facekit.report import is_our_json, results_table, to_json
from facekit.runs import Drawings, connect, detect_all, find_photos
from facekit.text import show


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code.

    0; 1 if a photo failed, 2 if nothing could be done, 130 if it was interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Find faces and landmarks in photos; write annotated pictures and a JSON file.",
    )
    photos_help = "photos or folders (none: public-domain portraits that installed packages carry)"
    parser.add_argument("photos", metavar="PHOTO", nargs="*", type=Path, help=photos_help)
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("demo-output"),
        help="where the pictures and faces.json go (default: %(default)s)",
    )  # fmt: skip
    url_help = "gRPC address of a running server (without: an embedded server runs meanwhile)"
    parser.add_argument("--url", metavar="HOST:PORT", help=url_help)
    args = parser.parse_intermixed_args(argv)
    return run_command(lambda: run(args.photos, args.output, args.url), "demo")


def run(photos: Sequence[Path], output: Path, url: str | None = None) -> int:
    """Detect, draw, write ``faces.json`` and print a table.

    Args:
        photos: Photos and folders; none for the built-in choice.
        output: Folder of what is written.
        url: A running server's gRPC address; None for an embedded one.

    Raises:
        FacekitError: No server can be had.
        OSError: The folder can't be written.
    """
    check_own(output / "faces.json", is_our_json)
    output.mkdir(parents=True, exist_ok=True)
    found = find_photos(list(photos) or demo_photos(output))
    drawings = Drawings(output, found)
    if url is None:
        show("demo: starting the embedded Triton server", sys.stderr)
    start = time.monotonic()
    with connect(url) as client:
        ready = time.monotonic()
        results = [drawings.add(result) for result in detect_all(client, found)]
        done = time.monotonic()
    write_whole(output / "faces.json", to_json(results) + "\n")
    show(
        f"{results_table(results)}\n\n"
        f"Server ready in {ready - start:.1f} s, photos done in {done - ready:.1f} s.\n"
        f"Pictures and faces.json are in {output.resolve()}"
    )
    return int(any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main())
