"""Requests of KServe's protocol that are wrong, and the words that name what."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.gateway.echo import Echo
from tests.gateway.test_kserve import ask, binary, tensor


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
