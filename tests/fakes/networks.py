"""Stand-ins for the files that NGC serves: networks and calibration caches of the fake tools.

A stand-in for an ``.etlt`` is one line, ``FAKE ETLT`` and what it holds as JSON, and then as many
zero bytes as wanted, so that a download of it can be cut in the middle.
"""

from __future__ import annotations

import json

KEY = "nvidia_tlt"


def etlt(
    kind: str,
    inputs: dict[str, list[int]],
    outputs: dict[str, list[int]],
    *,
    key: str = KEY,
    size: int = 0,
) -> bytes:
    """Return a stand-in of ``kind`` ``uff`` or ``onnx``, at least ``size`` bytes long."""
    head = {"kind": kind, "key": key, "inputs": inputs, "outputs": outputs}
    return f"FAKE ETLT {json.dumps(head)}\n".encode().ljust(size, b"\0")


def facenet_etlt(*, key: str = KEY, size: int = 0) -> bytes:
    inputs = {"input_1": [3, 416, 736]}
    outputs = {"output_bbox/BiasAdd": [4, 26, 46], "output_cov/Sigmoid": [1, 26, 46]}
    return etlt("uff", inputs, outputs, key=key, size=size)


def fpenet_etlt(*, key: str = KEY, size: int = 0, points: int = 80) -> bytes:
    outputs = {
        "conv_keypoints_m80": [points, 80, 80],
        "softargmax": [points, 2],
        "softargmax:1": [points],
    }
    return etlt("onnx", {"input_face_images": [1, 80, 80]}, outputs, key=key, size=size)


def calibration_cache(tensors: tuple[str, ...] = ("input_1",)) -> bytes:
    """Return a cache as TensorRT 8 writes it: a line of head, then a scale a tensor."""
    return "".join(
        ["TRT-8001-EntropyCalibration2\n", *(f"{name}: 3c010a14\n" for name in tensors)]
    ).encode()
