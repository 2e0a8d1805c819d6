"""Look closer at a photo than one frame of the detector allows: in tiles, and turned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np

from facekit.adapters.calls import detect_in_frames
from facekit.adapters.requests import Array, tensor
from facekit.detection import tiling
from facekit.detection.clustering import Float64Array, IntArray
from facekit.detection.search import Search
from facekit.photos.frames import network_frames, turned_back, turned_size

FRAMES_AT_A_TIME = 8
"""Frames of one call of the network: of more, the shared memory would be released after each
(``facekit.shared_pages``)."""

_DETECTIONS = ("true_boxes", "true_proba", "true_count")

PictureOf = Callable[[float], Awaitable[Array]]
"""Gives the upright picture of a photo, uint8 (H, W) or (H, W, 3), fine enough for frames that
shrink the photo by a factor."""


@dataclass(frozen=True)
class Found:
    """What was found in a photo that is turned back by an angle, in its pixels then.

    Attributes:
        boxes_xyxy: float32 (N, 4).
        scores: float32 (N,).
        windows_xyxy: float64 (N, 4), the tile, or the whole photo, in which each was found.
        rotation_deg: The angle by which the faces are turned in the photo, clockwise.
        shrink: Pixels of the photo for a pixel of the finest frame, along the worse axis.
    """

    boxes_xyxy: Array
    scores: Array
    windows_xyxy: Float64Array
    rotation_deg: int
    shrink: float

    @classmethod
    def in_whole(cls, boxes_xyxy: Array, scores: Array, size_wh: tuple[int, int]) -> Found:
        """Return what was found in the whole upright photo."""
        window = tiling.whole(size_wh)
        windows = window.repeat(len(scores), axis=0)
        return cls(boxes_xyxy, scores, windows, 0, tiling.shrink(window))

    def sure(self) -> float:
        """Return the sum of the scores of those that are no chance finds."""
        return float(self.scores[self.scores >= tiling.SURE_SCORE].sum())

    def stands(self) -> bool:
        """Return whether one is so sure that the photo stands upright, turned so."""
        return bool((self.scores >= tiling.UPRIGHT_SCORE).any())

    def chosen(self, indices: IntArray) -> Found:
        """Return some of the faces."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[indices],
            scores=self.scores[indices],
            windows_xyxy=self.windows_xyxy[indices],
        )


class CloserLook:
    """A closer look at one photo.

    Args:
        size_wh: Width and height of the upright photo in pixels.
        picture_of: Gives its picture.
        search: What to look at besides the whole upright photo.
    """

    def __init__(self, size_wh: tuple[int, int], picture_of: PictureOf, search: Search) -> None:
        self._size_wh = size_wh
        self._picture_of = picture_of
        self._search = search

    async def find(self, upright: Found) -> list[Found]:
        """Return the faces found at each angle, every face once; the upright ones come first.

        Args:
            upright: What was found in the whole upright photo.

        Raises:
            ServerError: See ``facekit.adapters.calls.call``.
        """
        search, finds = self._search, {0: upright}
        if not (search.adaptive_rotations and upright.stands()):
            for angle in search.rotations_deg:
                size_wh = turned_size(self._size_wh, angle)
                finds[angle] = await self._look(tiling.whole(size_wh), angle)
        angles = list(finds)
        if search.adaptive_rotations:
            # A photo lies on one side: it is searched further as it stands then, and most of what
            # was found upright was nothing.
            upright_at = [angle for angle, found in finds.items() if found.stands()]
            best = max([0, *upright_at], key=lambda angle: finds[angle].sure())
            # Who asks for a least score has it everywhere.
            least = search.threshold or tiling.SURE_SCORE
            sure = upright.chosen(np.flatnonzero(upright.scores >= least))
            angles, finds = [best], {0: sure, best: finds[best]}
        for angle in angles:
            finds[angle] = await self._in_tiles(finds[angle])
        if search.threshold is None and not any(each.sure() for each in finds.values()):
            return [replace(upright, shrink=finds[angles[0]].shrink)]
        return self._one_a_face(list(finds.values()))

    async def _in_tiles(self, whole: Found) -> Found:
        """Return what was found in a photo and in its tiles, not yet one box a face."""
        size_wh = turned_size(self._size_wh, whole.rotation_deg)
        every, latest, windows, search = whole, whole, tiling.whole(size_wh), self._search
        for most in search.tile_counts:
            gain = 1.0
            if search.adaptive_tiles:
                # A part of a face tells nothing of sizes, and without a sure one there is none.
                own = latest.boxes_xyxy, latest.windows_xyxy
                counted = ~tiling.cut_off(*own, size_wh) & (every.sure() > 0)
                if not tiling.call_for_tiles(tiling.shortest_sides(*own)[counted], windows):
                    break
                gain = tiling.MIN_GAIN
            windows = tiling.plan_tiles(size_wh, most, every.shrink / gain)
            if not len(windows):
                break
            latest = await self._look(windows, whole.rotation_deg)
            every = replace(
                latest,
                boxes_xyxy=np.concatenate([every.boxes_xyxy, latest.boxes_xyxy]),
                scores=np.concatenate([every.scores, latest.scores]),
                windows_xyxy=np.concatenate([every.windows_xyxy, latest.windows_xyxy]),
            )
        return every

    async def _look(self, windows_xyxy: Float64Array, rotation_deg: int) -> Found:
        """Look at parts of the turned photo, a few at a time."""
        shrink, threshold = tiling.shrink(windows_xyxy), self._search.threshold
        picture = await self._picture_of(shrink)
        boxes, scores, windows = [], [], []
        for start in range(0, len(windows_xyxy), FRAMES_AT_A_TIME):
            some = windows_xyxy[start : start + FRAMES_AT_A_TIME]
            frames = network_frames(picture, some, self._size_wh, rotation_deg)
            sizes = np.ones((len(some), 3), np.int64)
            sizes[:, :2] = (some[:, 2:] - some[:, :2])[:, ::-1]
            found = await detect_in_frames(
                tensor("input_1", frames),
                tensor("true_image_size", sizes),
                _DETECTIONS,
                threshold=threshold,
            )
            for window, found_boxes, proba, count in zip(
                some, *(output.as_numpy() for output in found), strict=True
            ):
                kept = np.flatnonzero(proba[: count[0], 0] >= (threshold or tiling.FURTHER_SCORE))
                boxes.append(found_boxes[kept] + np.tile(window[:2], 2).astype(np.float32))
                scores.append(proba[kept, 0])
                windows.append(window[None].repeat(len(kept), axis=0))
        return Found(
            np.concatenate(boxes), np.concatenate(scores), np.concatenate(windows),
            rotation_deg, shrink,
        )  # fmt: skip

    def _one_a_face(self, finds: list[Found]) -> list[Found]:
        joined = []
        for each in finds:
            size_wh = turned_size(self._size_wh, each.rotation_deg)
            joined.append(
                each.chosen(tiling.join(each.boxes_xyxy, each.scores, each.windows_xyxy, size_wh))
            )
        boxes = [turned_back(each.boxes_xyxy, self._size_wh, each.rotation_deg) for each in joined]
        owners = np.repeat(np.arange(len(joined)), [len(each.scores) for each in joined])
        order = np.argsort(-np.concatenate([each.scores for each in joined]), kind="stable")
        kept = tiling.one_a_face(np.concatenate(boxes), owners[:, None], order)
        starts = np.searchsorted(owners, np.arange(len(joined)))
        return [
            each.chosen(kept[owners[kept] == i] - start)
            for i, (each, start) in enumerate(zip(joined, starts, strict=True))
        ]
