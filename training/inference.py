"""What running an exported network needs.

A photo is scaled by Pillow here and by DALI in the server: both average over the source pixels
(antialiased, triangular), and differ by rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.errors import DataError

ROUNDS = 30
FRAME_WH = (NETWORK_WIDTH, NETWORK_HEIGHT)
"""The frame of the networks that the kit serves."""


def network_input(
    image: Image.Image, size_wh: tuple[int, int] = FRAME_WH, *, gray: bool = False
) -> NDArray[np.float32]:
    """Return a photo as a detector takes it: stretched to its frame, 0..1.

    Args:
        image: The upright photo.
        size_wh: Width and height of the frame.
        gray: Replicate the gray value to three channels, or keep RGB (the default).

    Returns:
        float32 [3, height, width].
    """
    source = image.convert("L") if gray else image.convert("RGB")
    frame = source.resize(size_wh, Image.Resampling.BILINEAR)
    pixels = np.asarray(frame, dtype=np.float32) / np.float32(255)
    if gray:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def open_session(path: Path, threads: int = 1) -> Any:
    """Load an ONNX file on the CPU for ``threads`` threads.

    Raises:
        DataError: The file is missing or is no ONNX file that onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not path.is_file():
        raise DataError(path, "no such file")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, which its stubs do not name
        raise DataError(path, f"is no network that onnxruntime can run: {error}") from error


def median_ms(run: Callable[[], object]) -> float:
    """Return the median time of one call in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def latency(session: Any, inputs: Mapping[str, NDArray[np.float32]]) -> float:
    """Return the median time of one run of a session in milliseconds."""
    return median_ms(lambda: session.run(None, dict(inputs)))
