from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit import Faces, InputError, PhotoError
from facekit.data import probe_photo
from facekit.draw import BOX_COLOR, CLASS_COLORS, PART_COLORS, draw_faces, open_upright
from facekit.landmarks.scheme import groups
from facekit.runs import Drawings, PhotoResult
from tests import photo_files


def probe_faces(count: int = 1, points: int = 68) -> Faces:
    """Return a plausible face of the probe photo, each more shifted to the right."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 13), np.linspace(0, 1, 8)), axis=2)
    one = np.array([132, 76]) + grid.reshape(-1, 2)[:points] * [90, 100]
    shift = np.arange(count)[:, None] * [100.0, 0.0]
    return Faces(
        boxes_xyxy=np.tile([130, 74, 224, 180], (count, 1)) + np.tile(shift, 2),
        scores=np.linspace(0.9, 0.5, count),
        points_xy=one + shift[:, None],
        point_scores=np.ones((count, points)),
        size_wh=(360, 300),
    )


def enlarged(faces: Faces, by: int) -> Faces:
    width, height = faces.size_wh
    return replace(
        faces,
        boxes_xyxy=faces.boxes_xyxy * by,
        points_xy=faces.points_xy * by,
        size_wh=(width * by, height * by),
    )


def changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    difference = np.abs(np.asarray(before, int) - np.asarray(after, int))
    return difference.max(axis=2) > 8


def test_draw_no_face_leaves_the_photo_as_it_is() -> None:
    plain = open_upright(probe_photo())
    assert not changed(plain, draw_faces(probe_photo(), Faces.empty((360, 300)))).any()


def test_draw_marks_box_points_and_score_and_nothing_far_away() -> None:
    plain = open_upright(probe_photo())
    marks = changed(plain, draw_faces(probe_photo(), probe_faces()))
    for edge in (marks[100:150, 128:132], marks[100:150, 222:226], marks[178:182, 150:200]):
        assert edge.any(axis=1 if edge.shape[0] > edge.shape[1] else 0).all()
    assert marks[58:72, 130:150].mean() > 0.5  # The tag above the box.
    assert not marks[:40].any() and not marks[:, :100].any() and not marks[:, 260:].any()
    without = changed(plain, draw_faces(probe_photo(), probe_faces(), scores=False))
    assert not without[58:72].any()


@pytest.mark.parametrize("points", [68, 80, 104])
def test_draw_colors_each_part(points: int) -> None:
    black = np.zeros((1200, 1440, 3), np.uint8)
    faces = enlarged(probe_faces(points=points), 4)
    picture = np.asarray(draw_faces(black, faces, scores=False), int)
    for name, span in groups(points).items():
        x, y = faces.points_xy[0, span.start].round().astype(int)
        close = np.abs(picture[y - 2 : y + 3, x - 2 : x + 3] - PART_COLORS[name]).sum(axis=2)
        assert close.min() < 60, name
    assert (np.abs(picture - BOX_COLOR).sum(axis=2) < 20).sum() > 300


@pytest.mark.parametrize("points", [0, 5])
def test_draw_points_of_no_known_scheme_are_dots(points: int) -> None:
    plain = open_upright(probe_photo())
    marks = changed(plain, draw_faces(probe_photo(), probe_faces(points=points), scores=False))
    assert marks[74:79, 132:230].any()
    assert marks[100:170, 140:210].sum() == 0


@pytest.mark.parametrize(
    "box",
    [
        (-50, -40, 30, 30), (330, 280, 500, 400), (-9999, -9999, 9999, 9999),
        (100, 100, 100.2, 100.2), (0, 0, 360, 300), (1000, 1000, 1100, 1100),
    ],
)  # fmt: skip
def test_draw_box_anywhere_is_clipped(box: tuple[float, ...]) -> None:
    faces = probe_faces()
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    points = np.broadcast_to(middle, (1, 68, 2))
    picture = draw_faces(probe_photo(), Faces([box], [1], points, faces.point_scores, (360, 300)))
    assert picture.size == (360, 300)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_draw_turns_the_photo_upright(orientation: int) -> None:
    # Upright: a red left half over a blue bottom right.
    upright = np.zeros((40, 80, 3), np.uint8)
    upright[:, :40, 0] = 255
    upright[20:, 40:, 2] = 255
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "JPEG", exif=exif, quality=95)
    picture = draw_faces(file.getvalue(), Faces.empty((80, 40)))
    assert picture.size == (80, 40)
    assert np.abs(np.asarray(picture, int) - upright)[4:-4, 4:-4].mean() < 12


def test_draw_faces_of_another_photo_are_refused() -> None:
    with pytest.raises(InputError, match="of 10 x 10 pixels; this one has 360 x 300"):
        draw_faces(probe_photo(), Faces.empty((10, 10)))
    with pytest.raises(PhotoError):
        draw_faces(b"text and no photo", Faces.empty((10, 10)))


def test_draw_looks_alike_at_any_resolution() -> None:
    big = np.asarray(open_upright(probe_photo()).resize((1440, 1200)))
    faces = probe_faces()
    small = np.asarray(draw_faces(probe_photo(), faces), int)
    reduced = np.asarray(draw_faces(big, enlarged(faces, 4)).resize((360, 300)), int)
    assert np.abs(small - reduced).mean() < 4


def masked(box: tuple[float, ...], labels: list[int]) -> Faces:
    count = len(labels)
    return Faces(
        [box] * count, [0.9] * count, np.zeros((count, 0, 2)), np.zeros((count, 0)), (360, 300),
        np.array(labels, np.int32), ("mask", "no-mask", "other"),
    )  # fmt: skip


@pytest.mark.parametrize("label", [0, 1, 2])
def test_draw_gives_each_class_its_color(label: int) -> None:
    black = np.zeros((1200, 1440, 3), np.uint8)
    faces = enlarged(masked((130, 74, 224, 180), [label]), 4)
    picture = np.asarray(draw_faces(black, faces, scores=False), int)
    assert (np.abs(picture - CLASS_COLORS[label]).sum(axis=2) < 20).sum() > 300
    assert not (np.abs(picture - BOX_COLOR).sum(axis=2) < 20).any()


def test_draw_writes_the_class_s_name_beside_the_score() -> None:
    plain = open_upright(probe_photo())
    tags = []
    for names, scores in ((("a",), True), (("a long name",), True), (("a long name",), False)):
        faces = replace(masked((60, 74, 154, 180), [0]), class_names=names)
        marks = changed(plain, draw_faces(probe_photo(), faces, scores=scores))
        tags.append(int(marks[58:72, 60:].any(axis=0).sum()))
    # A longer name takes more room, and a score some more of it.
    assert tags[0] < tags[2] < tags[1]


def test_draw_tag_at_the_photo_s_edge_stays_in_the_photo() -> None:
    plain = open_upright(probe_photo())
    faces = replace(masked((316, 74, 358, 120), [1]), class_names=("x", "a longer name"))
    marks = changed(plain, draw_faces(probe_photo(), faces))
    # A good part of it lies left of where the box begins.
    assert marks[58:72, 276:314].any(axis=0).mean() > 0.9


@pytest.mark.parametrize(("width", "limit"), [(20, 60), (8, 16)])
def test_draw_tag_does_not_dwarf_its_face(width: int, limit: int) -> None:
    plain = open_upright(probe_photo())
    box = (100, 100, 100 + width, 100 + 2 * width)
    faces = replace(masked(box, [0]), class_names=("a rather long name",))
    columns = np.flatnonzero(changed(plain, draw_faces(probe_photo(), faces)).any(axis=0))
    # The score alone, or nothing but the box; the whole text would be 110 pixels wide.
    assert width <= columns[-1] - columns[0] <= limit


def test_draw_tags_of_a_crowd_cover_no_other_face() -> None:
    black = np.zeros((300, 360, 3), np.uint8)
    lefts, tops = np.meshgrid(np.arange(20, 330, 30), np.arange(20, 270, 34))
    corners = np.stack([lefts.ravel(), tops.ravel()], axis=1)
    count = len(corners)
    faces = Faces(
        np.concatenate([corners, corners + [20, 26]], axis=1), np.linspace(0.9, 0.5, count),
        np.zeros((count, 0, 2)), np.zeros((count, 0)), (360, 300),
        np.arange(count) % 2, ("mask", "no-mask"),
    )  # fmt: skip
    picture = np.asarray(draw_faces(black, faces), int).max(axis=2)
    for x, y in corners:
        assert picture[y + 3 : y + 23, x + 3 : x + 17].max() < 40, (x, y)
    # Where there is room, above the first row, the scores stand.
    assert (picture[8:16] > 100).mean() > 0.2


def test_damage_behind_the_header_is_the_photos_error(tmp_path: Path) -> None:
    photo = tmp_path / "damaged.jpg"
    photo.write_bytes(photo_files.damaged_jpeg((400, 300)))
    with pytest.raises(PhotoError, match="^truncated or corrupt JPEG: "):
        open_upright(photo)
    faces = replace(probe_faces(), size_wh=(400, 300))
    drawn = Drawings(tmp_path / "drawn").add(PhotoResult(str(photo), faces))
    assert isinstance(drawn.result, PhotoError) and not (tmp_path / "drawn").exists()
