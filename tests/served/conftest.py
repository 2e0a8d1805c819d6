"""Clients and calls for the tests against the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from facekit.serving.embedded import EmbeddedServer
from tests.triton import infer

Call = Callable[..., Any]


@pytest.fixture(scope="session")
def grpc(server: EmbeddedServer) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="session")
def call(grpc: grpcclient.InferenceServerClient) -> Call:
    """``call(model, inputs, outputs)`` -> name to array; all outputs when none is named."""

    def run(
        model: str, inputs: dict[str, np.ndarray], outputs: tuple[str, ...] = ()
    ) -> dict[str, np.ndarray]:
        result = infer(grpc, grpcclient, model, inputs, outputs)
        return {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}

    return run
