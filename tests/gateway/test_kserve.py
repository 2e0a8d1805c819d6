"""KServe's protocol through the gateway gives what Triton's own HTTP and gRPC give."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from facekit.contract import MODELS
from facekit.data import probe_photo
from facekit.serving import EmbeddedServer
from tests.gateway.echo import DATATYPES, Echo
from tests.gateway.gateways import gateway
from tests.triton import batch, infer

PATH = "/v2/models/echo/infer"
VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    **{f"UINT{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    "FP32": [1.1, -3.4e38, 1e-9],
    "FP64": [1.1, 1e-300, 3],
    "BYTES": ['aé"', "b\x01", ""],
}


def tensor(datatype: str, **members: Any) -> dict[str, Any]:
    data = members.pop("data", VALUES.get(datatype, []))
    named = {"name": f"IN_{datatype}", "datatype": datatype, "shape": [len(data)], "data": data}
    return {**named, **members}


def ask(url: str, request: Any, **headers: str) -> requests.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return requests.post(url + PATH, body, headers={"Accept-Encoding": "", **headers}, timeout=30)


def binary(head: Any, data: bytes) -> tuple[bytes, str]:
    text = json.dumps(head).encode()
    return text + data, str(len(text))


def http_url(url: str) -> str:
    return url.removeprefix("http://")


@pytest.mark.parametrize("model", ["echo", "batched", "ensemble"])
@pytest.mark.parametrize("what", ["", "/versions/1", "/config", "/stats", "/versions/1/stats"])
def test_models_are_described_as_triton_does(echo: Echo, model: str, what: str) -> None:
    theirs, ours = (
        requests.get(f"{url}/v2/models/{model}{what}", timeout=30)
        for url in (echo.triton, echo.url)
    )
    assert ours.status_code == theirs.status_code == 200
    found = ours.json()
    # tritonclient knows one field more than this Triton.
    found.get("ensemble_scheduling", {}).pop("max_inflight_requests", None)
    assert found == theirs.json()


def test_server_is_described_without_what_the_gateway_refuses(echo: Echo) -> None:
    ours, theirs = (requests.get(f"{url}/v2", timeout=30).json() for url in echo[1:])

    left_out = set(theirs.pop("extensions")) - set(ours.pop("extensions"))
    assert ours == theirs
    assert left_out == {
        "model_repository",
        "model_repository(unload_dependents)",
        "system_shared_memory",
        "cuda_shared_memory",
        "trace",
        "logging",
    }


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/health/live", "/v2/health/ready", "/v2/models/echo/ready", "/v2/models/x/ready"),
        *(
            "/v2/models/x",
            "/v2/models/x/config",
            "/v2/models/x/stats",
            "/v2/models/echo/versions/9",
        ),
        *("/v2/models/echo/versions/x", "/v2/", "/v2/health", "/v3", PATH),
    ],
)
def test_status_is_that_of_triton(echo: Echo, path: str) -> None:
    ours = requests.get(echo.url + path, timeout=30)
    theirs = requests.get(echo.triton + path, timeout=30)

    assert ours.status_code == theirs.status_code
    if path.startswith("/v2") and not ours.ok:
        assert ours.json() == theirs.json()


def test_health_is_told_in_the_words_of_the_protocol(echo: Echo) -> None:
    expected = {
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/echo/ready": {"name": "echo", "ready": True},
        "/v2/models/echo/versions/1/ready": {"name": "echo", "ready": True},
    }
    for path, said in expected.items():
        assert requests.get(echo.url + path, timeout=30).json() == said


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/echo/load",
        "/v2/repository/models/echo/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
        "/v2/trace/setting",
        "/v2/models/echo/trace/setting",
        "/v2/logging",
        "/v2/models/echo/generate",
        "/v2/models/echo/generate_stream",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_management_does_not_exist(echo: Echo, path: str, method: str) -> None:
    answer = requests.request(method, echo.url + path, data=b"{}", timeout=30)

    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


@pytest.mark.parametrize("datatype", VALUES)
def test_json_values_come_back_as_from_triton(echo: Echo, datatype: str) -> None:
    request = {"id": "a 1", "inputs": [tensor(datatype)], "parameters": {"priority": 1}}
    ours = ask(echo.url, request)
    theirs = ask(echo.triton, request)

    assert ours.status_code == 200
    assert ours.json() == theirs.json()
    assert ours.json()["id"] == "a 1"
    assert len(ours.json()["outputs"][0]["data"]) == len(VALUES[datatype])
    assert ours.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("datatype", DATATYPES)
def test_clients_of_http_and_grpc_get_the_same(echo: Echo, datatype: str) -> None:
    if datatype == "BYTES":
        values = np.array([b"a\xff", b"", b"\x00b"], np.object_)
    else:
        dtype = tritonclient.utils.triton_to_np_dtype(datatype)
        values = np.array(VALUES.get(datatype, [1.5, -2]), dtype)
    inputs = {f"IN_{datatype}": values}
    ours = tritonclient.http.InferenceServerClient(http_url(echo.url))
    theirs = tritonclient.grpc.InferenceServerClient(echo.server.grpc_url)

    with ours, theirs:
        for outputs in ((), (f"OUT_{datatype}",)):
            found = infer(ours, tritonclient.http, "echo", inputs, outputs)
            expected = infer(theirs, tritonclient.grpc, "echo", inputs, outputs)
            found, expected = (each.as_numpy(f"OUT_{datatype}") for each in (found, expected))
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist() == values.tolist()


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
def test_photos_through_tritonclient_give_the_numbers_of_grpc(
    server: EmbeddedServer, url: str, algorithm: str | None
) -> None:
    inputs = {"image": batch([probe_photo(), probe_photo()])}
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        expected = infer(client, tritonclient.grpc, "faces", inputs)
    with tritonclient.http.InferenceServerClient(http_url(url)) as client:
        photos = tritonclient.http.InferInput("image", list(inputs["image"].shape), "UINT8")
        photos.set_data_from_numpy(inputs["image"])
        found = client.infer(
            "faces",
            [photos],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )

    for output in MODELS["faces"].outputs:
        assert np.array_equal(found.as_numpy(output.name), expected.as_numpy(output.name))


def test_json_of_a_photo_gives_the_numbers_of_grpc(server: EmbeddedServer, url: str) -> None:
    photo = probe_photo()
    named = {"name": "image", "datatype": "UINT8", "shape": [1, len(photo)]}
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        expected = infer(client, tritonclient.grpc, "faces", {"image": batch([photo])})
    answer = requests.post(
        f"{url}/v2/models/faces/versions/1/infer",
        json={"inputs": [{**named, "data": [list(photo)]}]},
        timeout=60,
    )

    assert answer.status_code == 200, answer.text
    for output in answer.json()["outputs"]:
        values = expected.as_numpy(output["name"])
        assert output["shape"] == list(values.shape)
        assert np.array_equal(np.array(output["data"], values.dtype), values.ravel())


def test_raw_body_is_the_only_input(echo: Echo) -> None:
    header = {"Inference-Header-Content-Length": "0", "Accept-Encoding": ""}
    ours, theirs = (
        requests.post(f"{url}/v2/models/batched/infer", b"abcdef", headers=header, timeout=60)
        for url in echo[1:]
    )

    assert ours.status_code == 200
    assert ours.content == theirs.content
    assert ours.content.endswith(b"abcdef")
    name = "Inference-Header-Content-Length"
    assert ours.headers[name] == theirs.headers[name]


@pytest.mark.parametrize(
    ("path", "said"),
    [(PATH, "model 'echo' has 13 inputs"), ("/v2/models/batched/infer", "UINT8 takes 4 bytes")],
)
def test_raw_body_of_another_length_is_refused(echo: Echo, path: str, said: str) -> None:
    header = {"Inference-Header-Content-Length": "0"}
    answer = requests.post(echo.url + path, b"abcde", headers=header, timeout=60)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_outputs_are_binary_where_that_is_asked(echo: Echo) -> None:
    both = {"inputs": [tensor("INT32"), tensor("UINT8")]}
    for more in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "OUT_INT32", "parameters": {"binary_data": True}}]},
        {
            "parameters": {"binary_data_output": True},
            "outputs": [
                {"name": "OUT_UINT8"},
                {"name": "OUT_INT32", "parameters": {"binary_data": False}},
            ],
        },
    ):
        ours, theirs = (ask(url, {**both, **more}) for url in (echo.url, echo.triton))
        name = "Inference-Header-Content-Length"
        assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]
        assert ours.headers.get(name) == theirs.headers.get(name)
        # Triton answers the same request with the outputs in another order now and then.
        assert sorted(ours.content) == sorted(theirs.content)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("gzip;q=0, deflate;q=0.1, br", "deflate"),
        ("br, *", None),
        ("gzip;q=x", None),
    ],
)
def test_answer_is_compressed_as_accepted(echo: Echo, accepted: str, encoding: str | None) -> None:
    answer = requests.post(
        echo.url + PATH,
        json={"inputs": [tensor("INT32")]},
        headers={"Accept-Encoding": accepted},
        timeout=30,
    )

    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.json()["outputs"][0]["data"] == VALUES["INT32"]


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_request_is_read(echo: Echo, encoding: str, compress: Any) -> None:
    request = compress(json.dumps({"inputs": [tensor("INT32")]}).encode())

    answer = ask(echo.url, request, Content_Encoding=encoding)
    assert answer.json()["outputs"][0]["data"] == VALUES["INT32"]


def test_large_json_is_answered(echo: Echo) -> None:
    values = np.random.default_rng(0).normal(size=300_000).astype(np.float32)

    answer = ask(
        echo.url, {"inputs": [tensor("FP32", data=values.tolist())]}, Accept_Encoding="gzip"
    )
    assert answer.status_code == 200, answer.text[:200]
    assert np.array_equal(np.array(answer.json()["outputs"][0]["data"], np.float32), values)


def test_errors_of_triton_reach_its_http_client(echo: Echo) -> None:
    with tritonclient.http.InferenceServerClient(http_url(echo.url)) as client:
        values = {"IN_INT32": np.zeros((2, 2), np.int32)}
        with pytest.raises(InferenceServerException, match="unexpected shape for input") as error:
            infer(client, tritonclient.http, "echo", values)
        assert error.value.status() == "400"
        with pytest.raises(InferenceServerException, match="unknown model: 'x'") as error:
            infer(client, tritonclient.http, "x", values)
        assert error.value.status() == "404"
        assert (
            client.is_server_live() and client.is_server_ready() and client.is_model_ready("echo")
        )
        assert not client.is_model_ready("x")


def test_without_a_server_the_answer_is_503() -> None:
    with gateway("--url", "localhost:9") as url:
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/echo"):
            answer = requests.get(url + path, timeout=30)
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
            assert "try again" in answer.json()["error"]
