"""The pose of a head: yaw, pitch and roll of a mean face that is fitted to the landmarks.

Signs, as the face is seen in the picture: yaw is positive where it turns to the picture's right,
pitch where it looks up, roll where it leans clockwise; a face that looks into the camera has 0, 0,
0. Axes are x right, y down, z away from the camera, and the rotation that brings the mean face into
the face's position is ``Rz(roll) @ Rx(-pitch) @ Ry(-yaw)``: roll and pitch say where the top of
the head points, yaw how far the face turns about that axis. Turning the photo changes roll alone.

The projection is scaled orthography, which needs no camera: faces are shallow beside their
distance. Points past the 68th are not used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.landmarks.crops import FloatArray
from facekit.landmarks.scheme import groups

Array = npt.NDArray[np.float64]

# fmt: off
MEAN_FACE: Array = np.array([
    (-1.162, 0.088, 0.813), (-1.144, 0.378, 0.728), (-1.099, 0.655, 0.686), (-1.042, 0.923, 0.657),
    (-0.942, 1.201, 0.59), (-0.773, 1.43, 0.448), (-0.58, 1.586, 0.256), (-0.339, 1.716, 0.027),
    (0, 1.788, -0.056), (0.339, 1.716, 0.027), (0.58, 1.586, 0.256), (0.773, 1.43, 0.448),
    (0.942, 1.201, 0.59), (1.042, 0.923, 0.657), (1.099, 0.655, 0.686), (1.144, 0.378, 0.728),
    (1.162, 0.088, 0.813), (-0.913, -0.219, 0.193), (-0.776, -0.332, 0.024),
    (-0.591, -0.374, -0.096), (-0.414, -0.36, -0.174), (-0.259, -0.315, -0.213),
    (0.259, -0.315, -0.213), (0.414, -0.36, -0.174), (0.591, -0.374, -0.096),
    (0.776, -0.332, 0.024), (0.913, -0.219, 0.193), (0, -0.023, -0.269), (0, 0.165, -0.395),
    (0, 0.346, -0.531), (0, 0.517, -0.59), (-0.209, 0.664, -0.289), (-0.115, 0.689, -0.348),
    (0, 0.714, -0.377), (0.115, 0.689, -0.348), (0.209, 0.664, -0.289), (-0.692, 0.001, 0.082),
    (-0.574, -0.057, -0.016), (-0.43, -0.057, -0.029), (-0.3, 0.016, -0.01),
    (-0.428, 0.048, -0.029), (-0.576, 0.049, 0.002), (0.3, 0.016, -0.01), (0.43, -0.057, -0.029),
    (0.574, -0.057, -0.016), (0.692, 0.001, 0.082), (0.576, 0.049, 0.002), (0.428, 0.048, -0.029),
    (-0.413, 1.048, -0.068), (-0.27, 0.957, -0.253), (-0.1, 0.904, -0.35), (0, 0.925, -0.36),
    (0.1, 0.904, -0.35), (0.27, 0.957, -0.253), (0.413, 1.048, -0.068), (0.267, 1.163, -0.206),
    (0.13, 1.224, -0.282), (0, 1.235, -0.299), (-0.13, 1.224, -0.282), (-0.267, 1.163, -0.206),
    (-0.371, 1.046, -0.081), (-0.116, 1.007, -0.294), (0, 1.007, -0.316), (0.116, 1.007, -0.294),
    (0.371, 1.046, -0.081), (0.116, 1.083, -0.274), (0, 1.092, -0.291), (-0.116, 1.083, -0.274),
])
# fmt: on
"""The 68 points of a mean face: float64 (68, 3), x right, y down, z away from the camera, in units
of the distance between the eyes' centers, midway between which is the origin.

The kit's own: ``python -m training.landmarks.mean_face`` made it of the labeled points of 300-W
(AFW, Helen's training part) and of YouTube frames, by factorization as of a rigid, symmetric body.
It stands upright as the canonical face model of MediaPipe (Apache-2.0) does; with that, the median
portrait of Helen looks down by 3.3 degrees.
"""

_JAW_WEIGHT = 0.25
"""Of a jaw's point, beside 1 of any other. The points are on the outline that is seen, which on the
far side of a turned face is not the jaw of the mean face."""

_WEIGHTS = np.where(np.arange(len(MEAN_FACE)) < 17, _JAW_WEIGHT, 1.0)
_STEPS = 6
_GENERATORS = np.array(
    [
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0, 0, 1], [0, 0, 0], [-1, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
        np.eye(3),
    ]
)
"""Of small rotations about x, y and z, and of a change of scale."""


def poses_deg(points_xy: npt.ArrayLike) -> FloatArray:
    """Return the yaw, pitch and roll of each face in degrees; see the module for the signs.

    Args:
        points_xy: (N, K, 2), landmarks in pixels, x right, y down.

    Returns:
        float32 (N, 3): yaw and roll from -180 to 180, pitch from -90 to 90; NaN where all points
        coincide or one is not finite.

    Raises:
        ConfigError: There are faces, and their points are of no known landmark scheme.
    """
    points = np.asarray(points_xy, np.float64)
    angles = np.full((len(points), 3), np.nan, np.float32)
    if len(points):
        groups(points.shape[1])
        known = np.isfinite(points).all(axis=(1, 2)) & (np.ptp(points, axis=1).max(axis=1) > 0)
        rotations, _, _ = fit_face(points[known, : len(MEAN_FACE)], MEAN_FACE)
        angles[known] = angles_deg(rotations)
    return angles


def fit_face(points_xy: Array, face_xyz: Array) -> tuple[Array, Array, Array]:
    """Return the rotation, scale and shift that bring a face's projection nearest to points.

    Least squares over all points, those of the jaw at a quarter of the others' weight, by
    Gauss-Newton steps from the nearest affine map.

    Args:
        points_xy: (N, 68, 2), in pixels; those of a face not all at one place.
        face_xyz: (68, 3), the face, such as ``MEAN_FACE``.

    Returns:
        Rotations (N, 3, 3), scales (N,) and shifts (N, 2) with
        ``points = scale * (rotation @ face)[:2] + shift``.
    """
    weights = _WEIGHTS / _WEIGHTS.sum()
    middle_xyz, middle_xy = weights @ face_xyz, weights @ points_xy
    face, points = face_xyz - middle_xyz, points_xy - middle_xy[:, None]
    # All that the points say about the fit is in the affine map; what its errors cost is in
    # `root`, the Cholesky factor of the face's moments.
    moments = (weights[:, None] * face).T @ face
    affine = np.einsum("nki,kj->nij", points, weights[:, None] * face) @ np.linalg.inv(moments)
    root = np.linalg.cholesky(moments)
    left, sizes, right = np.linalg.svd(affine, full_matrices=False)
    scale = sizes.mean(axis=1)
    across = left @ right
    rotation = np.concatenate([across, np.cross(across[:, 0], across[:, 1])[:, None]], axis=1)
    for _ in range(_STEPS):
        mapped = scale[:, None, None] * rotation
        slopes = ((_GENERATORS @ mapped[:, None])[:, :, :2] @ root).reshape(-1, 4, 6)
        misses = ((affine - mapped[:, :2]) @ root).reshape(-1, 6, 1)
        step = np.linalg.solve(slopes @ slopes.transpose(0, 2, 1), slopes @ misses)[:, :, 0]
        # Cayley's map: a rotation for any skew matrix.
        skew = np.einsum("na,aij->nij", step[:, :3], _GENERATORS[:3]) / 2
        rotation = np.linalg.solve(np.eye(3) - skew, (np.eye(3) + skew) @ rotation)
        scale = scale * np.exp(np.clip(step[:, 3], -1, 1))
    shift = middle_xy - scale[:, None] * (rotation @ middle_xyz)[:, :2]
    return rotation, scale, shift


def angles_deg(rotations: Array) -> Array:
    """Return yaw, pitch and roll in degrees of rotations (N, 3, 3): (N, 3)."""
    pitch = np.arcsin(np.clip(-rotations[:, 2, 1], -1, 1))
    yaw = np.arctan2(rotations[:, 2, 0], rotations[:, 2, 2])
    roll = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    angles: Array = np.degrees(np.stack([yaw, pitch, roll], axis=1))
    return angles


def rotations_of(angles: npt.ArrayLike) -> Array:
    """Return the rotations (N, 3, 3) of yaw, pitch and roll in degrees (N, 3).

    Column k is where the face's own axis k points: right in the picture, down, away from the
    camera; ``angles_deg`` is the way back.
    """
    yaw, pitch, roll = np.radians(np.asarray(angles, np.float64)).T
    return _about(2, roll) @ _about(0, -pitch) @ _about(1, -yaw)


def _about(axis: int, angles: Array) -> Array:
    """Return the right-handed rotations about an axis, by Rodrigues' formula."""
    cross = _GENERATORS[axis]
    sin, cos = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    rotations: Array = np.eye(3) + sin * cross + (1 - cos) * (cross @ cross)
    return rotations


def off_frontal_deg(angles: npt.ArrayLike) -> Array:
    """Return how far faces look past the camera, whichever way: (N,), 0 to 180 degrees.

    Args:
        angles: (N, 3), yaw, pitch and roll in degrees.
    """
    yaw, pitch, _ = np.radians(np.asarray(angles, np.float64)).T
    angle: Array = np.degrees(np.arccos(np.clip(np.cos(yaw) * np.cos(pitch), -1, 1)))
    return angle
