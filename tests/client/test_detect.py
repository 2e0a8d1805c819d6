"""What is sent to find faces, and the faces that come back."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from facekit import Client, ConfigError, PhotoError, ResponseError
from tests.fake_triton import FakeTriton, boxes_answer, faces_answer, masks_answer


@pytest.mark.parametrize("count", [0, 1, 3])
def test_detect_trims_to_count_and_hands_out_own_arrays(
    fake: FakeTriton, client: Client, count: int
) -> None:
    fake.answer = lambda *_: faces_answer(count, rows=5)
    faces = client.detect(b"photo")
    assert len(faces) == count and faces.size_wh == (400, 300)
    assert np.array_equal(faces.boxes_xyxy, faces_answer(count)["boxes"][0])
    assert faces.points_xy.shape == (count, 68, 2)
    for array in (faces.boxes_xyxy, faces.scores, faces.points_xy, faces.point_scores):
        array += 1  # Raises for a read-only view of the message.
        assert array.flags.owndata


def test_detect_sends_one_sample_of_the_contract(fake: FakeTriton, client: Client) -> None:
    client.detect(b"\x01\x02\x03")
    [(model, inputs)] = fake.received
    assert model == "faces" and list(inputs) == ["image"]
    assert inputs["image"].dtype == np.uint8 and inputs["image"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_detect_of_the_mask_detector_gives_labels_and_no_points(
    fake: FakeTriton, client: Client, count: int
) -> None:
    fake.answer = lambda *_: masks_answer(count, rows=5)
    faces = client.detect(b"photo", model="facemask_ensemble")
    [(model, inputs)] = fake.received
    assert model == "facemask_ensemble" and list(inputs) == ["input_image_data"]
    assert faces.class_names == ("mask", "no-mask")
    assert faces.labels.tolist() == [1, 0, 1][:count] and faces.labels.dtype == np.int32
    assert [face.class_name for face in faces] == ["no-mask", "mask", "no-mask"][:count]
    assert faces.points_xy.shape == (count, 0, 2) and faces.size_wh == (400, 300)
    assert np.array_equal(faces.boxes_xyxy, masks_answer(count)["true_boxes"][0])
    for array in (faces.boxes_xyxy, faces.scores, faces.labels):
        array += 1  # Raises for a read-only view of the message.


def test_detect_of_boxes_alone_tells_no_classes(fake: FakeTriton, client: Client) -> None:
    fake.answer = lambda *_: boxes_answer(2, rows=3)
    faces = client.detect(b"photo", model="facenet_ensemble")
    assert len(faces) == 2 and faces.class_names == () and faces.labels.shape == (0,)
    assert faces[0].class_name == ""


def test_detect_with_a_model_that_finds_no_faces_is_refused_without_a_call(
    fake: FakeTriton, client: Client
) -> None:
    words = "model: expected one of faces, facenet_ensemble, facemask_ensemble, got 'fpenet'"
    with pytest.raises(ConfigError, match=words):
        client.detect(b"photo", model="fpenet")
    with pytest.raises(ConfigError, match=words):
        client.detect_many([b"photo"], model="fpenet")
    for other in (None, ["faces"], b"faces"):
        with pytest.raises(ConfigError, match="model: expected one of faces"):
            client.detect(b"photo", model=other)  # type: ignore[arg-type]
    assert fake.received == []


@pytest.mark.parametrize("photo", [b"", "missing.jpg", np.zeros((3, 3))])
def test_detect_bad_photo_is_refused_without_a_call(
    fake: FakeTriton, client: Client, photo: object
) -> None:
    with pytest.raises(PhotoError):
        client.detect(photo)  # type: ignore[arg-type]
    assert fake.received == []


def test_one_client_serves_many_threads(fake: FakeTriton, client: Client) -> None:
    fake.answer = lambda model, inputs, context: faces_answer(int(inputs["image"][0, 0]))
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(20):
            faces = client.detect(bytes([number]))
            if len(faces) != number:
                wrong.append(faces)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(fake.received) == 160


def test_search_parameters_are_sent_only_where_they_are_given(
    fake: FakeTriton, client: Client
) -> None:
    client.detect(b"photo")
    client.detect(b"photo", tiles=16, rotations="90,270")
    list(client.detect_many([b"photo"], tiles="auto", threshold=0.2))
    assert fake.parameters == [
        {},
        {"tiles": "16", "rotations": "90,270"},
        {"tiles": "auto", "threshold": "0.2"},
    ]


def test_a_server_that_ignores_tiles_is_told_from_one_that_looks_closer(
    fake: FakeTriton, client: Client
) -> None:
    answer = faces_answer(2)
    del answer["least_side"]
    fake.answer = lambda *_: answer
    assert len(client.detect(b"photo", tiles="off")) == 2
    with pytest.raises(ResponseError, match=r"earlier version, which ignores rotations and tiles"):
        client.detect(b"photo", tiles=4, rotations="auto")
    with pytest.raises(ResponseError, match=r"earlier version, which ignores threshold"):
        client.detect(b"photo", threshold=0.1)
    fake.answer = lambda *_: masks_answer(2)
    assert len(client.detect(b"photo", model="facemask_ensemble", threshold=0.1)) == 2


def test_boxes_in_tiles_come_from_faces_without_landmarks(fake: FakeTriton, client: Client) -> None:
    fake.answer = lambda *_: faces_answer(2)
    faces = client.detect(b"photo", model="facenet_ensemble", tiles="auto")
    [(model, _)] = fake.received
    assert model == "faces"
    assert len(faces) == 2 and faces.points_xy.shape == (2, 0, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threshold": 0.01}, r"threshold: expected a number from 0.05 to 1, got '0.01'"),
        ({"tiles": "many"}, "tiles: expected off, auto or a number from 2 to 64, got 'many'"),
        ({"rotations": 45}, "rotations: expected off, auto, or some of 90, 180, 270 with"),
        (
            {"tiles": 4, "model": "facemask_ensemble"},
            "tiles: only with the model faces or facenet_ensemble, not with facemask_ensemble",
        ),
    ],
)
def test_wrong_search_is_refused_without_a_call(
    fake: FakeTriton, client: Client, given: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        client.detect(b"photo", **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=words):
        client.detect_many([b"photo"], **given)  # type: ignore[arg-type]
    assert fake.received == []


UNSEEN = "faces under 40 px can't be seen at this size"
UPRIGHT = "turned faces were not looked for"


@pytest.mark.parametrize(
    ("count", "side", "least_side", "rotations", "notes"),
    [
        (2, 80, 40, None, ()),
        (2, 79, 40, None, (UNSEEN,)),
        # All pixels of a small photo have been looked at.
        (2, 25, 20, None, ()),
        (0, 0, 40, None, (UNSEEN, UPRIGHT)),
        (0, 0, 20, None, (UPRIGHT,)),
        (0, 0, 20, "auto", ()),
    ],
)
def test_notes_say_what_may_have_been_missed(
    fake: FakeTriton,
    client: Client,
    count: int,
    side: int,
    least_side: float,
    rotations: str | None,
    notes: tuple[str, ...],
) -> None:
    boxes = np.array([[[0, 0, 100, 120], [0, 0, side, 100]]], np.float32)[:, :count]
    answer = {**faces_answer(count), "boxes": boxes}
    answer["least_side"] = np.array([[least_side]], np.float32)
    fake.answer = lambda *_: answer
    faces = client.detect(b"photo", rotations=rotations)
    assert faces.notes == notes and faces.least_side == least_side
    assert faces.to_dict().get("notes", []) == list(notes)
    assert faces[:1].notes == notes


def test_notes_of_boxes_alone_are_those_of_one_frame(fake: FakeTriton, client: Client) -> None:
    fake.answer = lambda *_: {
        **boxes_answer(0), "true_image_size": np.array([[2080, 2208, 3]], np.int64)
    }  # fmt: skip
    faces = client.detect(b"photo", model="facenet_ensemble")
    assert faces.notes[0] == "faces under 100 px can't be seen at this size"
