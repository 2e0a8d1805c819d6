"""Training frames and targets: views of photos, stretched as served, alone or four together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.contract import GRID_STRIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.errors import DataError
from facekit.evaluation.class_scores import NO_CLASS
from facekit.evaluation.label_classes import ClassMap
from training.detector import targets as rules
from training.experiment.training import ClassRaster
from training.facenet.degrade import degrade
from training.facenet.masks import draw_mask
from training.facenet.paste import ASPECTS, FRAME_ASPECT, Frame, Paster, any_color, log_uniform
from training.facenet.photos import Boxes, Photos, Sample, as_boxes

Size = tuple[int, int]
Range = tuple[float, float]
Cell = tuple[int, int, int, int]
"""Left, top, right, bottom in the frame."""

SHARES = {"crowd": 0.40, "people": 0.30, "portrait": 0.07, "partial": 0.05, "empty": 0.18}
"""How often a view is of a photo of each kind, in crops."""
WHOLE_SHARES = {"crowd": 0.32, "people": 0.30, "portrait": 0.18, "partial": 0.05, "empty": 0.15}
"""The same in whole frames, which alone can show faces as high as the frame."""
CLASS_SHARES = {
    **{"crowd": 0.58, "people": 0.15, "portrait": 0.06, "video": 0.05, "partial": 0.03},
    "empty": 0.13,
}
"""The same in both where classes are learned: most are of sets that have both."""
MASKED_SHARE = 0.45
"""How often a mask is drawn onto a face with points, where that is a class."""
SMALLEST_FACE = 8.0
"""Faces lower than this, in frame pixels, are ignored."""
EMPTY_PASTED, PASTED = 0.45, 0.08
"""How often heads are pasted into frames without faces, and into others."""
WHOLE = NETWORK_WIDTH, NETWORK_HEIGHT
KEPT_SHARE = 0.5
"""A face cut by the frame counts while this share of its box is visible."""
RULE = rules.CoverageRule(
    ClassRaster(cov_radius_x=0.45, cov_radius_y=0.45, bbox_min_radius=10 / GRID_STRIDE), ring=1.5
)
"""Which cells a face covers, and up to where cells learn its box, but no coverage."""


def frame_targets(frame: Frame) -> rules.GridTargets:
    """Return the targets of a frame: its background counts, but in what is ignored or doubtful."""
    grid = frame.image.height // GRID_STRIDE, frame.image.width // GRID_STRIDE
    boxes, ignored, doubtful = map(as_boxes, (frame.boxes, frame.ignored, frame.doubtful))
    targets = rules.build_targets(boxes, ignored, grid, rules=(RULE,))
    background = (targets.box_weight == 0) & (targets.coverage_weight > 0)
    targets.coverage_weight[background & rules.ignored_cells(doubtful, grid)] = rules.DOUBTFUL
    return targets


def class_weights(frame: Frame, count: int) -> NDArray[np.float32]:
    """Return how much each cell counts in learning each of the classes, float32 [count, h, w].

    All cells of a face together count about 1, however large it is, and those around it less; a
    cell counts 0 for the classes that its face is not of.
    """
    grid = frame.image.height // GRID_STRIDE, frame.image.width // GRID_STRIDE
    labels = np.array(frame.labels, np.int64)
    # A face of no known class owns its cells, in a channel of its own that is cut off.
    labels[labels == NO_CLASS] = count
    boxes, none = as_boxes(frame.boxes), as_boxes([])
    targets = rules.build_targets(boxes, none, grid, classes=labels, rules=(RULE,) * (count + 1))
    # A covered cell's weight for its box is the root of its share of the face.
    return targets.box_weight[:count] ** 2


class FrameMaker:
    """Draws frames of the training photos: gray ones, colored ones where classes are learned.

    ``shown``, float32, has a number for each photo: how often one without a face is shown beside
    the others. The caller may change it. ``web_faces`` are those of ``Paster``, ``classes`` the
    names of those that are learned. Without training photos with faces, or without any of a class,
    a DataError is raised.
    """

    def __init__(
        self,
        photos: Photos,
        shown: NDArray[np.float32],
        web_faces: NDArray[np.uint8],
        classes: tuple[str, ...] = (),
    ) -> None:
        self.photos, self.shown, self.classes = photos, shown, classes
        self.paster = Paster(photos, web_faces)
        self.mode = "RGB" if classes else "L"
        names = ClassMap()
        self.labels = [
            names.labels(sample.classes or [""] * len(sample.boxes), classes)
            for sample in photos.samples
        ]
        self.masked = int(names.labels(["mask"], classes)[0])
        self.shares = (CLASS_SHARES, CLASS_SHARES) if classes else (SHARES, WHOLE_SHARES)
        kinds: dict[str, list[int]] = {}
        known: set[int] = set()
        for index, sample in enumerate(photos.samples):
            if sample.split == "training" and sample.kind in self.shares[0]:
                kinds.setdefault(sample.kind, []).append(index)
                known |= set(self.labels[index].tolist())
        self.kinds = {kind: np.array(kinds[kind]) for kind in self.shares[0] if kind in kinds}
        if not known:
            raise DataError(photos.path, "contains no training photos with faces")
        for label, name in enumerate(classes):
            if label not in known:
                reason = f"contains no training photos with faces of class {name}"
                raise DataError(photos.path, f"{reason}; if it is old, remove it to build it again")

    def draw(self, rng: np.random.Generator, size: Size) -> Frame:
        """Draw a frame of a width and height: one view, or four around a point."""
        frame = Frame(Image.new(self.mode, size, any_color(rng, self.mode)))
        whole = size[0] == NETWORK_WIDTH
        if rng.random() < (0.3 if whole else 0.15):
            x, y = (int(rng.uniform(0.3, 0.7) * side) for side in size)
            for cell in ((0, 0, x, y), (x, 0, size[0], y), (0, y, x, size[1]), (x, y, *size)):
                self._view(rng, frame, cell, (0.4, 1.6))
        else:
            self._view(rng, frame, (0, 0, *size), (1.0, 4.0) if whole else (0.55, 2.5))
        empty = not frame.boxes and not frame.ignored
        if rng.random() < (EMPTY_PASTED if empty else PASTED):
            self.paster.paste(rng, frame)
        if rng.random() < 0.5:
            _mirror(frame)
        frame.image = degrade(frame.image, rng)
        return frame

    def _pick(self, rng: np.random.Generator, shares: dict[str, float]) -> int:
        share = np.array([shares[kind] for kind in self.kinds])
        kind = list(self.kinds)[int(rng.choice(len(self.kinds), p=share / share.sum()))]
        chosen = self.kinds[kind]
        if kind == "empty":
            weight = self.shown[chosen].astype(np.float64)
            return int(rng.choice(chosen, p=weight / weight.sum()))
        return int(rng.choice(chosen))

    def _view(self, rng: np.random.Generator, frame: Frame, cell: Cell, zooms: Range) -> None:
        """Paste a part of a photo into a cell of the frame, and add its faces.

        ``zooms`` are the least and the largest scale, 1 where the photo would fill a whole frame.
        """
        index = self._pick(rng, self.shares[frame.image.width == NETWORK_WIDTH])
        sample = self.photos.samples[index]
        image, labels = self._dressed(rng, index)
        frame.sources.append(index)
        width, height = cell[2] - cell[0], cell[3] - cell[1]
        scale_x, scale_y = NETWORK_WIDTH / sample.size_wh[0], NETWORK_HEIGHT / sample.size_wh[1]
        if rng.random() < 0.2:
            scale_x = scale_y * FRAME_ASPECT / float(rng.choice(ASPECTS))
        scale_x *= float(np.exp(rng.normal(0, 0.1)))
        zoom, center = self._aim(rng, sample, scale_y, (width, height), zooms)
        scale = np.array([scale_x, scale_y]) * zoom
        length = np.array(sample.size_wh, np.float64)
        shown = np.minimum(np.array([width, height]) / scale, length)
        anywhere, jitter = rng.uniform(0, 1, 2) * length, rng.uniform(-0.4, 0.4, 2) * shown
        center = anywhere if center is None else center + jitter
        start = np.clip(center - shown / 2, 0, length - shown)
        size = np.maximum(np.round(shown * scale), 1).astype(int)
        free = np.array([width, height]) - size
        corner = (np.array(cell[:2]) + (rng.random(2) * free).round()).astype(int)
        part = image.resize(
            (min(int(size[0]), width), min(int(size[1]), height)),
            Image.Resampling.BILINEAR,
            box=(*start, *(start + shown)),
            reducing_gap=2.0,
        )
        frame.image.paste(part, (int(corner[0]), int(corner[1])))
        limits = np.array([*corner, *(corner + size)], np.float32)
        shift, factor = np.tile(start, 2), np.tile(scale, 2)
        unknown = np.full(len(sample.ignored), NO_CLASS)
        for boxes, is_face, ids in (
            (sample.boxes, True, labels),
            (sample.ignored, False, unknown),
        ):
            moved = ((boxes - shift) * factor + np.tile(corner, 2)).astype(np.float32)
            for box, label in zip(moved, ids.tolist(), strict=True):
                _add(frame, box, limits, is_face, label)
        if not sample.complete:
            frame.doubtful.append(limits)

    def _dressed(
        self, rng: np.random.Generator, index: int
    ) -> tuple[Image.Image, NDArray[np.int32]]:
        """Return a photo and the classes of its faces, some of them with masks drawn on."""
        sample = self.photos.samples[index]
        image, labels = self.photos.image(sample), self.labels[index].copy()
        if self.masked != NO_CLASS:
            for face, points in enumerate(sample.points):
                drawn = len(points) and rng.random() < MASKED_SHARE
                if drawn and draw_mask(image, points, rng):
                    labels[face] = self.masked
        return image, labels

    def _aim(
        self, rng: np.random.Generator, sample: Sample, scale_y: float, size: Size, zooms: Range
    ) -> tuple[float, NDArray[np.float64] | None]:
        """Draw a zoom, and a point of the photo to keep near the middle (None: anywhere)."""
        drawn = rng.random()
        if not len(sample.boxes):
            return log_uniform(rng, zooms[0], min(zooms[1], 2.0)), None
        x1, y1, x2, y2 = sample.boxes[int(rng.integers(len(sample.boxes)))]
        center = np.array([x1 + x2, y1 + y2]) / 2
        if drawn < 0.4:
            return log_uniform(rng, max(zooms[0], 0.6), max(zooms[0], 1.4)), center
        if drawn < 0.5 or size[0] == NETWORK_WIDTH and drawn < 0.75:
            return max(zooms[0], 1.0), None
        if size == WHOLE and drawn > (0.75 if sample.kind == "portrait" else 0.92):
            height = rng.uniform(0.6, 1.1) * size[1]
        else:
            height = log_uniform(rng, 14.0, 0.85 * size[1])
        return float(np.clip(height / max((y2 - y1) * scale_y, 1.0), *zooms)), center


def _add(frame: Frame, box: Boxes, limits: Boxes, is_face: bool, label: int = NO_CLASS) -> None:
    """Add a box cut to what is shown of its photo; ignore it if too little or too small."""
    inner = np.clip(box, np.tile(limits[:2], 2), np.tile(limits[2:], 2))
    size = np.maximum(inner[2:] - inner[:2], 0)
    if not size.all():
        return
    visible = float(size.prod()) / max(float((box[2:] - box[:2]).prod()), 1e-6)
    counts = is_face and visible >= KEPT_SHARE and size[1] >= SMALLEST_FACE
    (frame.boxes if counts else frame.ignored).append(inner)
    if counts:
        frame.labels.append(label)


def _mirror(frame: Frame) -> None:
    frame.image = frame.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width = frame.image.width
    for boxes in (frame.boxes, frame.ignored, frame.doubtful):
        for index, (x1, y1, x2, y2) in enumerate(boxes):
            boxes[index] = np.array([width - x2, y1, width - x1, y2], np.float32)
