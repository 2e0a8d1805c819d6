"""What a bench measures of `annotate`: its own memory, and the notebook's loop beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekit.bench.workflow_memory import folder_memory
from facekit.errors import ServerError
from facekit.serving.embedded import EmbeddedServer

MIB = 1 << 20


def test_memory_is_that_of_annotate_and_not_of_the_bench(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    ballast = np.ones(600 * MIB, np.uint8)
    (found,) = folder_memory(server.grpc_url, tmp_path, lambda: None, photos=(2,))
    assert ballast[-1] == 1
    assert found.photos == 2 and 20 < found.peak_mib < 400


def test_run_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="localhost:1"):
        folder_memory("localhost:1", tmp_path, lambda: None, photos=(1,))
