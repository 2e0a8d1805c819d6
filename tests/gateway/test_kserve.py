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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data": [1]}, "input 'IN_INT32': shape [2] takes 2 values, got 1"),
        ({"data": [1, 2.5]}, "expected whole numbers for INT32; value 1 is 2.5"),
        ({"data": [1, True]}, "expected whole numbers for INT32; value 1 is True"),
        ({"data": [1, "2"]}, "expected whole numbers for INT32; value 1 is '2'"),
        ({"data": [1, None]}, "value 1 is None"),
        ({"data": [1, 2**31]}, "INT32 goes from -2147483648 to 2147483647; value 1 is 2147483648"),
        ({"data": [1, 10**4000]}, "INT32 goes from"),
        ({"data": [[1], 2]}, "expected values, or lists of one depth"),
        ({"data": {"a": 1}}, "data: expected a list"),
        ({"data": "12"}, "data: expected a list"),
        ({"shape": [-1]}, "shape: expected a list of at most 32 whole numbers from 0"),
        ({"shape": [2.0]}, "shape: expected"),
        ({"shape": [True, 2]}, "shape: expected"),
        ({"shape": "2"}, "shape: expected"),
        ({"shape": [2147483647] * 32}, "values, got 2"),
        ({"shape": [2**62, 4]}, "shape: expected"),
        ({"shape": [1] * 33}, "shape: expected"),
        ({"shape": [0], "data": []}, "input 'IN_INT32': shape [0]: a batch of 0"),
        ({"datatype": "FOO"}, "datatype: expected one of BOOL"),
        ({"datatype": None}, "datatype: expected one of"),
        ({"datatype": "FP16"}, "FP16 values have no JSON form"),
        ({"datatype": "BYTES"}, "expected texts for BYTES; value 0 is -2147483648"),
        ({"datatype": "BOOL"}, "expected true or false for BOOL"),
        ({"name": 3}, "input 0: expected an object with the member name"),
        ({"name": "a\ud800"}, "input 0: name: holds half of a surrogate pair"),
        ({"parameters": []}, "parameters: expected an object"),
        ({"parameters": {"binary_data_size": 8}}, "both data and the parameter binary_data_size"),
        ({"parameters": {"shared_memory_region": "x"}}, "takes no shared memory"),
        ({"parameters": {"x": None}}, "parameter 'x': expected a text, a number or true or false"),
        ({"parameters": {"x": 2**64}}, "parameter 'x': expected"),
        ({"parameters": {"x": "\udc00"}}, "parameter 'x': expected"),
    ],
)
def test_wrong_input_is_named(echo: Echo, changed: dict[str, Any], said: str) -> None:
    answer = ask(echo.url, {"inputs": [{**tensor("INT32"), **changed}, tensor("FP32")]})

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("request_text", "said"),
    [
        ("", "the request is not JSON"),
        ("[]", "expected an object"),
        ("{}", "has no member inputs"),
        ('{"inputs": 1}', "inputs: expected a list"),
        ('{"inputs": [1]}', "input 0: expected an object"),
        ('{"inputs": [], "inputs": []}', "an object has a member twice"),
        ('{"inputs": [], "id": 1}', "id: expected a text"),
        ('{"inputs": [], "outputs": [{}]}', "output 0: expected an object"),
        ('{"inputs": [], "parameters": {"binary_data_output": 1}}', "expected true or false"),
        ('{"inputs": [NaN]}', "NaN is not a number of JSON"),
        ('{"inputs": [-Infinity]}', "-Infinity is not a number of JSON"),
        ('{"parameters":' + "[" * 100_000, "nested too deeply"),
        ('{"inputs": [1' + "0" * 10_000 + "]}", "the request is not JSON"),
        ('{"inputs": ["\xff"]}', "the request is not JSON"),
        (json.dumps({"inputs": [tensor("INT32")] * 2}), "input 'IN_INT32' is there twice"),
        (json.dumps({"inputs": [], "outputs": [{"name": "a"}] * 2}), "output 'a' is there twice"),
        (
            '{"inputs": [{"name":"IN_FP32","datatype":"FP32","shape":[1],"data":[1e39]}]}',
            "FP32 goes",
        ),
        (
            '{"inputs": [{"name":"IN_FP64","datatype":"FP64","shape":[1],"data":[1e999]}]}',
            "FP64 goes",
        ),
        (json.dumps({"inputs": [{"name": str(k)} for k in range(1001)]}), "at most 1,000 tensors"),
    ],
)
def test_wrong_json_is_refused(echo: Echo, request_text: str, said: str) -> None:
    answer = ask(echo.url, request_text.encode("latin-1"))

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "text", ["," * 1_000_001, "[" * 250_001, '{"a":' * 130_000], ids=["values", "lists", "members"]
)
def test_json_of_too_many_values_is_not_read(echo: Echo, text: str) -> None:
    answer = ask(echo.url, text.encode())

    assert answer.status_code == 413
    assert "send large tensors in binary form" in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "header", "data", "said"),
    [
        (8, None, b"12345678", None),
        (9, None, b"12345678", "binary_data_size: expected a whole number of at most the 8 bytes"),
        (-8, None, b"12345678", "binary_data_size: expected"),
        (10**30, None, b"12345678", "binary_data_size: expected"),
        ("8", None, b"12345678", "binary_data_size: expected"),
        (True, None, b"12345678", "binary_data_size: expected"),
        (4, None, b"12345678", "shape [2] of INT32 takes 8 bytes, got 4"),
        (8, None, b"123456789", "1 bytes follow the inputs"),
        (8, "99999", b"12345678", "Inference-Header-Content-Length: expected at most the body's"),
        (8, "-1", b"12345678", "Inference-Header-Content-Length: expected a whole number"),
        (8, "x", b"12345678", "Inference-Header-Content-Length: expected a whole number"),
        (8, "9" * 30, b"12345678", "Inference-Header-Content-Length: expected a whole number"),
        (8, "10", b"12345678", "the request is not JSON"),
    ],
)
def test_binary_lengths_must_be_true(
    echo: Echo, size: Any, header: str | None, data: bytes, said: str | None
) -> None:
    named = {"name": "IN_INT32", "datatype": "INT32", "shape": [2]}
    body, length = binary({"inputs": [{**named, "parameters": {"binary_data_size": size}}]}, data)
    answer = ask(echo.url, body, Inference_Header_Content_Length=header or length)

    if said is None:
        assert answer.json()["outputs"][0]["data"] == np.frombuffer(data, "<i4").tolist()
    else:
        assert answer.status_code == 400
        assert said in answer.json()["error"]


def test_output_without_a_json_form_is_named(echo: Echo) -> None:
    for datatype, data in (("FP16", b"12"), ("BYTES", b"\x01\0\0\0\xff")):
        named = {"name": f"IN_{datatype}", "datatype": datatype, "shape": [1]}
        parameters = {"binary_data_size": len(data)}
        body, length = binary({"inputs": [{**named, "parameters": parameters}]}, data)
        answer = ask(echo.url, body, Inference_Header_Content_Length=length)
        assert answer.status_code == 400
        assert f"output 'OUT_{datatype}'" in answer.json()["error"]
        assert "the parameter binary_data" in answer.json()["error"]


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
