"""Measuring an exported landmark network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.contract import CROP_SIDE
from facekit.errors import BoxError, DataError
from facekit.evaluation.landmark_errors import FAILURE, LandmarkErrors, faces_on
from facekit.labels.pts import POINT_COUNT
from facekit.landmarks.crops import crop_squares, cut_crops, to_photo
from facekit.landmarks.pose import poses_deg
from facekit.landmarks.scheme import POINT_COUNTS
from training.detector.inference import Detector, OnnxDetector, find_boxes, median_ms, open_session
from training.facenet.evaluate import served_parameters
from training.facesets import PORTRAIT_TEST_FOLDER, Photo, pts_photos
from training.landmarks.frames import FRAME_FOLDER, frames
from training.landmarks.network import INPUT_NAME, PEAKS_NAME, POINTS_NAME

LOGGER = logging.getLogger("training")
YAW_BINS = (0, 10, 20, 30)
"""From where on in degrees frames are measured together."""
Array = NDArray[np.float32]
Choose = Callable[[Photo], Sequence[Array | None]]
"""Gives the box to cut for every face of a photo, None where the face is missed."""


class Landmarker:
    """An exported landmark network with the kit's crops.

    Attributes:
        session: The onnxruntime session.
        point_count: 68, 80 or 104, as the file says.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load an ONNX file for ``threads`` threads.

        Raises:
            DataError: The file is not a landmark network of the kit's tensors.
        """
        self.session = open_session(path, threads)
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        count = shapes.get(POINTS_NAME, [None, None])[1]
        if count not in POINT_COUNTS:
            raise DataError(path, f"has no output {POINTS_NAME} of 68, 80 or 104 points")
        self.point_count: int = count

    def find(self, image: Image.Image, boxes: Array) -> tuple[Array, Array]:
        """Find the points of faces, float32 [n, k, 2], and their peaks, float32 [n, k].

        Boxes, float32 [n, 4], and points are in pixels of the upright photo.
        """
        squares = crop_squares(boxes, size_wh=image.size)
        crops = cut_crops(np.asarray(image.convert("L")), squares)
        points, peaks = self.session.run([POINTS_NAME, PEAKS_NAME], {INPUT_NAME: crops})
        return to_photo(np.asarray(points), squares), np.asarray(peaks, dtype=np.float32)


def true_boxes(photo: Photo) -> Sequence[Array | None]:
    """Return the faces' own boxes."""
    return list(photo.boxes)


def boxes_of(detector: Detector) -> Choose:
    """Return what gives the surest found box on every face, with the clustering that is served."""
    served = served_parameters()

    def choose(photo: Photo) -> Sequence[Array | None]:
        found = find_boxes(detector, photo.image, served, gray=True)
        chosen = faces_on(found.boxes_xyxy, found.scores, photo.boxes)
        return [None if index < 0 else found.boxes_xyxy[index] for index in chosen]

    return choose


def measure(landmarker: Landmarker, photos: Sequence[Photo], choose: Choose) -> LandmarkErrors:
    """Measure on every annotated face of the photos.

    A face that can't be cut out of its photo is said, and left out.
    """
    found: list[Array] = []
    true: list[Array] = []
    boxes: list[Array] = []
    missed = 0
    for photo in photos:
        for box, points, own_box in zip(choose(photo), photo.points, photo.boxes, strict=True):
            if box is None:
                missed += 1
                continue
            try:
                found.append(landmarker.find(photo.image, box[None])[0][0])
            except BoxError as error:
                LOGGER.warning("left out: a face of %s: %s", photo.name, error)
                continue
            true.append(points)
            boxes.append(own_box)
    return LandmarkErrors.of_faces(
        found, true, boxes, missed=missed, point_count=landmarker.point_count
    )


def figures_of(errors: LandmarkErrors) -> dict[str, float]:
    """Return errors as figures by name: shares of the eye distance, then crop pixels."""
    regions = errors.by_region()
    figures = {
        "faces": errors.faces,
        "missed": errors.missed,
        "mean error": regions["all"][1],
        "median error": errors.median_eye_share,
    }
    figures.update({name: share for name, (_, share) in regions.items() if name != "all"})
    figures[f"missed or over {FAILURE:.0%}"] = errors.failed_share
    figures.update({f"{name}, crop pixels": pixels for name, (pixels, _) in regions.items()})
    return figures


def by_yaw(landmarker: Landmarker, photos: Iterable[Photo]) -> dict[str, float]:
    """Measure faces from their true boxes by how far the head is turned, as the labels have it.

    Photos have one face each; one that lacks some of the 68 points has no yaw, and is left out.
    Errors are in pixels of the 80x80 crop: the distance of the eyes shrinks where a head is turned.
    """
    bins: dict[int, list[Photo]] = {low: [] for low in YAW_BINS}
    for photo in photos:
        yaw = abs(float(poses_deg(photo.points[0][None, :POINT_COUNT])[0, 0]))
        if not np.isfinite(yaw):
            reason = f"not all of its {POINT_COUNT} points are annotated"
            LOGGER.warning("not measured by yaw: %s: %s", photo.name, reason)
            continue
        bins[max(low for low in YAW_BINS if low <= yaw)].append(photo)
    figures: dict[str, float] = {}
    for low, turned in bins.items():
        if turned:
            errors = measure(landmarker, turned, true_boxes)
            figures[f"yaw from {low}: faces"] = errors.faces
            for region, (pixels, _) in errors.by_region().items():
                figures[f"yaw from {low}: {region}, crop pixels"] = pixels
    return figures


def evaluate(data: Path, model: Path, detector_model: Path | None = None) -> dict[str, float]:
    """Measure a landmark network, an ONNX file of 68, 80 or 104 points, on the test portraits.

    Where the face sets have video frames, those of the people for evaluation are measured too.

    Args:
        data: Folder of the face sets; or any other folder of photos with ``.pts`` files.
        model: The ONNX file.
        detector_model: The detector's ONNX file, to measure from its boxes too, with the
            clustering the model repository serves.

    Returns:
        Figures by name. Errors are over the annotated points of the faces that are not missed; as
        shares of the distance of the outer eye corners, and in pixels of the 80x80 crop of the
        true box. The share of failed faces is over all, and a missed face has failed.

    Raises:
        DataError: The folder contains no face, or the file is not a landmark network.
    """
    landmarker = Landmarker(model)
    folder = data / PORTRAIT_TEST_FOLDER
    source, count = folder if folder.is_dir() else data, landmarker.point_count
    photos = list(pts_photos(source, True, count, partial(LOGGER.warning, "left out: %s")))
    if not photos:
        raise DataError(data, "contains no face to measure on")
    runs: dict[str, Choose] = {"true boxes": true_boxes}
    if detector_model is not None:
        runs["detected boxes"] = boxes_of(OnnxDetector(detector_model))
    figures = {
        f"{name}: {title}": value
        for name, choose in runs.items()
        for title, value in figures_of(measure(landmarker, photos, choose)).items()
    }
    if (data / FRAME_FOLDER).is_dir():
        turned = frames(data, count, True, partial(LOGGER.warning, "left out: %s"))
        figures.update({f"frames, {k}": v for k, v in by_yaw(landmarker, turned).items()})
    for batch in (1, 8):
        crops = np.random.default_rng(0).random((batch, 1, CROP_SIDE, CROP_SIDE), np.float32) * 255
        run = partial(landmarker.session.run, None, {INPUT_NAME: crops})
        figures[f"latency ms a face, 1 thread, batch {batch}"] = median_ms(run) / batch
    return figures
