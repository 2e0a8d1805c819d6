"""TLT's rasterizer: what its published parts say, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from training.detector.targets import build_tlt_targets, radii  # noqa: E402
from training.experiment.training import ClassRaster  # noqa: E402

GRID = (26, 46)
NONE = np.zeros((0, 4), np.float32)
HALF = ClassRaster(cov_radius_x=0.5, cov_radius_y=0.5, bbox_min_radius=1.0)


def targets_of(  # type: ignore[no-untyped-def]
    boxes: list[list[float]], classes: list[int], deadzone=0.0, rasters=(HALF,), ignored=NONE
):
    faces = np.array(boxes, np.float32).reshape(-1, 4)
    return build_tlt_targets(faces, ignored, GRID, np.array(classes, np.int64), rasters, deadzone)


def test_radii() -> None:
    # Half of half the box, then grown alike until the shorter one is a cell.
    assert radii(HALF, 0.0, 20, 10)[0] == (5, 2.5)
    assert radii(HALF, 0.0, 4, 2)[0] == (2, 1)
    assert radii(HALF, 0.0, 1, 3)[0] == (1, 3)
    # The dead zone reaches a share of the way to the box's own edge, and never less far.
    assert radii(HALF, 0.5, 20, 10)[1] == (7.5, 3.75)
    assert radii(HALF, 1.0, 1, 3)[1] == (1, 3)
    # From the middle of an ellipse out of the box's, it is the nearest edge that counts.
    off = ClassRaster(
        cov_center_x=0.25, cov_center_y=0.6, cov_radius_x=1.0, cov_radius_y=1.0, bbox_min_radius=0.0
    )
    (x, y), around = radii(off, 0.5, 20, 10)
    assert (x, y) == (5, pytest.approx(4))
    assert around == (5, pytest.approx(4))
    # Nothing is smaller than a tenth of a cell.
    corner = ClassRaster(
        cov_center_x=0, cov_center_y=0, cov_radius_x=0.1, cov_radius_y=0.1, bbox_min_radius=0.0
    )
    assert radii(corner, 0.0, 2, 2)[0] == (0.1, 0.1)


def test_coverage_is_the_share_of_sixteen_samples() -> None:
    # An ellipse about a corner of four cells, of half a cell: 3 samples of each lie within.
    raster = ClassRaster(cov_radius_x=0.5, cov_radius_y=0.5, bbox_min_radius=0.5)
    targets = targets_of([[144, 144, 176, 176]], [0], rasters=(raster,))
    expected = np.zeros(GRID, np.float32)
    expected[9:11, 9:11] = 3 / 16
    np.testing.assert_array_equal(targets.covered[0], expected)
    np.testing.assert_allclose(targets.box_weight[0], expected)  # an area of 1, the least


def test_one_face_by_hand() -> None:
    targets = targets_of([[160, 160, 320, 320]], [0], 0.5)
    covered = targets.covered[0]
    # The middle is between cells 14 and 15, the radius 2.5 cells. Of the third cell the columns
    # of samples 2.375 and 2.125 away have 3 and 4 within the ellipse, the others none.
    assert covered[14, 12] == covered[15, 17] == 7 / 16
    assert (covered[14, 13:17] == 1).all()
    assert not covered[14, :12].any()
    assert covered.sum() == pytest.approx(np.pi * 2.5**2, rel=0.03)
    # The dead zone, up to 3.75 cells away, is background like any other.
    assert (targets.coverage_weight == 1).all()
    np.testing.assert_allclose(targets.box_weight[0], covered / (4 * 2.5 * 2.5))
    assert (targets.boxes[0][:, covered > 0].T == (160, 160, 320, 320)).all()


def test_classes_know_nothing_of_each_other() -> None:
    box = [160.0, 160.0, 320.0, 320.0]
    both = targets_of([box, box], [0, 1], 0.5, (HALF, HALF))
    alone = targets_of([box], [0], 0.5, (HALF, HALF))
    for index in range(2):
        np.testing.assert_array_equal(both.covered[index], alone.covered[0])
        np.testing.assert_array_equal(both.box_weight[index], alone.box_weight[0])
    assert (both.coverage_weight == 1).all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_that_cover_a_cell_alike_the_lower_has_it(order: tuple[int, int]) -> None:
    faces = [[160.0, 120.0, 320.0, 280.0], [160.0, 160.0, 320.0, 320.0]]
    targets = targets_of([faces[k] for k in order], [0, 0])
    # The row between both middles is within both ellipses.
    assert targets.covered[0, 13, 14] == 1
    assert targets.boxes[0, :, 13, 14].tolist() == faces[1]
    # What only the upper one covers stays its own.
    assert targets.boxes[0, :, 11, 14].tolist() == faces[0]


def test_a_dead_zone_clears_the_edge_of_another_face() -> None:
    upper, lower = [160.0, 60.0, 320.0, 220.0], [160.0, 160.0, 320.0, 320.0]
    plain = targets_of([upper, lower], [0, 0]).covered[0]
    cleared = targets_of([upper, lower], [0, 0], 1.0).covered[0]
    edge = (plain > 0) & (cleared == 0)
    assert edge.any()
    assert (plain[edge] < 1).all()
    assert (cleared[plain == 1] == 1).all()


def test_ignored_objects_are_not_trained_but_where_a_face_is() -> None:
    ignored = np.array([[160, 160, 320, 320]], np.float32)
    targets = targets_of([[224, 224, 384, 384]], [0], ignored=ignored)
    weight, covered = targets.coverage_weight[0], targets.covered[0]
    assert weight[12, 12] == 0
    assert weight[5, 5] == 1
    assert (weight[covered > 0] == 1).all()
