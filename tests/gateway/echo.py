"""A repository of models that answer what they are sent, and a server that has its own HTTP on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from facekit.serving.embedded import EmbeddedServer
from facekit.serving.ports import choose_ports
from tests.shared import shared

DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES"),
)

_TENSOR = '{way} [ {{ name: "{name}" data_type: TYPE_{kind} dims: [ -1 ] {more} }} ]\n'
_BATCHED = """
backend: "python"
max_batch_size: 4
input [ { name: "IN" data_type: TYPE_UINT8 dims: [ 2, -1 ] } ]
output [ { name: "OUT" data_type: TYPE_UINT8 dims: [ 2, -1 ] } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
parameters [ { key: "a" value: { string_value: "b" } } ]
"""
_ENSEMBLE = """
platform: "ensemble"
max_batch_size: 4
input [ { name: "FIRST" data_type: TYPE_UINT8 dims: [ 2, -1 ] } ]
output [ { name: "LAST" data_type: TYPE_UINT8 dims: [ 2, -1 ] } ]
ensemble_scheduling { step [ {
  model_name: "batched"
  model_version: -1
  input_map { key: "IN" value: "FIRST" }
  output_map { key: "OUT" value: "LAST" }
} ] }
"""
_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors = {"OUT" + tensor.name()[2:]: tensor for tensor in request.inputs()}
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, tensor.as_numpy()) for name, tensor in tensors.items()]
        )
"""


class Echo(NamedTuple):
    """A server of these models, and the URLs of a gateway before it and of Triton's own HTTP."""

    server: EmbeddedServer
    url: str
    triton: str


def echo_repository(folder: Path) -> Path:
    """Write the models into ``folder`` and return it.

    ``echo`` takes tensors of any data type, ``batched`` has one input, ``ensemble`` calls it.
    """
    config = 'backend: "python"\n'
    for datatype in DATATYPES:
        kind, more = datatype.replace("BYTES", "STRING"), "optional: true"
        config += _TENSOR.format(way="input", name=f"IN_{datatype}", kind=kind, more=more)
        config += _TENSOR.format(way="output", name=f"OUT_{datatype}", kind=kind, more="")
    for name, text in {"echo": config, "batched": _BATCHED, "ensemble": _ENSEMBLE}.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        if name != "ensemble":
            (version / "model.py").write_text(_MODEL, "utf-8")
        (folder / name / "config.pbtxt").write_text(f'name: "{name}"\n{text}', "utf-8")
    return folder


@contextmanager
def server_with_http(folder: Path) -> Iterator[tuple[EmbeddedServer, str]]:
    """Run a server of these models meanwhile; yield it, and the URL of Triton's own HTTP."""
    port = choose_ports("127.0.0.1", {"--http-port": 0})["--http-port"]
    options = ("--allow-http=true", "--http-address=127.0.0.1", f"--http-port={port}")
    with shared(EmbeddedServer(echo_repository(folder), extra_args=options)) as server:
        yield server, f"http://127.0.0.1:{port}"
