"""Measuring an exported detector, also on made-up old group photos.

They stand in for a set of gray group photos, which is not at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facekit.detection.labels import read_class_names
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.engines.configs import DEFAULT_FILE, active_file, parameters, read_config
from facekit.errors import DataError
from facekit.evaluation.average_precision import Curve, average_precision, best_thresholds
from facekit.evaluation.class_scores import SIZE_BANDS, ScoredPhoto, frame_scale, height_curve
from training.detector.inference import Detector, OnnxDetector, find_boxes, frame_ms
from training.facenet import scenes
from training.facenet.degrade import degrade
from training.facenet.scenes import Frame, Patch, log_uniform
from training.facesets import (
    PORTRAIT_TEST_FOLDER,
    WEBFACE_FILE,
    Photo,
    no_face_photos,
    pts_photos,
    read_webfaces,
    voc_photos,
)
from training.loop import step_rng

POSTPROCESS_FOLDER = Path(__file__).parents[2] / "model_repository" / "facenet_postprocess"
NEARLY_ALL = ClusteringParameters(
    clustering_algorithm="NMS",
    coverage_threshold=0.05,
    nms_confidence_threshold=0.05,
    nms_iou_threshold=0.5,
)
"""Lets boxes of nearly any coverage through: for the whole curve of precision and recall."""
SMALLEST_COUNTED = 20.0
"""Faces of at least this height, in pixels of the 416-pixel frame, count for the target."""
PROXY_IOU = 0.4
PHOTO_COUNT = 120
PROXY_SEED = 20261121
TIGHT: tuple[float, float, float, float] = (0.08, 0.17, 0.08, 0.1)
"""Shares of a face box cut off at the left, top, right and bottom: brows to below the lips."""
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.65)


def served_parameters(folder: Path = POSTPROCESS_FOLDER) -> list[ClusteringParameters]:
    """Read the clustering the model repository serves, one a class.

    The folder of the postprocess model has the label file and ``configs/cpu.pbtxt``, or else
    ``config.pbtxt``, as Triton chooses on the CPU.

    Raises:
        DataError: The configuration sets no parameters.
        ConfigError: A file is missing, or a parameter is wrong.
    """
    path = active_file(folder, "cpu") or folder / DEFAULT_FILE
    values = parameters(read_config(path))
    if not values:
        raise DataError(path, "sets no parameters")
    label_file = folder / values.get("label_file", "labels.txt")
    names = read_class_names(label_file, folder.name.removesuffix("_postprocess"))
    return parse_parameters(values, names, others=("label_file",))


def run(
    detector: Detector,
    photos: Iterable[Photo],
    parameters: Sequence[ClusteringParameters],
    gray: bool = True,
) -> list[ScoredPhoto]:
    """Detect in every photo; all faces are of one class."""
    scored = []
    for photo in photos:
        found = find_boxes(detector, photo.image, parameters, gray=gray)
        ids, none = (np.zeros(len(each), np.int32) for each in (found.scores, photo.boxes))
        boxes, scale = photo.boxes, frame_scale(photo.image.size)
        scored.append(
            ScoredPhoto(found.boxes_xyxy, found.scores, ids, boxes, none, none > 0, scale)
        )
    return scored


def sweep(points: Curve) -> dict[str, float]:
    """Return precision and recall over thresholds, to choose one by."""
    figures = {}
    for title, best in best_thresholds(points).items():
        figures[f"{title} threshold"] = best.score
        figures[f"{title} precision"], figures[f"{title} recall"] = best.precision, best.recall
    for threshold in THRESHOLDS:
        name = f"at {threshold}"
        figures[f"{name} precision"], figures[f"{name} recall"] = points.at(threshold)
    return figures


def evaluate(data: Path, model: Path, split: str = "evaluation") -> dict[str, float]:
    """Measure a detector.

    The network alone is measured by its average precision, from boxes of nearly any coverage.
    What is called served has the clustering of the model repository. The split is ``evaluation``,
    or ``calibration``, which gives figures to choose thresholds by.
    """
    detector = OnnxDetector(model)
    served = served_parameters()
    figures: dict[str, float] = {}

    def add(
        name: str, photos: list[Photo], iou: float, smallest: float = 0.0, gray: bool = True
    ) -> tuple[list[ScoredPhoto], Curve]:
        found = run(detector, photos, [NEARLY_ALL], gray)
        points = height_curve(found, 0, iou, smallest)
        figures[f"{name}: faces"] = points.faces
        figures[f"{name}: AP{100 * iou:.0f}"] = average_precision(points)
        kept = run(detector, photos, served, gray)
        final = height_curve(kept, 0, iou, smallest)
        figures[f"{name}, served: AP{100 * iou:.0f}"] = average_precision(final)
        figures[f"{name}, served: precision"], figures[f"{name}, served: recall"] = final.at(0.0)
        return found, points

    crowds = list(voc_photos(data, split))
    add("voc rgb, 20 px or more", crowds, 0.5, SMALLEST_COUNTED, gray=False)
    add("voc gray, all", crowds, 0.5)
    found, points = add("voc gray, 20 px or more", crowds, 0.5, SMALLEST_COUNTED)
    for low, high in SIZE_BANDS[1:]:
        band = height_curve(found, 0, 0.5, low, high)
        figures[f"voc gray, from {low} px ({band.faces}): AP50"] = average_precision(band)
    if split == "calibration":
        figures.update(sweep(points))
    else:
        add("made-up groups", list(group_photos(data)), PROXY_IOU)
        portraits = list(pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
        add("portraits", portraits, 0.5)
    empty = list(no_face_photos(data, split))
    false = [len(f.scores) for f in run(detector, empty, served)]
    figures["without faces: photos"] = len(false)
    figures["without faces, served: false faces"] = sum(false)
    figures["without faces, served: photos with one"] = sum(count > 0 for count in false)
    figures["latency ms, 1 thread, batch 1"] = frame_ms(detector)
    return figures


def tighten(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tight box, brows to below the lips, of a face box."""
    width, height = box[2] - box[0], box[3] - box[1]
    shares = np.array(TIGHT, dtype=np.float32) * np.array([width, height, -width, -height])
    result: NDArray[np.float32] = (box + shares).astype(np.float32)
    return result


def group_photos(data: Path) -> Iterator[Photo]:
    """Make gray, grainy group photos from evaluation faces and scenes; the same ones each time.

    The faces are the held-out web-face crops and the test portraits. The photos have 400 to 900
    pixels and tight boxes.
    """
    empty = list(no_face_photos(data, "evaluation"))
    crops = read_webfaces(data / WEBFACE_FILE, evaluation=True)
    portraits = list(pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
    for index in range(PHOTO_COUNT):
        rng = step_rng(PROXY_SEED, index)
        height = int(rng.integers(320, 600))
        size = (int(height * float(rng.choice([1.0, 1.25, 1.33, 1.5]))), height)
        frame = Frame(scenes.plain_background(rng, size))
        if rng.random() < 0.7:
            scene = empty[int(rng.integers(len(empty)))]
            scale = max(size[0] / scene.image.width, size[1] / scene.image.height)
            scenes.paste_view(frame, scene, rng, (scale, scale))
        typical = log_uniform(rng, 16, 70) * height / 416
        people = int(rng.integers(1, 9))
        draw = ImageDraw.Draw(frame.image)
        for _ in range(people):
            tall = typical * float(np.exp(rng.normal(0, 0.1)))
            center = (
                float(rng.uniform(0.6 * tall, size[0] - 0.6 * tall)),
                float(rng.uniform(0.7 * tall, size[1] - 0.8 * tall)),
            )
            x, y = center
            body = (x - tall, y + 0.5 * tall, x + tall, y + 4 * tall)
            around = np.array([x - tall, y - tall, x + tall, y + tall], dtype=np.float32)
            if frame.overlaps(around) or frame.overlaps(np.array(body, dtype=np.float32)):
                continue
            patch = _head(rng, crops, portraits, tall)
            draw.rounded_rectangle(body, 0.4 * tall, fill=(int(rng.integers(20, 200)),) * 3)
            scenes.paste_patch(frame, patch, rng, center, tall, 1.0, allow_overlap=True)
        pixels = degrade(frame.image, rng, gray=True)
        boxes = np.array([tighten(box) for box in frame.boxes], dtype=np.float32)
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        yield Photo(f"group{index:03d}", image, boxes.reshape(-1, 4))


def _head(
    rng: np.random.Generator, crops: NDArray[np.uint8], portraits: list[Photo], tall: float
) -> Patch:
    """Draw a web face, or, for larger faces mostly, a portrait's head."""
    if rng.random() < (0.75 if tall < 50 else 0.35):
        return scenes.webface_patch(rng, crops)
    return scenes.portrait_patch(rng, portraits[int(rng.integers(len(portraits)))])
