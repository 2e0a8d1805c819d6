"""Ask a server about labeled photos, and score its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.client import Client
from facekit.data import probe_photo
from facekit.errors import DataError, FacekitError, ModelMissingError
from facekit.evaluation.average_precision import AveragePrecisionMode, average_precision
from facekit.evaluation.class_scores import (
    SIZE_BANDS,
    BandScore,
    ClassEvaluation,
    ClassScore,
    ScoredPhoto,
    frame_scale,
    height_curve,
    mean_average_precision,
    score_classes,
)
from facekit.evaluation.label_classes import FACE, ClassMap
from facekit.evaluation.landmark_errors import LandmarkErrors, faces_on
from facekit.faces import Faces
from facekit.labels.photo_labels import PhotoLabels
from facekit.landmarks.scheme import POINT_COUNTS
from facekit.progress import ProgressBar

ANY_FACE = "any face"
"""All classes of a model as one, to compare it with a model that does not tell faces apart."""

_CONCURRENCY = 4
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class ScoringRules:
    """What counts as found: least overlap (IoU), least height in frame pixels, and the mode."""

    minimum_overlap: float = 0.5
    minimum_height: float = 20.0
    mode: AveragePrecisionMode = "INTEGRATE"


@dataclass(frozen=True)
class ServedScore:
    """How good one model of one server is.

    Attributes:
        server: Name of the model, with the server's address where there are several.
        classes: The model's classes, and after several ``ANY_FACE``; each down to the server's
            own threshold, with its faces by size.
        mean_average_precision: Over the model's classes that have faces.
        landmarks: Errors of the points; None where the model or the labels have none.
    """

    server: str
    classes: tuple[ClassScore, ...]
    mean_average_precision: float
    landmarks: LandmarkErrors | None


def check_served(client: Client, model: str, files: Mapping[str, Path], classes: ClassMap) -> None:
    """Send the kit's own photo: the model must answer and know the labels, before long work.

    ``files`` has the class names of all labels, each with a label file that has it. Raises
    ConfigError if one stands for no class of the model, and ServerError if that is not served, or
    can't answer.
    """
    answer = client.detect(probe_photo(), model=model)
    classes.check(files, answer.class_names or (FACE,))


def class_names(servers: Sequence[ServedScore]) -> list[str]:
    """Return the classes of all servers, each once, in the order they come; ``ANY_FACE`` last."""
    names = dict.fromkeys(score.name for server in servers for score in server.classes)
    return sorted(names, key=lambda name: name == ANY_FACE)


def ask(client: Client, model: str, photos: Sequence[PhotoLabels]) -> list[Faces | FacekitError]:
    """Send all photos, and return the faces of each, or the error of its request.

    Raises ModelMissingError if the server does not serve this model any more.
    """
    answers: list[Faces | FacekitError] = []
    files = (photo.photo for photo in photos if photo.photo is not None)
    with ProgressBar(len(photos), f"photos ({model})") as bar:
        for answer in client.detect_many(files, concurrency=_CONCURRENCY, model=model):
            if isinstance(answer, ModelMissingError):
                raise answer
            bar.advance(failed=isinstance(answer, FacekitError))
            answers.append(answer)
    return answers


def fitted(labels: PhotoLabels, size_wh: tuple[int, int]) -> PhotoLabels:
    """Return labels in pixels of the upright photo, whose size is given, with boxes cut to it.

    Raises DataError if they are of a photo of another size, or a box is not finite or lies outside.
    """
    if labels.size_wh is not None and labels.size_wh != size_wh:
        told, served = ("x".join(map(str, size)) for size in (labels.size_wh, size_wh))
        raise DataError(
            labels.source, f"labels of a photo of {told} pixels, but upright it has {served}"
        )
    finite = np.isfinite(labels.boxes_xyxy).all(axis=1)
    if not finite.all():
        # NaN compares false with everything: the box would silently miss every face.
        raise DataError(labels.source, f"box {int(finite.argmin()) + 1} is not finite")
    boxes = np.clip(labels.boxes_xyxy, 0, np.array([*size_wh, *size_wh], np.float32))
    outside = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1) & ~labels.ignored)
    if len(outside):
        number, corners = int(outside[0]), labels.boxes_xyxy[outside[0]].tolist()
        raise DataError(
            labels.source,
            f"box {number + 1} ({', '.join(f'{corner:g}' for corner in corners)}) lies outside "
            f"its photo of {size_wh[0]}x{size_wh[1]} pixels",
        )
    return replace(labels, size_wh=size_wh, boxes_xyxy=boxes)


def score(
    server: str,
    photos: Sequence[PhotoLabels],
    answers: Sequence[Faces],
    classes: ClassMap,
    rules: ScoringRules,
) -> ServedScore:
    """Score what a model, named ``server`` in the result, found in each photo.

    The labels are as :func:`fitted` gives them, and ``classes`` knows all their class names.
    """
    names = answers[0].class_names if answers else ()
    merged = [
        _scored(faces, photo, np.zeros(len(faces), np.int32), classes.faces(photo.class_names))
        for photo, faces in zip(photos, answers, strict=True)
    ]
    rows = _classes(merged, (ANY_FACE,), rules)
    mean = rows[0].average_precision
    if names:
        apart = [
            _scored(faces, photo, faces.labels, classes.labels(photo.class_names, names))
            for photo, faces in zip(photos, answers, strict=True)
        ]
        own = _classes(apart, names, rules)
        mean = mean_average_precision(own)
        rows = own + rows
    return ServedScore(server, tuple(rows), mean, _landmarks(photos, merged, answers, rules))


def _scored(faces: Faces, photo: PhotoLabels, labels: Labels, true_labels: Labels) -> ScoredPhoto:
    return ScoredPhoto(
        faces.boxes_xyxy,
        faces.scores,
        labels,
        photo.boxes_xyxy,
        true_labels,
        photo.ignored,
        frame_scale(faces.size_wh),
    )


def _classes(
    photos: Sequence[ScoredPhoto], names: Sequence[str], rules: ScoringRules
) -> list[ClassScore]:
    how = ClassEvaluation(rules.minimum_overlap, minimum_height=rules.minimum_height)
    scores = score_classes(photos, names, [how] * len(names), rules.mode)
    ranges = [(max(low, rules.minimum_height), high) for low, high in SIZE_BANDS]

    def band(label: int, low: float, high: float) -> BandScore:
        points = height_curve(photos, label, rules.minimum_overlap, low, high)
        return BandScore(low, high, points.faces, average_precision(points, rules.mode))

    return [
        replace(one, bands=tuple(band(label, *each) for each in ranges if each[0] < each[1]))
        for label, one in enumerate(scores)
    ]


def _landmarks(
    photos: Sequence[PhotoLabels],
    scored: Sequence[ScoredPhoto],
    answers: Sequence[Faces],
    rules: ScoringRules,
) -> LandmarkErrors | None:
    """Measure the faces that have points, each by the surest box on it."""
    point_count = max((faces.points_xy.shape[1] for faces in answers), default=0)
    if point_count not in POINT_COUNTS:
        return None
    how = ClassEvaluation(minimum_height=rules.minimum_height)
    found, true, boxes = [], [], []
    missed = 0
    for photo, frame, faces in zip(photos, scored, answers, strict=True):
        counted = frame.counted_truth(how)
        chosen = faces_on(faces.boxes_xyxy, faces.scores, photo.boxes_xyxy)
        for index, points in enumerate(photo.points_xy):
            if points is None or len(points) not in POINT_COUNTS or not counted[index]:
                continue
            if chosen[index] < 0:
                missed += 1
                continue
            places = np.full((point_count, 2), np.nan, np.float32)
            common = min(len(points), point_count)  # the schemes extend one another
            places[:common] = points[:common]
            found.append(faces.points_xy[chosen[index]])
            true.append(places)
            boxes.append(photo.boxes_xyxy[index])
    if not found and not missed:
        return None
    return LandmarkErrors.of_faces(found, true, boxes, missed=missed, point_count=point_count)
