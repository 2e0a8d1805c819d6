"""The schema of the specs: ``experiment.proto`` and the descriptors compiled from it.

``python -m training.experiment.schema`` compiles it anew, which needs ``pip install grpcio-tools``;
reading a spec does not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SOURCE = Path(__file__).with_name("experiment.proto")
COMPILED = SOURCE.with_suffix(".binpb")
PACKAGE = "facekit.experiment"


def compile_schema(path: Path = COMPILED) -> None:
    """Write the descriptor set of ``experiment.proto``.

    Raises:
        SystemExit: The compiler refuses the file; it has said why on standard error.
    """
    from grpc_tools import protoc

    arguments = ["protoc", f"--proto_path={SOURCE.parent}", f"--descriptor_set_out={path}"]
    if protoc.main([*arguments, SOURCE.name]):
        raise SystemExit(1)


@cache
def message_type(name: str) -> Any:
    """Return the class of one of the schema's messages, such as ``Experiment``."""
    # A pool of its own: nothing else in the process sees these messages.
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes())
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


if __name__ == "__main__":
    compile_schema()
