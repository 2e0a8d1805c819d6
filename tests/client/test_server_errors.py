"""The server's errors as the kit's own."""

from __future__ import annotations

import grpc
import pytest

from facekit import (
    BoxError,
    Client,
    DeadlineError,
    FacekitError,
    InputError,
    ModelMissingError,
    PhotoError,
    ResponseError,
    ServerError,
    ServerUnavailableError,
)
from tests.client.conftest import BOX
from tests.fake_triton import FakeTriton, failing


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
            "photo 1 of 1: `output_cov/Sigmoid` contains NaN",
            InputError,
            "`output_cov/Sigmoid` contains NaN",
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
