from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from facekit import ConfigError, Face, Faces, InputError
from facekit.landmarks.pose import MEAN_FACE, rotations_of


def make_faces(count: int, points: int = 68, seed: int = 0) -> Faces:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 100, (count, 2, 2))
    corners[:, 1] = corners[:, 0] + rng.uniform(10, 100, (count, 2))
    return Faces(
        boxes_xyxy=corners.reshape(count, 4),
        scores=np.sort(rng.uniform(0, 1, count))[::-1],
        points_xy=rng.uniform(0, 200, (count, points, 2)),
        point_scores=rng.uniform(0, 1, (count, points)),
        size_wh=(320, 240),
    )


def face_with_eyes(right: tuple[float, float], left: tuple[float, float]) -> Faces:
    """Return one face whose eyes are small rings around these centers."""
    points = np.zeros((1, 68, 2))
    ring = np.array([[-2, 0], [-1, -1], [1, -1], [2, 0], [1, 1], [-1, 1]])
    points[0, 36:42] = np.array(right) + ring
    points[0, 42:48] = np.array(left) + ring
    return Faces([[0, 0, 9, 9]], [1], points, np.ones((1, 68)), (100, 100))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_faces_any_count_are_float32_and_sized(count: int) -> None:
    faces = make_faces(count)
    assert len(faces) == count == len(list(faces))
    assert faces.boxes_xyxy.shape == (count, 4)
    assert faces.points_xy.shape == (count, 68, 2)
    for array in (faces.boxes_xyxy, faces.scores, faces.points_xy, faces.point_scores):
        assert array.dtype == np.float32
    assert faces.rotations_deg.shape == (count,)
    assert faces.centers_xy.shape == (count, 2)


@pytest.mark.parametrize("points", [0, 5, 68, 80, 104])
def test_faces_empty_has_no_faces_and_no_error(points: int) -> None:
    faces = Faces.empty((64, 48), points)
    assert len(faces) == 0 and not list(faces)
    assert faces.point_scores.shape == (0, points)
    assert faces.rotations_deg.shape == (0,) and faces.centers_xy.shape == (0, 2)
    assert faces.to_dict() == {"size_wh": [64, 48], "faces": []}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("boxes_xyxy", np.zeros((2, 4)), r"boxes_xyxy: expected shape \(3, 4\), got \(2, 4\)"),
        ("boxes_xyxy", np.zeros((3, 5)), r"boxes_xyxy: expected shape \(3, 4\), got \(3, 5\)"),
        ("scores", np.zeros((3, 1)), r"scores: expected shape \(N,\), got \(3, 1\)"),
        ("points_xy", np.zeros((3, 68, 3)), r"points_xy: expected shape \(3, 68, 2\), got"),
        ("points_xy", np.zeros((3, 136)), r"points_xy: expected shape \(3, K, 2\), got \(3, 136\)"),
        ("point_scores", np.zeros((3, 67)), r"point_scores: expected shape \(3, 68\), got"),
        ("scores", ["a", "b", "c"], "scores: expected numbers"),
        ("size_wh", (1, 2, 3), "size_wh: expected width and height"),
        ("size_wh", (-1, 2), "size_wh: expected width and height"),
        ("size_wh", None, "size_wh: expected width and height in pixels, got None"),
        ("size_wh", "ab", "size_wh: expected width and height in pixels, got 'ab'"),
        ("size_wh", ("3", "4"), "size_wh: expected width and height"),
        ("size_wh", (np.nan, 2), "size_wh: expected width and height"),
        ("size_wh", (np.inf, 2), "size_wh: expected width and height"),
        ("size_wh", (1.5, 2), "size_wh: expected width and height"),
        ("size_wh", (None, 2), "size_wh: expected width and height"),
        ("boxes_xyxy", np.full((3, 4), np.nan), "boxes_xyxy: contains values that are"),
        ("scores", [0.9, np.inf, 0.5], "scores: contains values that are"),
        (
            "points_xy",
            np.full((3, 68, 2), -np.inf),
            "points_xy: contains values that are",
        ),
        ("points_xy", np.full((3, 68, 2), 1e300), "points_xy: contains values that are"),
        ("point_scores", np.full((3, 68), np.nan), "point_scores: contains values that are not"),
        ("scores", [10**400, 1, 1], "scores: expected numbers"),
    ],
)
def test_faces_wrong_value_is_refused_by_name(name: str, value: object, message: str) -> None:
    good = make_faces(3)
    fields = {field: getattr(good, field) for field in good.__dataclass_fields__}
    with pytest.raises(InputError, match=message):
        Faces(**{**fields, name: value})


def test_faces_index_gives_a_face_and_subset_gives_faces() -> None:
    faces = make_faces(4)
    assert isinstance(faces[1], Face)
    assert np.array_equal(faces[-1].points_xy, faces.points_xy[3])
    assert faces[np.int64(2)] == faces[2]
    for index in (slice(1, 3), [1, 2], np.array([False, True, True, False])):
        subset = faces[index]
        assert isinstance(subset, Faces) and len(subset) == 2
        assert subset.size_wh == faces.size_wh
        assert np.array_equal(subset.scores, faces.scores[1:3])
    assert len(faces[[]]) == len(faces[faces.scores > 2]) == len(faces[4:]) == 0
    for index in (4, -5):
        with pytest.raises(IndexError):
            faces[index]


def test_faces_equality_compares_all_fields() -> None:
    assert make_faces(2) == make_faces(2)
    assert make_faces(2) != make_faces(2, seed=1)
    assert make_faces(2) != make_faces(2)[:1]
    assert Faces.empty((1, 1)) != Faces.empty((1, 2))
    assert make_faces(1)[0] == make_faces(1)[0]
    assert make_faces(1)[0] != make_faces(1, seed=1)[0]
    assert make_faces(1) != "faces" and make_faces(1)[0] != 3


@pytest.mark.parametrize(
    ("left_eye", "degrees"),
    [
        ((60, 40), 0),
        ((60, 60), 45),
        ((40, 60), 90),
        ((20, 40), 180),
        ((40, 20), -90),
        ((20, 20), -135),
    ],
)
def test_rotation_is_the_angle_of_the_eye_line(
    left_eye: tuple[float, float], degrees: float
) -> None:
    faces = face_with_eyes((40, 40), left_eye)
    assert faces.rotations_deg[0] == pytest.approx(degrees)
    assert faces[0].rotation_deg == pytest.approx(degrees)
    middle = [(40 + left_eye[0]) / 2, (40 + left_eye[1]) / 2]
    assert faces.centers_xy[0] == pytest.approx(middle)
    assert faces[0].center_xy == pytest.approx(middle)


def test_rotation_of_eyes_at_one_place_is_unknown() -> None:
    faces = face_with_eyes((40, 40), (40, 40))
    assert np.isnan(faces.rotations_deg[0])
    assert faces[0].to_dict()["rotation_deg"] is None
    assert faces[0].to_dict()["center_xy"] == [40.0, 40.0]


def test_rotation_of_an_unknown_scheme_is_refused() -> None:
    faces = make_faces(1, points=5)
    with pytest.raises(ConfigError, match="5 points"):
        _ = faces.rotations_deg
    assert faces[0].to_dict()["rotation_deg"] is None
    assert faces[0].to_dict()["center_xy"] is None


def test_part_gives_the_points_of_its_name() -> None:
    face = make_faces(1, points=80)[0]
    assert np.array_equal(face.part("left_eye"), face.points_xy[42:48])
    assert face.part("pupils").shape == (8, 2)
    with pytest.raises(InputError, match="no part 'chin'"):
        face.part("chin")


def test_face_size_follows_its_box() -> None:
    face = Faces([[1, 2, 11, 32]], [1], np.zeros((1, 68, 2)), np.zeros((1, 68)), (99, 99))[0]
    assert (face.width, face.height) == (10, 30)


def test_to_dict_of_the_largest_numbers_is_json() -> None:
    top = float(np.finfo(np.float32).max)
    faces = Faces(
        [[-top, -top, top, top]], [top], np.full((1, 68, 2), top), np.full((1, 68), top), (1, 1)
    )
    [entry] = json.loads(json.dumps(faces.to_dict(), allow_nan=False))["faces"]
    assert entry["center_xy"] == [top, top]
    assert faces[0].width == 2 * top == faces[0].height


def test_to_dict_is_json_and_close_to_the_arrays() -> None:
    faces = make_faces(3)
    data = json.loads(json.dumps(faces.to_dict(), allow_nan=False))
    assert data["size_wh"] == [320, 240]
    assert len(data["faces"]) == 3
    for face, entry in zip(faces, data["faces"], strict=True):
        assert np.allclose(entry["box_xyxy"], face.box_xyxy, atol=6e-4)
        assert np.allclose(entry["points_xy"], face.points_xy, atol=6e-4)
        assert np.allclose(entry["point_scores"], face.point_scores, atol=6e-5)
        assert entry["score"] == pytest.approx(face.score, abs=6e-5)
        assert entry["rotation_deg"] == pytest.approx(face.rotation_deg, abs=6e-4)


def masked(labels: list[int]) -> Faces:
    faces = make_faces(len(labels), points=0)
    return replace(faces, labels=np.array(labels), class_names=("mask", "no-mask"))


def test_labels_follow_their_faces() -> None:
    faces = masked([1, 0, 1])
    assert faces.labels.dtype == np.int32
    assert [face.class_name for face in faces] == ["no-mask", "mask", "no-mask"]
    for index in (slice(1, None), [1, 2], faces.labels != faces.labels[0], faces.labels == 1):
        subset = faces[index]
        assert subset.class_names == faces.class_names
        assert len(subset.labels) == len(subset)
    assert faces[faces.labels == 1].labels.tolist() == [1, 1]
    assert len(faces[[]]) == 0 and faces[[]].class_names == ("mask", "no-mask")


def test_faces_without_classes_have_no_labels() -> None:
    faces = make_faces(3)
    assert faces.labels.shape == (0,) == faces[1:].labels.shape and faces.class_names == ()
    assert faces[0].class_name == "" and "class_name" not in faces[0].to_dict()


def test_labels_count_in_comparisons_and_stand_in_the_json() -> None:
    assert masked([1, 0]) == masked([1, 0]) != masked([1, 1])
    assert masked([1])[0] != masked([0])[0] != make_faces(1, points=0)[0]
    assert masked([1, 0]) != make_faces(2, points=0)
    data = json.loads(json.dumps(masked([1, 0]).to_dict()))
    assert [face["class_name"] for face in data["faces"]] == ["no-mask", "mask"]
    assert data["faces"][0]["points_xy"] == [] and data["faces"][0]["rotation_deg"] is None


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0], ("a", "b"), r"labels: expected shape \(2,\) with 2 class names, got \(1,\)"),
        ([[0], [0]], ("a",), r"labels: expected shape \(2,\)"),
        ([0, 0], (), r"labels: expected shape \(0,\) with no class names, got \(2,\)"),
        ([0, 2], ("a", "b"), "labels: expected numbers below 2"),
        ([0, -1], ("a", "b"), "labels: expected numbers below 2"),
        ([0.0, 1.0], ("a", "b"), "labels: expected whole numbers, got float64"),
    ],
)
def test_labels_that_fit_no_class_are_refused(
    labels: list[int], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        replace(make_faces(2), labels=labels, class_names=names)


@pytest.mark.parametrize(
    "names", [("mask", "mask"), ("mask", ""), ("mask", 1), "mask", 5, (["mask"], "no-mask")]
)
def test_faces_class_names_that_tell_nothing_apart_are_refused(names: object) -> None:
    with pytest.raises(InputError, match="class_names: expected texts, no two alike, none empty"):
        replace(make_faces(2), labels=np.zeros(2, np.int32), class_names=names)  # type: ignore[arg-type]


def test_poses_are_those_of_each_face_and_unknown_where_a_point_is_missing() -> None:
    angles = np.array([[30.0, 5.0, 0.0], [-20.0, 0.0, 40.0]])
    points = (50 * MEAN_FACE @ rotations_of(angles).transpose(0, 2, 1))[..., :2] + 100
    faces = replace(make_faces(2), points_xy=points, point_scores=np.ones((2, 68)))
    np.testing.assert_allclose(faces.poses_deg, angles, atol=0.01)
    assert faces.to_dict()["faces"][1]["pose_deg"] == pytest.approx([-20, 0, 40], abs=0.01)
    assert faces[1].to_dict() == faces.to_dict()["faces"][1]
    points[0, 3], scores = 0, np.ones((2, 68))
    scores[0, 3] = 0
    partly = replace(faces, points_xy=points, point_scores=scores)
    assert np.isnan(partly.poses_deg[0]).all() and np.isnan(partly[0].pose_deg).all()
    assert partly.to_dict()["faces"][0]["pose_deg"] is None
    np.testing.assert_allclose(partly.poses_deg[1], angles[1], atol=0.01)
    other = make_faces(1, points=5)
    assert other[0].to_dict()["pose_deg"] is None


def test_sharpness_goes_with_its_face_and_may_be_unknown() -> None:
    faces = replace(make_faces(3), sharpness=[0.5, np.nan, 0.25])
    assert faces[::-1].sharpness.tolist()[::2] == [0.25, 0.5]
    assert faces[0].sharpness == 0.5 and faces[1] == faces[1]
    assert [face["sharpness"] for face in faces.to_dict()["faces"]] == [0.5, None, 0.25]
    assert faces == replace(faces, sharpness=[0.5, np.nan, 0.25])
    assert faces != replace(faces, sharpness=[0.5, 0.1, 0.25])
    for wrong in ([0.5, 0.1], [0.5, 0.1, np.inf], [[0.5, 0.1, 0.2]]):
        with pytest.raises(InputError, match="sharpness: expected a number or NaN for each of 3"):
            replace(faces, sharpness=wrong)
