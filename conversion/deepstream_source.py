"""What DeepStream is told: the mask detector, as the kit knows it, and where pictures come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conversion import places
from conversion.catalog import Job
from conversion.errors import CatalogError
from facekit.detection.labels import read_class_names
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.engines.configs import DEFAULT_FILE, read_config

MODEL = "facemask"
"""The detector in the catalog and in the model repository."""

SAMPLE_VIDEO = "file:///opt/nvidia/deepstream/deepstream/samples/streams/sample_1080p_h264.mp4"
"""A video that comes with DeepStream."""


@dataclass(frozen=True)
class Source:
    """Where the pictures of an app come from.

    Attributes:
        values: The keys of its group; one that starts with ``#`` is a remark.
        live: Whether pictures come when they do, and one that is late is of no use.
    """

    values: Mapping[str, object]
    live: bool


@dataclass(frozen=True)
class Detector:
    """What DeepStream is told of the mask detector.

    Attributes:
        job: the model and its weights.
        network: the network's file.
        class_names: one a class, in the order of its outputs.
        clustering: one a class.
    """

    job: Job
    network: Path
    class_names: Sequence[str]
    clustering: Sequence[ClusteringParameters]


def read_detector(job: Job, repository: Path, weights_dir: Path) -> Detector:
    """Put together what the catalog and the postprocess's configuration say.

    Raises:
        ConfigError: the postprocess's configuration or its label file can't be read, a parameter is
            wrong, or the classes are not those of the contract.
    """
    folder = repository / f"{MODEL}_postprocess"
    config = read_config(folder / DEFAULT_FILE)
    values = {name: value.string_value for name, value in config.parameters.items()}
    class_names = read_class_names(folder / values.get("label_file", "labels.txt"), MODEL)
    clustering = parse_parameters(values, class_names, others=("label_file",))
    network = places.folder_of(job.weights, weights_dir) / job.weights.network
    return Detector(job, network, class_names, clustering)


def check_output(job: Job, output: Path | None) -> None:
    """See to it that a key is not written where the kit's own files lie, which are shared.

    Raises:
        CatalogError: the weights have a key, and no folder was named.
    """
    if job.weights.key is not None and output is None:
        raise CatalogError(
            f"{job.model.name}={job.weights.name}: DeepStream's file will hold the key of the "
            ".etlt; say with --output where it may lie"
        )


def camera_source(number: int) -> Source:
    """Return the camera ``/dev/video<number>``.

    Raises:
        CatalogError: the number is below 0.
    """
    if number < 0:
        raise CatalogError(f"--camera: expected a number from 0, as of /dev/video0, got {number}")
    values: dict[str, object] = {
        "# 1: a camera of this machine (V4L2)": None,
        "type": 1,
        "camera-width": 640,
        "camera-height": 480,
        "camera-fps-n": 30,
        "camera-fps-d": 1,
        "camera-v4l2-dev-node": number,
    }
    return Source(values, live=True)


def video_source(video: str) -> Source:
    """Return a video: a file of this machine, or any URI, which may be of another.

    Raises:
        CatalogError: there is no such file.
    """
    if "://" not in video:
        path = Path(video).absolute()
        if not path.is_file():
            raise CatalogError(f"--video: there is no file {path}; give a file or a URI")
        video = path.as_uri()
    live = video.lower().startswith(("rtsp://", "rtsps://"))
    number, words = (4, "a network camera (RTSP)") if live else (3, "files or streams, by URI")
    values: dict[str, object] = {
        f"# {number}: {words}": None, "type": number, "num-sources": 1, "uri": video,
    }  # fmt: skip
    return Source(values, live)
