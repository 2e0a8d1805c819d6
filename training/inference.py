"""What running either exported network needs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

ROUNDS = 30


def open_session(path: Path, threads: int = 1) -> Any:
    """Load an ONNX file on the CPU for ``threads`` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def latency(session: Any, inputs: Mapping[str, NDArray[np.float32]]) -> float:
    """Return the median time of one run in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        session.run(None, dict(inputs))
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
