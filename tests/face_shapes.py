"""Made-up faces whose places in a photo are known exactly."""

from __future__ import annotations

import numpy as np

from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.faces import Faces


def points_68(
    center_xy: tuple[float, float], eye_distance: float, rotation_deg: float = 0.0
) -> np.ndarray:
    """A plain face of 68 points: eyes around their center, jaw below, brows above."""
    points = np.zeros((68, 2))
    angles = np.linspace(np.pi, 0, 17)
    points[0:17] = np.stack([1.15 * np.cos(angles), 0.1 + 1.65 * np.sin(angles)], axis=1)
    for start, middle in ((17, -0.55), (22, 0.55)):
        points[start : start + 5] = np.stack(
            [middle + np.linspace(-0.4, 0.4, 5), np.full(5, -0.35)], 1
        )
    points[27:31] = np.stack([np.zeros(4), np.linspace(0, 0.6, 4)], axis=1)
    points[31:36] = np.stack([np.linspace(-0.25, 0.25, 5), np.full(5, 0.7)], axis=1)
    ring = np.array([[-1, 0], [-0.4, -0.5], [0.4, -0.5], [1, 0], [0.4, 0.5], [-0.4, 0.5]])
    points[36:42] = ring * 0.2 + [-0.5, 0]
    points[42:48] = ring * 0.2 + [0.5, 0]
    mouth = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points[48:60] = np.stack([0.4 * np.cos(mouth), 1.1 + 0.2 * np.sin(mouth)], axis=1)
    points[60:68] = points[48:56] * [0.7, 0.99]
    a = np.deg2rad(rotation_deg)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return (points * eye_distance) @ turn.T + center_xy


def faces_of(points: list[np.ndarray], size_wh: tuple[int, int], scores: list[float]) -> Faces:
    """Faces of these points; each box is the points' extent."""
    stacked = np.array(points, np.float32).reshape(len(points), 68, 2)
    return Faces(
        boxes_xyxy=np.concatenate([stacked.min(axis=1), stacked.max(axis=1)], axis=1)
        if len(points)
        else np.zeros((0, 4)),
        scores=np.array(scores, np.float32),
        points_xy=stacked,
        point_scores=np.full((len(points), 68), 0.9, np.float32),
        size_wh=size_wh,
        channels=3,
    )


def record_of(photo: str, faces: Faces | None, error: str = "") -> PhotoRecord:
    return PhotoRecord(photo, FileStamp(1, 1), faces, error)
