"""Make the mean face of head poses of labeled points: ``python -m training.landmarks.mean_face``.

Takes folders of ``.pts`` files of 68 points, and prints the points of
``facekit.landmarks.pose.MEAN_FACE``. The face is taken for a rigid body, equal on both sides, that
is seen in many poses by scaled orthography. Its shape and the poses are found in turns, each by
least squares given the other. Points that lie far from their place, such as those of a mouth wide
open, count less.

The face that comes out is turned so that the median pose of the first folder looks down by
``PORTRAIT_PITCH_DEG``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facekit.command import run_command
from facekit.errors import DataError
from facekit.labels.pts import mirror_order, read_pts
from facekit.landmarks.pose import angles_deg, fit_face, rotations_of
from facekit.landmarks.scheme import groups
from facekit.text import show

Array = npt.NDArray[np.float64]

PORTRAIT_PITCH_DEG = -3.3
"""Median pitch of Helen's portraits in the frame of MediaPipe's canonical face model (Apache-2.0,
mediapipe/modules/face_geometry/data), to whose eyes, brows, nose and mouth the mean face was
laid."""

_ROUNDS = 80
_OUTLIER = 0.1
"""Distance from its place, in eye distances, at which a point counts half."""
_MIRROR = list(mirror_order())
_EYES = groups(68)["right_eye"], groups(68)["left_eye"]


def mean_face(points_xy: Array, portraits: slice = slice(None)) -> Array:
    """Return the mean face of labeled points.

    Args:
        points_xy: (N, 68, 2), x right, y down; in many poses.
        portraits: Which of them define the upright position.

    Returns:
        float64 (68, 3), as ``facekit.landmarks.pose.MEAN_FACE``.
    """
    points = np.concatenate([points_xy, points_xy[:, _MIRROR] * [-1, 1]])
    points = points - points.mean(axis=1, keepdims=True)
    # The median of the faces, on a bowl with a nose: from flat points no depth would come.
    flat = np.median(points / np.ptp(points, axis=(1, 2), keepdims=True), axis=0)
    nose = np.isin(np.arange(68), groups(68)["nose"])
    face = _upright(np.column_stack([flat, 3 * flat[:, 0] ** 2 - 0.15 * nose]))
    for _ in range(_ROUNDS):
        rotations, scales, shifts = fit_face(points, face)
        across = rotations[:, :2]
        places = (points - shifts[:, None]) / scales[:, None, None]
        misses = np.linalg.norm(places - face @ across.transpose(0, 2, 1), axis=2)
        weights = 1 / (1 + (misses / _OUTLIER) ** 2)
        moments = np.einsum("nk,nia,nib->kab", weights, across, across)
        sums = np.einsum("nk,nia,nki->ka", weights, across, places)
        face = _upright(np.linalg.solve(moments, sums[:, :, None])[:, :, 0])
    rotations, _, _ = fit_face(points_xy[portraits], face)
    pitch = float(np.median(angles_deg(rotations)[:, 1])) - PORTRAIT_PITCH_DEG
    turned: Array = face @ rotations_of([[0.0, pitch, 0.0]])[0].T
    return turned


def _upright(face: Array) -> Array:
    """Return a face made equal on both sides, the middle of its eyes at 0, 1 apart."""
    face = (face + face[_MIRROR] * [-1, 1, 1]) / 2
    right, left = (face[eye.start : eye.stop].mean(axis=0) for eye in _EYES)
    placed: Array = (face - (right + left) / 2) / np.linalg.norm(left - right)
    return placed


def main(arguments: list[str] | None = None) -> int:
    """Print the mean face of some folders."""
    return run_command(lambda: _main(arguments), "training.landmarks.mean_face", extra="train")


def _main(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser("training.landmarks.mean_face", description=__doc__)
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path)
    parser.add_argument(
        "--skip", metavar="FILE", type=Path, help="names of .pts files to leave out, one a line"
    )
    args = parser.parse_args(arguments)
    skipped = set() if args.skip is None else set(args.skip.read_text("utf-8").split("\n"))
    faces = [_read(folder, skipped) for folder in args.folders]
    face = mean_face(np.concatenate(faces), slice(len(faces[0])))
    for x, y, z in face.round(3) + 0.0:
        show(f"({x:g}, {y:g}, {z:g}),")
    return 0


def _read(folder: Path, skipped: Iterable[str]) -> Array:
    paths = [path for path in sorted(folder.glob("*.pts")) if path.name not in skipped]
    if not paths:
        raise DataError(folder, "contains no .pts files to use")
    return np.array([read_pts(path) for path in paths], np.float64)


if __name__ == "__main__":
    sys.exit(main())
