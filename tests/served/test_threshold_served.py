"""A least score that a request asks for, on the real server."""

from __future__ import annotations

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from facekit import Client
from facekit.data import probe_photo
from facekit.data.portraits import line_up
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import encode
from tests.triton import batch


@pytest.mark.parametrize("model", ["faces", "facenet_ensemble", "facemask_ensemble"])
def test_a_lower_threshold_gives_the_same_faces_and_more(
    server: EmbeddedServer, model: str
) -> None:
    photo = encode(line_up(6, 3, 90)[0], "JPEG")
    with Client(server.grpc_url) as client:
        usual, low, high = (
            client.detect(photo, model=model, threshold=each) for each in (None, 0.05, 0.95)
        )
    assert len(high) < len(usual) < len(low)
    assert low.scores.min() >= 0.05
    assert high.scores.min(initial=1.0) >= 0.95
    for few, many in ((high, usual), (usual, low)):
        there = (many.boxes_xyxy[None] == few.boxes_xyxy[:, None]).all(axis=2)
        assert there.any(axis=1).all()


def test_it_holds_in_tiles_and_turned_photos(server: EmbeddedServer) -> None:
    photo = encode(line_up(16, 8, 60)[0].rotate(90, expand=True), "JPEG")
    with Client(server.grpc_url, timeout_s=60) as client:
        low, high = (
            client.detect(photo, tiles="auto", rotations="auto", threshold=each).scores
            for each in (0.1, 0.9)
        )
    assert len(low) > len(high) > 0
    assert high.min() >= 0.9
    assert 0.1 <= low.min() < 0.6  # below what counts in tiles where nothing is asked for


def test_a_wrong_one_is_refused_alone(
    server: EmbeddedServer, grpc: triton.InferenceServerClient
) -> None:
    image = batch([probe_photo()])
    for model, name in (("faces", "image"), ("facenet_ensemble", "input_image_data")):
        item = triton.InferInput(name, list(image.shape), "UINT8")
        item.set_data_from_numpy(image)
        with pytest.raises(InferenceServerException, match="threshold: expected a number"):
            grpc.infer(model, [item], parameters={"threshold": "low"})
    with Client(server.grpc_url) as client:
        assert len(client.detect(probe_photo()))
