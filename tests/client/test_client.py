from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from facekit import (
    BoxError,
    Client,
    ConfigError,
    DeadlineError,
    FacekitError,
    Faces,
    InputError,
    ModelMissingError,
    PhotoError,
    ResponseError,
    ServerError,
    ServerUnavailableError,
)
from tests.fake_triton import (
    FakeTriton,
    boxes_answer,
    faces_answer,
    failing,
    landmarks_answer,
    masks_answer,
    slow,
)

BOX = [[0, 0, 10, 10]]


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


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


def test_detect_many_asks_the_model_named(fake: FakeTriton, client: Client) -> None:
    fake.answer = lambda *_: masks_answer(1)
    first, second = client.detect_many([b"photo", "missing.jpg"], model="facemask_ensemble")
    assert isinstance(first, Faces) and first.labels.tolist() == [1]
    assert isinstance(second, PhotoError)


@pytest.mark.parametrize("photo", [b"", "missing.jpg", np.zeros((3, 3))])
def test_detect_bad_photo_is_refused_without_a_call(
    fake: FakeTriton, client: Client, photo: object
) -> None:
    with pytest.raises(PhotoError):
        client.detect(photo)  # type: ignore[arg-type]
    assert fake.received == []


def test_landmarks_sends_boxes_and_reads_points(fake: FakeTriton, client: Client) -> None:
    points, scores = client.landmarks(b"photo", [[1, 2, 3, 4], [5, 6, 7, 8]])
    [(model, inputs)] = fake.received
    assert model == "landmarks" and inputs["boxes"].dtype == np.float32
    assert inputs["boxes"].tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert points.shape == (2, 68, 2) and scores.shape == (2, 68)
    points += 1
    scores += 1


def test_landmarks_of_no_box_is_empty_without_a_call(fake: FakeTriton, client: Client) -> None:
    points, scores = client.landmarks(b"photo", [])
    assert points.shape == (0, 68, 2) and scores.shape == (0, 68)
    assert fake.received == []


def test_landmarks_bad_box_is_refused_without_a_call(fake: FakeTriton, client: Client) -> None:
    with pytest.raises(BoxError, match="box 1 of 1"):
        client.landmarks(b"photo", [[9, 9, 1, 1]])
    assert fake.received == []


def test_landmarks_of_another_number_of_boxes_breaks_the_contract(
    fake: FakeTriton, client: Client
) -> None:
    fake.answer = lambda *_: landmarks_answer(3)
    with pytest.raises(ResponseError, match="landmarks of 3 boxes for 1 sent"):
        client.landmarks(b"photo", BOX)


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("photo 1 of 1: truncated JPEG, 3 boxes", PhotoError, "truncated JPEG, 3 boxes"),
        ("photo 1 of 1 in `image`: a GIF", PhotoError, "a GIF"),
        (
            "photo 1 of 1: box 3 of 9 (1, 2, 3, 4) lies outside",
            BoxError,
            "box 3 of 9 (1, 2, 3, 4) lies outside",
        ),
        ("photo 1 of 1: the 900 boxes cover 9 pixels", BoxError, "the 900 boxes cover 9 pixels"),
        ("in ensemble 'facenet_ensemble', photo 1 of 1: a GIF", PhotoError, "a GIF"),
        (
            "photo 1 of 1: `output_cov/Sigmoid` holds NaN",
            InputError,
            "`output_cov/Sigmoid` holds NaN",
        ),
        ("photo 2 of 8: a GIF", PhotoError, "photo 2 of 8: a GIF"),
        (
            "photo 2 of 8: box 1 of 3 is not finite",
            BoxError,
            "photo 2 of 8: box 1 of 3 is not finite",
        ),
    ],
)
def test_errors_about_a_photo_number_it_only_among_others(
    fake: FakeTriton, client: Client, text: str, kind: type[FacekitError], shown: str
) -> None:
    fake.answer = failing(grpc.StatusCode.INVALID_ARGUMENT, text)
    with pytest.raises(kind) as caught:
        client.landmarks(b"photo", BOX)
    assert type(caught.value) is kind and str(caught.value) == shown


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("INVALID_ARGUMENT", "with it the photos hold too many pixels", PhotoError),
        ("INVALID_ARGUMENT", "the photo's header is broken", PhotoError),
        ("INVALID_ARGUMENT", "box 1 of 1 (1, 2, 3, 4) lies outside the photo", BoxError),
        ("INVALID_ARGUMENT", "1,025 boxes in `boxes`; the limit of one photo is 1,024", BoxError),
        ("INVALID_ARGUMENT", "input 'boxes' batch size does not match other inputs for "
         "'landmarks'", ResponseError),
        ("INVALID_ARGUMENT", "inference request batch-size must be <= 32 for 'photo_check'",
         InputError),
        ("INVALID_ARGUMENT", "`photo` or 'boxes' is odd", InputError),
        ("INVALID_ARGUMENT", "unexpected inference input 'image' for model 'x'", ResponseError),
        ("INVALID_ARGUMENT", "[request id: 1] expected 2 inputs but got 1 inputs", ResponseError),
        ("NOT_FOUND", "Request for unknown model: 'faces' is not found", ModelMissingError),
        ("UNAVAILABLE", "Request for unknown model: 'faces' is not found", ModelMissingError),
        ("UNAVAILABLE", "Request for model 'faces': 'faces' has no available versions",
         ModelMissingError),
        ("INTERNAL", "Failed to process the request(s), message: Stub process 'faces_0_0' is not "
         "healthy.", ServerUnavailableError),
        ("UNAVAILABLE", "Socket closed", ServerUnavailableError),
        ("CANCELLED", "Server is shutting down", ServerUnavailableError),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineError),
        ("UNIMPLEMENTED", "Method not found!", ResponseError),
        ("INTERNAL", "something else", ServerError),
        ("UNKNOWN", "", ServerError),
    ],
)  # fmt: skip
def test_errors_of_the_server_become_the_kits_own(
    fake: FakeTriton, client: Client, code: str, text: str, kind: type[FacekitError]
) -> None:
    fake.answer = failing(getattr(grpc.StatusCode, code), text)
    for call in (lambda: client.detect(b"photo"), lambda: client.landmarks(b"photo", BOX)):
        with pytest.raises(FacekitError) as caught:
            call()
        assert type(caught.value) is kind
        assert caught.value.__cause__ is not None
        if kind is ServerUnavailableError:
            assert "try again" in str(caught.value)
        if kind is not DeadlineError and text:
            assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("fpenet: Request for unknown model: 'fpenet' is not found",
         "'fpenet', which 'faces' needs"),
        ("fpenet: Request for unknown model: 'fpenet' has no available versions",
         "'fpenet', which 'faces' needs"),
        ("Request for unknown model: 'faces' is not found", "'faces'"),
        ("unknown model", "'faces'"),
    ],
)  # fmt: skip
def test_missing_model_is_the_one_that_the_server_names(
    fake: FakeTriton, client: Client, text: str, named: str
) -> None:
    fake.answer = failing(grpc.StatusCode.INTERNAL, text)
    with pytest.raises(ModelMissingError) as caught:
        client.detect(b"photo")
    assert str(caught.value) == f"{fake.url} does not serve the model {named}: {text}"


def test_detect_answers_after_an_error(fake: FakeTriton, client: Client) -> None:
    good = fake.answer
    fake.answer = failing(grpc.StatusCode.INTERNAL, "once")
    with pytest.raises(ServerError, match="faces: once"):
        client.detect(b"photo")
    fake.answer = good
    assert len(client.detect(b"photo")) == 2


def test_detect_past_its_time_is_a_deadline_error(fake: FakeTriton) -> None:
    fake.answer = slow(30)
    start = time.monotonic()
    with (
        Client(fake.url, timeout_s=0.3) as client,
        pytest.raises(DeadlineError, match=r"no answer from 127.* within 0\.3 s"),
    ):
        client.detect(b"photo")
    assert time.monotonic() - start < 10


def test_detect_with_no_server_says_try_again() -> None:
    with Client(f"127.0.0.1:{unused_port()}", timeout_s=5) as client:
        assert client.server_ready() is False
        with pytest.raises(ServerUnavailableError, match="try again"):
            client.detect(b"photo")


def test_detect_connection_cut_in_mid_call_says_try_again_and_a_new_server_serves() -> None:
    with FakeTriton(slow(30)) as first:
        port = first.port
        client = Client(first.url, timeout_s=20)
        errors: list[FacekitError] = []

        def call() -> None:
            try:
                client.detect(b"photo")
            except FacekitError as e:
                errors.append(e)

        thread = threading.Thread(target=call)
        thread.start()
        while not first.received:
            time.sleep(0.01)
        first.stop()
        thread.join()
        assert [type(e) for e in errors] == [ServerUnavailableError]
    with client, FakeTriton(port=port):
        # The same client finds the server that came back, and does not wait out gRPC's default
        # pause of up to two minutes.
        end = time.monotonic() + 15
        while not client.server_ready() and time.monotonic() < end:
            time.sleep(0.05)
        assert len(client.detect(b"photo")) == 2


def test_detect_on_a_port_that_speaks_http_names_the_likely_mistake() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            Client(f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=5) as client,
            pytest.raises(ServerUnavailableError, match="is this the HTTP port"),
        ):
            client.detect(b"photo")
        thread.join()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": None}, "faces: `boxes` is missing from the answer"),
        ({"count": np.array([[3]], np.int32)}, "`count` is 3, but `boxes` has 2"),
        ({"count": np.array([[-1]], np.int32)}, "`count` is -1"),
        ({"count": np.array([[2]], np.int64)}, "`count`: expected INT32, got INT64"),
        ({"boxes": np.zeros((1, 2, 5), np.float32)}, r"`boxes`: expected shape \(1, -1, 4\)"),
        ({"boxes": np.zeros((2, 2, 4), np.float32)}, r"got \(2, 2, 4\)"),
        ({"boxes": np.zeros((2, 4), np.float32)}, r"got \(2, 4\)"),
        ({"boxes": np.full((1, 2, 4), np.nan, np.float32)}, "`boxes`: holds values that are not"),
        ({"scores": np.zeros((1, 1), np.float32)}, "`count` is 2, but `scores` has 1"),
        ({"keypoint_scores": np.zeros((1, 2, 67), np.float32)}, "`keypoint_scores`: expected"),
        ({"image_size": np.array([[-5, 4, 3]], np.int64)}, "size_wh"),
    ],
)
def test_detect_answer_that_breaks_the_contract_is_refused(
    fake: FakeTriton, client: Client, change: dict[str, np.ndarray | None], message: str
) -> None:
    answer = {**faces_answer(2), **change}
    fake.answer = lambda *_: {name: value for name, value in answer.items() if value is not None}
    with pytest.raises(ResponseError, match=message):
        client.detect(b"photo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"true_labels": None}, "facemask_ensemble: `true_labels` is missing from the answer"),
        ({"true_labels": np.array([[1, 2]], np.int32)}, "labels: expected numbers below 2"),
        ({"true_labels": np.array([[1, -1]], np.int32)}, "labels: expected numbers below 2"),
        ({"true_labels": np.array([[1]], np.int32)}, "`true_count` is 2, but `true_labels` has 1"),
        (
            {"true_proba": np.zeros((1, 1, 1), np.float32)},
            "`true_count` is 2, but `true_proba` has 1",
        ),
        ({"true_labels": np.zeros((1, 2), np.float32)}, "expected INT32, got FP32"),
        ({"true_count": np.array([[3]], np.int32)}, "`true_count` is 3, but `true_boxes` has 2"),
    ],
)
def test_detect_labels_that_break_the_contract_are_refused(
    fake: FakeTriton, client: Client, change: dict[str, np.ndarray | None], message: str
) -> None:
    answer = {**masks_answer(2), **change}
    fake.answer = lambda *_: {name: value for name, value in answer.items() if value is not None}
    with pytest.raises(ResponseError, match=message):
        client.detect(b"photo", model="facemask_ensemble")


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "message"),
    [
        ("BYTES", [1, 2], b"ab", "`scores`: expected FP32, got BYTES"),
        ("NONSENSE", [1, 2], b"12345678", "`scores`: expected FP32, got NONSENSE"),
        ("", [], b"", "`scores`: expected FP32, got $"),
        ("FP32", [1, 2], b"ab", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, 2], b"", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, 3], b"12345678", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, 1 << 62], b"12345678", "`scores`: its bytes do not fit its shape"),
        ("FP32", [1, -1], b"12345678", r"`scores`: expected shape \(1, -1\), got \(1, -1\)"),
        ("FP32", [2], b"12345678", r"`scores`: expected shape \(1, -1\), got \(2,\)"),
    ],
)
def test_detect_answer_whose_bytes_are_odd_is_refused(
    datatype: str, shape: list[int], content: bytes, message: str
) -> None:
    class OddTriton(FakeTriton):
        def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
            response = super().ModelInfer(request, context)
            index = [output.name for output in response.outputs].index("scores")
            response.outputs[index].datatype = datatype
            response.outputs[index].shape[:] = shape
            response.raw_output_contents[index] = content
            return response

    with OddTriton() as odd, Client(odd.url, timeout_s=10) as client:
        with pytest.raises(ResponseError, match=message):
            client.detect(b"photo")
        [result] = client.detect_many([b"photo"])
        assert isinstance(result, ResponseError)


def test_detect_many_of_nothing_yields_nothing(fake: FakeTriton, client: Client) -> None:
    assert list(client.detect_many([])) == []


def test_detect_many_keeps_order_and_gives_one_error_for_one_photo(
    fake: FakeTriton, client: Client, tmp_path: Path
) -> None:
    def answer(
        model: str, inputs: dict[str, np.ndarray], context: grpc.ServicerContext
    ) -> dict[str, np.ndarray]:
        number = int(inputs["image"][0, 0])
        time.sleep(0.03 * (number % 3))  # Answers come out of order.
        if number == 7:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "photo 1 of 1: text")
        return faces_answer(number)

    fake.answer = answer
    photos = [bytes([n]) for n in range(1, 12)]
    mixed = [*photos, b"", tmp_path / "missing.jpg", None]
    results = list(client.detect_many(mixed, concurrency=3))  # type: ignore[arg-type]
    assert len(results) == len(mixed)
    for number, result in enumerate(results[:11], 1):
        if number == 7:
            assert isinstance(result, PhotoError) and "text" in str(result)
        else:
            assert isinstance(result, Faces) and len(result) == number
    assert all(isinstance(result, InputError) for result in results[11:])
    assert "missing.jpg" in str(results[12])
    assert 2 <= fake.most_at_once <= 3


def test_detect_many_takes_photos_as_they_are_needed(fake: FakeTriton, client: Client) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"photo"

    results = client.detect_many(endless(), concurrency=2)
    assert taken == 0
    for number in range(1, 6):
        assert isinstance(next(results), Faces)
        assert taken <= number + 4
    results.close()  # type: ignore[attr-defined]
    assert isinstance(client.detect(b"photo"), Faces)


def test_detect_many_passes_on_an_error_of_the_collection_itself(client: Client) -> None:
    def broken() -> Iterator[bytes]:
        yield b"photo"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(client.detect_many(broken(), concurrency=1))


@pytest.mark.parametrize("concurrency", [0, -1])
def test_detect_many_refuses_a_concurrency_below_one_at_once(
    client: Client, concurrency: int
) -> None:
    with pytest.raises(ConfigError, match="concurrency: expected at least 1"):
        client.detect_many([], concurrency=concurrency)


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


def test_server_ready_is_tritons_flag(fake: FakeTriton, client: Client) -> None:
    assert client.server_ready() is True
    fake.ready = False
    assert client.server_ready() is False


def test_closed_client_says_so(fake: FakeTriton) -> None:
    with Client(fake.url) as client:
        pass
    client.close()
    assert client.server_ready() is False
    with pytest.raises(ServerError, match="has been closed"):
        client.detect(b"photo")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://localhost:8001"}, "expected host:port, such as localhost:8001"),
        ({"url": ""}, "url: expected host:port"),
        ({"url": "a b:1"}, "url: expected host:port"),
        ({"url": "localhost"}, "url: expected host:port, such as localhost:8001; got 'localhost'"),
        ({"url": ":8001"}, "url: expected host:port"),
        ({"url": "localhost:"}, "url: expected host:port"),
        ({"url": "localhost:grpc"}, "url: expected host:port"),
        ({"url": "localhost:0"}, "url: expected host:port"),
        ({"url": "localhost:65536"}, "url: expected host:port"),
        ({"url": "::1:8001"}, "url: expected host:port"),
        ({"url": "[::1]"}, "url: expected host:port"),
        ({"timeout_s": 0}, "timeout_s: expected seconds > 0 and <= 86,400, got 0"),
        ({"timeout_s": float("nan")}, "timeout_s: expected seconds > 0 and <= 86,400, got nan"),
        ({"timeout_s": float("inf")}, "timeout_s: expected seconds > 0 and <= 86,400, got inf"),
        ({"timeout_s": 1e12}, "timeout_s: expected seconds > 0"),
        ({"timeout_s": 86_401}, "timeout_s: expected seconds > 0"),
        ({"root_certificates": "ca.pem"}, "root_certificates: needs ssl=True"),
        ({"ssl": True, "private_key": "no.pem"}, r"private_key: no\.pem: No such file"),
    ],
)
def test_client_wrong_option_is_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Client(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["example:1", "a-b.c_d:65535", "10.0.0.1:8001", "[::1]:8001", "unix:/tmp/triton.sock"]
)
def test_client_names_its_server(url: str) -> None:
    with Client(url) as client:
        assert repr(client) == f"Client({url!r})"


def test_longest_time_of_a_call_leaves_it_time(fake: FakeTriton) -> None:
    with Client(fake.url, timeout_s=86_400) as client:
        assert len(client.detect(b"photo")) == 2
