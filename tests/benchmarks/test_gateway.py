"""The calls of ``benchmarks.gateway`` and its measurement of one side."""

from __future__ import annotations

import functools
import json
from contextlib import closing

import pytest

from benchmarks.gateway import Call, Caller, gateway_process, kserve_call, rest_call, turn
from facekit.data import probe_photo
from facekit.errors import ServerError
from facekit.serving.embedded import EmbeddedServer


def test_calls_find_the_face_of_the_probe_photo(server: EmbeddedServer) -> None:
    photo = probe_photo()
    boxes = b'"name":"boxes","datatype":"FP32","shape":[1,1,4]'

    with closing(Caller(server.http_url)) as caller:
        assert len(json.loads(caller.send(rest_call(photo)))["faces"]) == 1
        assert boxes in caller.send(kserve_call(photo))
        with pytest.raises(ServerError, match="/v2/models/x/infer: 404"):
            caller.send(Call("/v2/models/x/infer", b'{"inputs":[]}', {}))


def test_turn_counts_requests_and_time_of_the_gateway(server: EmbeddedServer) -> None:
    with closing(Caller(server.http_url)) as caller:
        send = functools.partial(caller.send, kserve_call(probe_photo()))
        found = turn([send], 2, 0.5, gateway_process(server))

    assert found.per_second > 0
    assert found.cpu_ms >= 0
