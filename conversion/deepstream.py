"""DeepStream's configurations for the mask detector.

Names and meaning of the keys: NVIDIA's DeepStream documentation (Gst-nvinfer, deepstream-app). All
paths are relative to the folder of the configurations, which is how DeepStream reads them. What no
option changes is in the templates.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from conversion.catalog import Format, Job, Precision
from conversion.commands import TRTEXEC, build_command, shell
from conversion.errors import CatalogError, ConversionError
from facekit.contract import NETWORK_HEIGHT, PIXEL_RANGE
from facekit.detection.labels import read_class_names
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.engines.configs import DEFAULT_FILE, parameters, read_config
from facekit.engines.manifest import Batch
from facekit.errors import writing
from facekit.files import write_whole

MODEL = "facemask"
"""The detector in the catalog and in the model repository."""

INFER_FILE = "config_infer_primary_masknet_gpu.txt"
CAMERA_FILE = "deepstream_app_source1_camera_masknet_gpu.txt"
VIDEO_FILE = "deepstream_app_source1_video_masknet_gpu.txt"
LABELS_FILE = "labels_masknet.txt"

SAMPLE_VIDEO = "file:///opt/nvidia/deepstream/deepstream/samples/streams/sample_1080p_h264.mp4"
"""A video that comes with DeepStream."""

FRAME_WH = (1920, 1080)
"""Width and height of the frames that DeepStream makes of any source, pixels."""

_TEMPLATES = Path(__file__).with_name("templates")
# The numbers that nvinfer gives them.
_NETWORK_MODES = {Precision.FP32: 0, Precision.INT8: 1, Precision.FP16: 2}
_CLUSTER_MODES = {"DBSCAN": 1, "NMS": 2, "HYBRID": 3}


@dataclass(frozen=True)
class Source:
    """The source of an app's pictures: the lines of its group, and whether it is in real time."""

    lines: Sequence[str]
    live: bool


@dataclass(frozen=True)
class Detector:
    """What DeepStream is told about the mask detector: names and clustering are one per class."""

    job: Job
    network: Path
    class_names: Sequence[str]
    clustering: Sequence[ClusteringParameters]


def read_detector(job: Job, repository: Path, weights_dir: Path) -> Detector:
    """Return the detector as the catalog and the postprocess's configuration describe it.

    Raises ConfigError if a file can't be read, a parameter is wrong, or the contract has others.
    """
    folder = repository / f"{MODEL}_postprocess"
    values = parameters(read_config(folder / DEFAULT_FILE))
    class_names = read_class_names(folder / values.get("label_file", "labels.txt"), MODEL)
    clustering = parse_parameters(values, class_names, others=("label_file",))
    network = job.weights.folder_in(weights_dir) / job.weights.network
    return Detector(job, network, class_names, clustering)


def check_output(job: Job, output: Path | None) -> None:
    """Refuse to write a key to the kit's own folder, which is shared, by a CatalogError."""
    if job.weights.key is not None and output is None:
        raise CatalogError(
            f"{job.model.name}={job.weights.name}: DeepStream's file will contain the key of the "
            ".etlt; give a folder for it with --output"
        )


def camera_source(number: int) -> Source:
    """Return the camera ``/dev/video<number>``; raises CatalogError for a number below 0."""
    if number < 0:
        raise CatalogError(f"--camera: expected N of /dev/videoN, 0 or more, got {number}")
    size = ["camera-width=640", "camera-height=480", "camera-fps-n=30", "camera-fps-d=1"]
    start = ["# 1: a camera of this machine (V4L2)", "type=1"]
    return Source([*start, *size, f"camera-v4l2-dev-node={number}"], live=True)


def video_source(video: str) -> Source:
    """Return a video, a file of this machine or any URI; raises CatalogError without the file."""
    if "://" not in video:
        path = Path(video).absolute()
        if not path.is_file():
            raise CatalogError(f"--video: {path} is not a file; give a file or a URI")
        video = path.as_uri()
    live = video.lower().startswith(("rtsp://", "rtsps://"))
    number, kind = (4, "a network camera (RTSP)") if live else (3, "files or streams, by URI")
    return Source([f"# {number}: {kind}", f"type={number}", "num-sources=1", f"uri={video}"], live)


def render(detector: Detector, folder: Path, *, camera: Source, video: Source) -> dict[str, str]:
    """Return the text of every file by its name, with paths relative to ``folder``.

    Raises CatalogError if the classes are clustered in ways that DeepStream can't mix.
    """
    return {
        INFER_FILE: _infer(detector, folder),
        CAMERA_FILE: _app("A camera's picture with its faces", CAMERA_FILE, camera),
        VIDEO_FILE: _app("A video with its faces", VIDEO_FILE, video),
        LABELS_FILE: "".join(f"{name}\n" for name in detector.class_names),
    }


def write(detector: Detector, folder: Path, *, camera: Source, video: Source) -> dict[Path, bool]:
    """Write the files of ``render`` whole, but those that are the same; return which were written.

    Raises CatalogError as ``render`` does, and ConversionError if a file can't be written.
    """
    written = {}
    for name, text in render(detector, folder, camera=camera, video=video).items():
        path, data = folder / name, text.encode()
        with writing(path, ConversionError):
            written[path] = not path.is_file() or path.read_bytes() != data
            if written[path]:
                write_whole(path, data)
    return written


def _app(title: str, file: str, source: Source) -> str:
    return _template("deepstream_app.txt").substitute(
        title=title,
        file=file,
        source="\n".join(source.lines),
        live=int(source.live),
        sync=int(not source.live),
        width=FRAME_WH[0],
        height=FRAME_WH[1],
        infer_file=INFER_FILE,
    )


def _infer(detector: Detector, folder: Path) -> str:
    model, weights = detector.job.model, detector.job.weights
    network = os.path.relpath(detector.network, folder)
    engine = f"{network}_b1_gpu0_{weights.precision.value}.engine"
    if weights.format is Format.ONNX:
        source = [f"onnx-file={network}"]
    else:
        source = ["# TensorRT 8 and older only", f"tlt-encoded-model={network}"]
        source.append(f"tlt-model-key={weights.key}")
    if weights.format is Format.UFF_ETLT:
        source += [f"uff-input-blob-name={model.input}", "uff-input-order=0"]
    if weights.calibration is not None:
        cache = detector.network.with_name(weights.calibration)
        source.append(f"int8-calib-file={os.path.relpath(cache, folder)}")
    modes = {one.clustering_algorithm for one in detector.clustering}
    if len(modes) > 1:
        raise CatalogError(f"DeepStream has one cluster-mode for all classes, not {sorted(modes)}")
    classes = zip(detector.class_names, detector.clustering, strict=True)
    return _template("deepstream_infer.txt").substitute(
        source="\n".join(source),
        engine_comments="\n".join(_engine_comments(detector, network, engine)),
        engine=engine,
        labels_file=LABELS_FILE,
        network_mode=_NETWORK_MODES[weights.precision],
        dims=";".join(map(str, model.input_dims)),
        scale=repr(1 / PIXEL_RANGE),
        classes=len(detector.class_names),
        outputs=";".join(weights.outputs),
        cluster_mode=_CLUSTER_MODES[modes.pop()],
        class_attributes="".join(
            f"\n[class-attrs-{place}]\n# {name}\n" + "".join(f"{line}\n" for line in _class(chosen))
            for place, (name, chosen) in enumerate(classes)
        ),
    )


def _engine_comments(detector: Detector, network: str, engine: str) -> list[str]:
    """Return the comments on the engine, which is made of the network once."""
    stale = "# Delete it when the network changes: nvinfer does not look whether they fit"
    weights = detector.job.weights
    if not weights.holds_scales:
        return ["# Where nvinfer leaves the engine that it builds at its first start.", stale]
    # Without a calibration cache nvinfer asks for FP16, which TensorRT refuses such a network.
    job = Job(dataclasses.replace(detector.job.model, batch=Batch(1, 1, 1)), weights)
    argv = build_command(job, TRTEXEC, Path(network), engine, weights.precision)
    return [
        "# The network is quantized, and nvinfer itself builds INT8 by a calibration cache",
        "# alone. So make the engine in this folder first:",
        f"# {shell(argv)}",
        stale,
    ]


def _class(chosen: ClusteringParameters) -> list[str]:
    """Return one class's thresholds under DeepStream's names."""
    threshold = chosen.coverage_threshold
    if chosen.clustering_algorithm == "NMS":
        threshold = max(threshold, chosen.nms_confidence_threshold)
    lines = [f"pre-cluster-threshold={threshold}"]
    if chosen.clustering_algorithm != "NMS":
        lines += [
            f"eps={chosen.dbscan_eps}",
            f"minBoxes={max(int(chosen.dbscan_min_samples), 1)}",
            f"dbscan-min-score={chosen.dbscan_confidence_threshold}",
        ]
    if chosen.clustering_algorithm == "HYBRID":
        lines.append(f"post-cluster-threshold={chosen.nms_confidence_threshold}")
    if chosen.clustering_algorithm != "DBSCAN":
        lines.append(f"nms-iou-threshold={chosen.nms_iou_threshold}")
    height = round(chosen.minimum_bounding_box_height * FRAME_WH[1] / NETWORK_HEIGHT)
    size = f"# Pixels of the {FRAME_WH[0]}x{FRAME_WH[1]} frame"
    return [*lines, size, f"detected-min-h={height}"]


def _template(name: str) -> Template:
    return Template((_TEMPLATES / name).read_text("utf-8"))
