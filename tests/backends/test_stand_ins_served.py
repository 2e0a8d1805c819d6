"""The stand-ins inside the real server, whose dynamic batching merges requests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from facekit.errors import SetupError
from facekit.serving import EmbeddedServer
from tests.backends.models import DALI_CONFIG, ONNX_CONFIG, jpeg, write_dali, write_onnx
from tests.shared import shared
from tests.triton import infer


def write_repository(folder: Path) -> Path:
    write_dali(folder / "decode" / "1" / "model.dali")
    write_onnx(folder / "maths" / "1" / "model.onnx")
    (folder / "decode" / "config.pbtxt").write_text(DALI_CONFIG, "utf-8")
    (folder / "maths" / "config.pbtxt").write_text(ONNX_CONFIG, "utf-8")
    return folder


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[grpcclient.InferenceServerClient]:
    repository = write_repository(tmp_path_factory.mktemp("models"))
    with (
        shared(EmbeddedServer(repository)) as server,
        grpcclient.InferenceServerClient(server.grpc_url) as client,
    ):
        yield client


def test_merged_requests_with_bad_photos_fail_exactly_those(
    client: grpcclient.InferenceServerClient,
) -> None:
    good = jpeg(320, 200)
    bad = good[: len(good) // 2]

    def send(number: int) -> str:
        photo = bad if number % 5 == 0 else good
        try:
            answer = infer(client, grpcclient, "decode", {"photo": photo[None]})
        except InferenceServerException as error:
            return str(error.message())
        assert answer.as_numpy("length").tolist() == [[len(photo)]]
        return str(answer.as_numpy("pixels").shape)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(send, range(40)))

    for number, result in enumerate(results):
        if number % 5 == 0:
            assert result.startswith("photo 1 of 1 in `photo` cannot be decoded"), result
        else:
            assert result == "(1, 200, 320, 3)"
    statistics = client.get_inference_statistics("decode").model_stats[0]
    # Some of the 40 were run together, or the test shows nothing.
    assert statistics.execution_count < 40


def test_merged_requests_get_their_own_numbers(client: grpcclient.InferenceServerClient) -> None:
    def send(number: int) -> list[float]:
        values = np.full((1 + number % 3, 4), number, np.float32)
        answer = infer(client, grpcclient, "maths", {"x": values})
        assert answer.as_numpy("twice").shape == values.shape
        return [float(answer.as_numpy(name).mean()) for name in ("twice", "square")]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(send, range(40)))

    assert results == [[2.0 * number, float(number**2)] for number in range(40)]


@pytest.mark.parametrize(("model", "name"), [("maths", "square"), ("decode", "length")])
def test_one_output_can_be_asked_for(
    client: grpcclient.InferenceServerClient, model: str, name: str
) -> None:
    inputs = {"maths": {"x": np.ones((1, 2), np.float32)}, "decode": {"photo": jpeg(8, 8)[None]}}

    answer = infer(client, grpcclient, model, inputs[model], outputs=(name,))

    assert [output.name for output in answer.get_response().outputs] == [name]


def test_model_that_does_not_fit_its_config_stops_the_start(tmp_path: Path) -> None:
    repository = write_repository(tmp_path)
    path = repository / "maths" / "config.pbtxt"
    path.write_text(path.read_text("utf-8").replace('"square"', '"cube"'), "utf-8")

    with (
        pytest.raises(SetupError, match="model maths: the network has no output 'cube'"),
        EmbeddedServer(repository),
    ):
        pass
