"""Write the DALI pipelines into a model repository, one file a color and device.

``python -m facekit.pipelines.serialize REPOSITORY --device cpu`` does so.
``<model>/1/<color>.<device>.dali``, or ``<device>.dali`` where there is no color to choose;
``default_model_filename`` in the model's configuration picks one. The CPU files are committed, so
that a server can start from a clone; GPU files need a CUDA device to be written on.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.errors import SetupError
from facekit.files import write_whole
from facekit.pipelines.definitions import COLORS_OF, DEVICES, PIPELINES


def file_name(color: str | None, device: str) -> str:
    """Return the file name of one variant of a pipeline.

    >>> file_name("gray", "cpu"), file_name(None, "cpu")
    ('gray.cpu.dali', 'cpu.dali')
    """
    return ".".join(filter(None, (color, device, "dali")))


def serialize(model: str, *, device: str, color: str | None) -> bytes:
    """Return one pipeline as the bytes that the DALI backend loads.

    Raises SetupError for a GPU variant on a machine without a CUDA device.
    """
    try:
        with _untraced():
            pipeline = PIPELINES[model](device, color)
            pipeline.build()
            data = pipeline.serialize()
    except RuntimeError as error:
        if device == "gpu":
            raise SetupError(
                f"a GPU pipeline can only be serialized where CUDA is: {error}"
            ) from error
        raise
    return data if isinstance(data, bytes) else bytes(data, "latin-1")


def write_all(repository: Path, *, devices: tuple[str, ...] = DEVICES) -> list[Path]:
    """Write every pipeline in each of its colors for some devices, and return the files."""
    written = []
    for model in PIPELINES:
        for device in devices:
            for color in COLORS_OF[model]:
                path = repository / model / "1" / file_name(color, device)
                write_whole(path, serialize(model, device=device, color=color))
                written.append(path)
    return written


@contextmanager
def _untraced() -> Iterator[None]:
    """Keep source lines and this machine's paths out of the files; DALI 1.35 writes none."""
    try:
        from nvidia.dali._utils import dali_trace
    except ImportError:
        yield
        return
    dali_trace.set_tracing(enabled=False)
    try:
        yield
    finally:
        dali_trace.set_tracing(enabled=True)


def main() -> int:
    """Write the files, print their paths, and return the exit status."""
    parser = argparse.ArgumentParser(description="Serialize the DALI pipelines.")
    parser.add_argument("repository", type=Path, help="the model repository to write into")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    args = parser.parse_args()
    try:
        for path in write_all(args.repository, devices=(args.device,)):
            sys.stdout.write(f"{path}\n")
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
