"""DeepStream's configurations for the mask detector: which keys there are, and their text.

Names and meaning of the keys: NVIDIA's DeepStream documentation (Gst-nvinfer, deepstream-app). All
paths are written as they are from the folder of the configurations, which is how DeepStream reads
them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from conversion.catalog import Format, Precision
from conversion.commands import trtexec_build_command
from conversion.deepstream_source import Detector, Source
from conversion.errors import CatalogError, ConversionError
from conversion.planning import TRTEXEC, shell
from facekit.contract import NETWORK_HEIGHT, PIXEL_RANGE
from facekit.detection.parameters import ClusteringParameters
from facekit.engines.manifest import Batch
from facekit.files import write_whole

INFER_FILE = "config_infer_primary_masknet_gpu.txt"
CAMERA_FILE = "deepstream_app_source1_camera_masknet_gpu.txt"
VIDEO_FILE = "deepstream_app_source1_video_masknet_gpu.txt"
LABELS_FILE = "labels_masknet.txt"

FRAME_WH = (1920, 1080)
"""Pixels of the frames that DeepStream puts together, whatever the source has."""

_BATCH = 1
_GPU = 0
_HEAD = "# Written by `python -m conversion deepstream`, which also takes a network of your own."
# The numbers that nvinfer gives them.
_NETWORK_MODES = {Precision.FP32: 0, Precision.INT8: 1, Precision.FP16: 2}
_CLUSTER_MODES = {"DBSCAN": 1, "NMS": 2, "HYBRID": 3}
_RGB = 0
_BILINEAR = 1
# Red, green, blue, opacity: with a mask green, without one red.
_BORDERS = ("0.15;0.84;0.63;1", "1;0.35;0.2;1")

Section = tuple[str, Mapping[str, object]]
"""A group's title and its keys; a key that starts with ``#`` is a remark."""


def render(detector: Detector, folder: Path, *, camera: Source, video: Source) -> dict[str, str]:
    """Return the text of every file by its name.

    Args:
        detector: what to run.
        folder: where the files shall lie.
        camera: what the camera app shows.
        video: what the video app shows.

    Raises:
        CatalogError: the classes are clustered in ways that DeepStream can't mix.
    """
    return {
        INFER_FILE: _text(
            "What DeepStream's nvinfer has to know of the mask detector.",
            _infer(detector, folder),
        ),
        CAMERA_FILE: _text(
            f"A camera's picture with its faces: deepstream-app -c {CAMERA_FILE}", _app(camera)
        ),
        VIDEO_FILE: _text(f"A video with its faces: deepstream-app -c {VIDEO_FILE}", _app(video)),
        LABELS_FILE: "".join(f"{name}\n" for name in detector.class_names),
    }


def write(detector: Detector, folder: Path, *, camera: Source, video: Source) -> dict[Path, bool]:
    """Write the files of ``render``, each in one step, where they do not hold the same already.

    Returns:
        Each file, and whether it was written.

    Raises:
        CatalogError: see ``render``.
        ConversionError: a file can't be written.
    """
    written = {}
    for name, text in render(detector, folder, camera=camera, video=video).items():
        path = folder / name
        data = text.encode()
        try:
            written[path] = not path.is_file() or path.read_bytes() != data
            if written[path]:
                write_whole(path, data)
        except OSError as error:
            raise ConversionError(
                f"{path}: cannot be written: {error.strerror or error}"
            ) from error
    return written


def _infer(detector: Detector, folder: Path) -> list[Section]:
    model, weights = detector.job.model, detector.job.weights
    network = os.path.relpath(detector.network, folder)
    engine = f"{network}_b{_BATCH}_gpu{_GPU}_{weights.precision.value}.engine"
    source: dict[str, object] = {}
    if weights.format is Format.ONNX:
        source["onnx-file"] = network
    else:
        source["# TensorRT 8 and older only"] = None
        source["tlt-encoded-model"] = network
        source["tlt-model-key"] = weights.key
    if weights.format is Format.UFF_ETLT:
        source |= {"uff-input-blob-name": model.input, "uff-input-order": 0}
    if weights.calibration is not None:
        source["int8-calib-file"] = os.path.relpath(
            detector.network.with_name(weights.calibration), folder
        )
    modes = {one.clustering_algorithm for one in detector.clustering}
    if len(modes) > 1:
        raise CatalogError(f"DeepStream has one cluster-mode for all classes, not {sorted(modes)}")
    return [
        (
            "property",
            {
                "gpu-id": _GPU,
                "gie-unique-id": 1,
                "# 1: whole frames": None,
                "process-mode": 1,
                "# 0: a detector, whose outputs nvinfer knows how to read (DetectNet_v2)": None,
                "network-type": 0,
                **source,
                **_engine_remarks(detector, network, engine),
                "model-engine-file": engine,
                "labelfile-path": LABELS_FILE,
                "batch-size": _BATCH,
                "interval": 0,
                "# 0: FP32, 1: INT8, 2: FP16": None,
                "network-mode": _NETWORK_MODES[weights.precision],
                "infer-dims": ";".join(map(str, model.input_dims)),
                "# 0: RGB": None,
                "model-color-format": _RGB,
                "net-scale-factor": repr(1 / PIXEL_RANGE),
                "# Stretched to the network's frame, 1: bilinear": None,
                "maintain-aspect-ratio": 0,
                "scaling-filter": _BILINEAR,
                "num-detected-classes": len(detector.class_names),
                "output-blob-names": ";".join(weights.outputs),
                "# 1: DBSCAN, 2: NMS, 3: both; class by class, so that a face may be of two": None,
                "cluster-mode": _CLUSTER_MODES[modes.pop()],
            },
        ),
        *(
            (f"class-attrs-{place}", {f"# {name}": None, **_class(chosen)})
            for place, (name, chosen) in enumerate(
                zip(detector.class_names, detector.clustering, strict=True)
            )
        ),
    ]


def _engine_remarks(detector: Detector, network: str, engine: str) -> dict[str, None]:
    """Return what there is to say of the engine, which is made of the network once."""
    stale = "# Delete it when the network changes: nvinfer does not look whether they fit"
    weights = detector.job.weights
    if not weights.holds_scales:
        return {
            "# Where nvinfer leaves the engine that it builds at its first start.": None,
            stale: None,
        }
    # Without a calibration cache nvinfer asks for FP16, which TensorRT refuses such a network.
    one = dataclasses.replace(detector.job.model, batch=Batch(_BATCH, _BATCH, _BATCH))
    argv = trtexec_build_command(TRTEXEC, weights, one, network, None, engine, weights.precision)
    return {
        "# The network is quantized, and nvinfer itself builds INT8 by a calibration cache": None,
        "# alone. So make the engine in this folder first:": None,
        f"# {shell(argv)}": None,
        stale: None,
    }


def _class(chosen: ClusteringParameters) -> dict[str, object]:
    """Return one class's thresholds under DeepStream's names."""
    height = chosen.minimum_bounding_box_height * FRAME_WH[1] / NETWORK_HEIGHT
    values: dict[str, object] = {"pre-cluster-threshold": chosen.coverage_threshold}
    if chosen.clustering_algorithm == "NMS":
        values["pre-cluster-threshold"] = max(
            chosen.coverage_threshold, chosen.nms_confidence_threshold
        )
    else:
        values |= {
            "eps": chosen.dbscan_eps,
            "minBoxes": max(int(chosen.dbscan_min_samples), 1),
            "dbscan-min-score": chosen.dbscan_confidence_threshold,
        }
    if chosen.clustering_algorithm == "HYBRID":
        values["post-cluster-threshold"] = chosen.nms_confidence_threshold
    if chosen.clustering_algorithm != "DBSCAN":
        values["nms-iou-threshold"] = chosen.nms_iou_threshold
    values[f"# Pixels of the {FRAME_WH[0]}x{FRAME_WH[1]} frame"] = None
    values["detected-min-h"] = round(height)
    return values


def _app(source: Source) -> list[Section]:
    width, height = FRAME_WH
    borders = {f"bbox-border-color{place}": color for place, color in enumerate(_BORDERS)}
    return [
        ("application", {"enable-perf-measurement": 1, "perf-measurement-interval-sec": 5}),
        (
            "tiled-display",
            {"enable": 1, "rows": 1, "columns": 1, "width": 1280, "height": 720, "gpu-id": _GPU},
        ),
        ("source0", {"enable": 1, **source.values, "gpu-id": _GPU}),
        (
            "streammux",
            {
                "gpu-id": _GPU,
                "live-source": int(source.live),
                "batch-size": _BATCH,
                "batched-push-timeout": 40000,
                "width": width,
                "height": height,
            },
        ),
        (
            "primary-gie",
            {
                "enable": 1,
                "gpu-id": _GPU,
                "gie-unique-id": 1,
                "batch-size": _BATCH,
                "# Red, green, blue, opacity of each class's boxes": None,
                **borders,
                "config-file": INFER_FILE,
            },
        ),
        (
            "osd",
            {
                "enable": 1,
                "gpu-id": _GPU,
                "border-width": 3,
                "text-size": 16,
                "text-color": "1;1;1;1",
                "text-bg-color": "0.07;0.08;0.1;1",
                "font": "Arial",
            },
        ),
        (
            "sink0",
            {
                "enable": 1,
                "# 1: nowhere (to measure), 2: a window (dGPU), 3: a file, see output-file": None,
                "type": 2,
                "sync": int(not source.live),
                "source-id": 0,
                "gpu-id": _GPU,
                "# MP4 and H.264": None,
                "container": 1,
                "codec": 1,
                "bitrate": 4000000,
                "output-file": "masks.mp4",
            },
        ),
        ("tests", {"file-loop": 0}),
    ]


def _text(title: str, sections: Sequence[Section]) -> str:
    lines = [f"# {title}", _HEAD]
    for name, values in sections:
        lines += ["", f"[{name}]"]
        lines += [key if value is None else f"{key}={value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
