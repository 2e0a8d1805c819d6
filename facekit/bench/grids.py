"""Detector outputs as a trained network draws them, made up: faces, noise, and nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.contract import GRID_COLUMNS, GRID_ROWS, GRID_STRIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.grid import encode_boxes

Grid = npt.NDArray[np.float32]

_NOISE_CELLS = 10


def face_grids(rng: np.random.Generator, faces: int, *, jitter: float = 0.05) -> tuple[Grid, Grid]:
    """Draw faces of 16 to 200 network pixels; some overlap, some leave the frame.

    Every cell in the middle of a face votes for its box, which is what DetectNet_v2 is trained to
    do; a few cells elsewhere speak up without reason.

    Args:
        rng: Where the faces come from.
        faces: How many.
        jitter: Spread of a face's votes, in face sizes.

    Returns:
        bbox float32 (4, 26, 46) and cov float32 (1, 26, 46).
    """
    bbox = rng.normal(0, 1, (4, GRID_ROWS, GRID_COLUMNS)).astype(np.float32)
    cov = np.zeros((1, GRID_ROWS, GRID_COLUMNS), np.float32)
    rows, columns = np.mgrid[:GRID_ROWS, :GRID_COLUMNS]
    for _ in range(faces):
        size = np.exp(rng.uniform(np.log(16), np.log(200)))
        center = rng.uniform((0, 0), (NETWORK_WIDTH, NETWORK_HEIGHT))
        half = size * np.array([0.5, rng.uniform(0.5, 0.8)])
        box = np.concatenate([center - half, center + half])
        near = np.abs(columns * GRID_STRIDE - center[0]) < max(half[0] * 0.7, 9)
        near &= np.abs(rows * GRID_STRIDE - center[1]) < max(half[1] * 0.7, 9)
        cells = np.flatnonzero(near)
        boxes = box + rng.normal(0, jitter * size, (len(cells), 4))
        bbox.reshape(4, -1)[:, cells] = encode_boxes(boxes, cells, GRID_COLUMNS)
        cov.reshape(-1)[cells] = rng.uniform(0.1, 1, len(cells))
    loud = rng.integers(0, cov.size, _NOISE_CELLS)
    cov.reshape(-1)[loud] = rng.uniform(0, 0.6, _NOISE_CELLS)
    return bbox, cov
