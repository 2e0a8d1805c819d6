"""Model repositories that load in a second: one Python model, which answers as the contract says.

The model is named ``faces``, so that probes find it. What is wrong with it is steered by files in
its folder: ``fail`` makes it refuse every request, ``hang`` makes it answer none, and ``hanging``
then shows that one has come; ``hanging-PID``, to which of its processes.
"""

from __future__ import annotations

from pathlib import Path

from facekit.serving import EmbeddedServer
from facekit.serving.health import check
from tests.serving.waiting import wait_for

_CONFIG = """
name: "faces"
backend: "python"
max_batch_size: 32
input [ { name: "image" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [
  { name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] },
  { name: "scores" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "keypoints" data_type: TYPE_FP32 dims: [ -1, -1, 2 ] },
  { name: "keypoint_scores" data_type: TYPE_FP32 dims: [ -1, -1 ] },
  { name: "image_size" data_type: TYPE_INT64 dims: [ 3 ] },
  { name: "count" data_type: TYPE_INT32 dims: [ 1 ] }
]
instance_group [ { count: INSTANCES kind: KIND_CPU } ]
"""

_MODEL = """
import os
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

import facekit


class TritonPythonModel:
    def initialize(self, args):
        self.folder = Path(args["model_repository"])
        if (self.folder / "broken").exists():
            raise ValueError("the label file has 3 lines, expected 1")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        if (self.folder / "fail").exists():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("it fails"))
        while (self.folder / "hang").exists():
            (self.folder / "hanging").touch()
            (self.folder / f"hanging-{os.getpid()}").touch()
            time.sleep(0.05)
        outputs = {
            "boxes": np.ones((1, 2, 4), np.float32),
            "scores": np.ones((1, 2), np.float32),
            "keypoints": np.ones((1, 2, 68, 2), np.float32),
            "keypoint_scores": np.ones((1, 2, 68), np.float32),
            "image_size": np.array([[300, 360, 3]], np.int64),
            "count": np.array([[2]], np.int32),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(*item) for item in outputs.items()])
"""


def tiny_repository(folder: Path, instances: int = 1) -> Path:
    """Write the repository into ``folder`` and return it."""
    version = folder / "faces" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(_MODEL, "utf-8")
    config = _CONFIG.replace("INSTANCES", str(instances))
    (folder / "faces" / "config.pbtxt").write_text(config, "utf-8")
    return folder


def reset(server: EmbeddedServer) -> None:
    """Make the model of a running server work again."""
    folder = server.model_repository / "faces"
    for flag in (folder / "fail", *folder.glob("hang*")):
        flag.unlink(missing_ok=True)
    assert wait_for(lambda: check(server.grpc_url).ok)
