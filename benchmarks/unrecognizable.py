"""What ``facekit blur`` misses, and what is left of covered faces: see :func:`main`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers import environment, labeled
from facekit.cli import add_json, print_results
from facekit.client import Client
from facekit.command import run_command
from facekit.detection.search import MIN_THRESHOLD
from facekit.draw import open_upright
from facekit.errors import SetupError
from facekit.labels.photo_labels import PhotoLabels
from facekit.landmarks.scheme import groups
from facekit.privacy.cover import MARGIN, METHODS, cover_faces
from facekit.privacy.options import THRESHOLD
from facekit.progress import ProgressBar
from facekit.runs import connect
from facekit.text import table

COVERED = 0.9
"""Part of a labeled box's ellipse from which on its face counts as covered."""
MATCH = 0.6
"""Distance below which dlib's network means one person (its example face_recognition.py)."""
LANDMARK_ERROR = 0.08
"""Error of the landmarks, of the distance of the eyes' outer corners, above which 300-W counts them
as failed."""
_CONTROL = "nothing"
"""Stands for a face that is not covered but saved as a JPEG of quality 75."""
_SIDE = 200
"""Longer side of a face in the pictures that are compared, at most."""
_AROUND = 1.0
"""Of the face's box, on each side, shown with it."""
_RUNNER = Path(__file__).with_name("identity_runner.py")
_OUT = Path("bench-output/peers")


class _Tally:
    """Counts over all photos; ``rows`` are of the faces that are compared."""

    def __init__(self, folder: Path, count: int, least_side: float) -> None:
        self.folder, self.count, self.least_side = folder, count, least_side
        self.labeled, self.covered, self.rows = 0, 0, dict[str, dict[str, float]]()
        self.found = self.photos = 0

    def add(self, client: Client, labels: PhotoLabels) -> None:
        """Take one photo with its labeled faces."""
        assert labels.photo is not None
        image = open_upright(labels.photo)
        pixels = np.asarray(image)
        faces = client.detect(
            labels.photo,
            model="facenet_ensemble",
            tiles="auto",
            rotations="auto",
            threshold=MIN_THRESHOLD,
        )
        boxes = faces.boxes_xyxy[faces.scores >= THRESHOLD]
        self.photos, self.found = self.photos + 1, self.found + len(boxes)
        wanted = labels.boxes_xyxy[~labels.ignored]
        shares = np.array([covered_share(box, boxes, image.size) for box in wanted])
        self.labeled, self.covered = (
            self.labeled + len(wanted),
            self.covered + int((shares >= COVERED).sum()),
        )
        for box in wanted[shares >= COVERED]:
            if len(self.rows) < self.count and (box[2:] - box[:2]).min() >= self.least_side:
                self._compare(client, pixels, box, boxes)

    def _compare(self, client: Client, pixels: Any, box: Any, boxes: Any) -> None:
        pictures = {how: pixels.copy() for how in METHODS}
        for how, each in pictures.items():
            cover_faces(each, boxes, how)
        frame = _grown(box, pixels.shape[1::-1])
        scale = min(1.0, _SIDE / (box[2:] - box[:2]).max())
        size_wh = tuple(np.maximum((frame[2:] - frame[:2]) * scale, 1).round().astype(int).tolist())
        shown = {
            name: np.asarray(
                Image.fromarray(each).crop(tuple(frame)).resize(size_wh, Image.Resampling.LANCZOS)
            )
            for name, each in {"original": pixels, **pictures}.items()
        }
        shown[_CONTROL] = _compressed(shown["original"])
        own = (box - np.tile(frame[:2], 2)) * scale
        name = f"{len(self.rows):05d}"
        np.savez(self.folder / f"{name}.npz", face=own, **shown)
        points = {each: client.landmarks(shown[each], own[None])[0][0] for each in shown}
        eyes = groups(len(points["original"]))
        corners = points["original"][[eyes["right_eye"].start, eyes["left_eye"].start + 3]]
        unit = float(np.linalg.norm(corners[1] - corners[0]))
        self.rows[name] = {
            each: float(np.linalg.norm(points[each] - points["original"], axis=1).mean()) / unit
            for each in shown
            if each != "original"
        }


def covered_share(box: Any, boxes: Any, size_wh: tuple[int, int]) -> float:
    """Return the part of the ellipse in a box that ``cover_faces`` covers with its margin."""
    ellipse = np.zeros((size_wh[1], size_wh[0], 1), np.uint8)
    cover_faces(ellipse, box, "box", 0.0, black=1)
    area = int(ellipse.sum())
    cover_faces(ellipse, boxes, "box", MARGIN, black=0)
    return 1.0 - float(ellipse.sum()) / max(area, 1)


def _grown(box: Any, size_wh: Sequence[int]) -> Any:
    room = (box[2:] - box[:2]) * _AROUND
    low, high = np.maximum(box[:2] - room, 0), np.minimum(box[2:] + room, size_wh)
    return np.concatenate([np.floor(low), np.ceil(high)]).astype(int)


def _compressed(pixels: Any) -> Any:
    with tempfile.TemporaryFile() as file:
        Image.fromarray(pixels).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))


def identities(folder: Path, out: Path) -> list[dict[str, Any]]:
    """Return the runner's answers; SetupError if dlib can't be installed or fails."""
    command = [str(environment("dlib", out)), "-I", str(_RUNNER), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"dlib's process ended: {done.stderr.strip().splitlines()[-1:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def results(tally: _Tally, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all figures."""
    others = np.array([each for answer in answers for each in answer["others"]])
    methods = {}
    for name in (_CONTROL, *METHODS) if answers else ():
        away = np.array([answer["distance"][name] for answer in answers])
        errors = np.array([tally.rows[answer["name"]][name] for answer in answers])
        found = np.array([answer["found"][name] for answer in answers])
        methods[name] = {
            "recognized": float((found & (away < MATCH)).mean()),
            "matches": float((away < MATCH).mean()),
            "least_distance": float(away.min()),
            "median_distance": float(np.median(away)),
            "landmarks_match": float((errors < LANDMARK_ERROR).mean()),
            "median_landmark_error": float(np.median(errors)),
        }
    return {
        "photos": tally.photos,
        "labeled": tally.labeled,
        "covered": tally.covered / max(tally.labeled, 1),
        "found_a_photo": tally.found / max(tally.photos, 1),
        "compared": len(answers),
        "others_match": float((others < MATCH).mean()) if len(others) else None,
        "methods": methods,
    }


def _shown(figures: dict[str, Any]) -> str:
    heads = "found and\nmatched", "matched\nwhere it is", "least\ndistance"
    rows = [("", *heads, "landmarks\nwithin 8 %", "median\n%")]
    for name, each in figures["methods"].items():
        rows.append(
            (
                name,
                f"{each['recognized']:.1%}",
                f"{each['matches']:.1%}",
                f"{each['least_distance']:.2f}",
                f"{each['landmarks_match']:.1%}",
                f"{100 * each['median_landmark_error']:.1f}",
            )
        )
    head = (
        f"{figures['labeled']:,} labeled faces in {figures['photos']:,} photos: "
        f"{figures['covered']:.1%} covered; {figures['found_a_photo']:.2f} places covered a photo\n"
    )
    if not figures["methods"]:
        return head.rstrip()
    head += (
        f"{figures['compared']} faces compared; of different photos' faces dlib takes "
        f"{figures['others_match']:.1%} for one person\n"
    )
    return head + table(rows, "lrrrrr")


def main() -> int:
    """Cover the faces of labeled photos as ``facekit blur`` does by default, and compare.

    A labeled face is covered if nine tenths of the ellipse in its box are. Of the covered ones that
    are large enough, some are compared with what they were: by dlib's embedding, and by the kit's
    own landmarks in the same box.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.unrecognizable", description=__doc__)
    parser.add_argument("--labels", metavar="PATH", type=Path, required=True)
    parser.add_argument("--photos", metavar="DIR", type=Path)
    parser.add_argument("--split", choices=("evaluation", "calibration", "training"))
    parser.add_argument("--ignore", metavar="FILE", type=Path, help="as of benchmarks.peers")
    parser.add_argument(
        "--count", metavar="N", type=int, default=200, help="faces compared, 0 for none"
    )
    parser.add_argument("--least-side", metavar="PX", type=float, default=60.0, help="of these")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running server")
    parser.add_argument("--out", metavar="DIR", type=Path, default=_OUT, help="for dlib")
    add_json(parser, "the figures")
    args = parser.parse_args()
    photos, _ = labeled(args)
    with tempfile.TemporaryDirectory() as name:
        tally = _Tally(Path(name), args.count, args.least_side)
        with connect(args.url) as client, ProgressBar(len(photos), "photos") as bar:
            for labels in photos:
                tally.add(client, labels)
                bar.advance()
        figures = results(tally, identities(Path(name), args.out) if tally.rows else [])
    print_results(_shown(figures), lambda: json.dumps(figures, indent=1), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, "benchmarks.unrecognizable"))
