"""What can be converted: models, and one or more weights for each (see ``catalog_file``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from conversion.yaml_file import Entry, matching
from facekit.engines.manifest import Batch


class Format(str, Enum):
    """What a network's file contains."""

    UFF_ETLT = "uff-etlt"
    """An encrypted TensorFlow graph: implicit batch, TensorRT 8 and older only."""
    ONNX_ETLT = "onnx-etlt"
    """An encrypted ONNX graph: dynamic batch, as new as the last ``tao-converter``."""
    ONNX = "onnx"


class Precision(str, Enum):
    """What an engine computes in."""

    INT8 = "int8"
    FP16 = "fp16"
    FP32 = "fp32"


Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=1)]


class License(Entry):
    """The license of a download; ``accept`` tells whether it must be accepted first."""

    name: Text
    url: str
    accept: bool


class RemoteFile(Entry):
    """One file of a model on NGC; size in bytes and digest where they are known."""

    size: Count | None = None
    sha256: Annotated[str, matching("[0-9a-fA-F]{64}", "64 hexadecimal digits")] | None = None


@dataclass(frozen=True)
class NgcVersion:
    """One version of a model on NGC, such as ``nvidia/tao/facenet:deployable_v1.0``."""

    label: str
    files: Mapping[str, RemoteFile]

    @property
    def folder(self) -> str:
        """The folder that NGC's own command line downloads it to."""
        model, version = self.label.rpartition("/")[2].split(":")
        return f"{model}_v{version}"


@dataclass(frozen=True)
class Weights:
    """One source of one model's network, which ``--weights`` names.

    Attributes:
        network: the network's file name, as ``calibration`` is that of its INT8 cache beside it.
        key: what an ``.etlt`` is encrypted with; printed only if it is public.
        ngc: where it is downloaded from; ``None`` for a file of this machine.
        folder: where a file of this machine is; ``None`` for a download.
        outputs: output name to dims without batch.
        config: the set of ``configs/<name>.pbtxt`` that fits; "" for ``config.pbtxt``.
    """

    model: str
    name: str
    format: Format
    network: str
    calibration: str | None
    precision: Precision
    key: str | None = field(repr=False)
    key_is_public: bool
    license: License
    ngc: NgcVersion | None
    folder: Path | None
    outputs: Mapping[str, tuple[int, ...]]
    config: str
    note: str

    @property
    def holds_scales(self) -> bool:
        """Whether the network itself says what is computed in INT8 (QDQ), without a cache."""
        return self.precision is Precision.INT8 and self.calibration is None

    @property
    def files(self) -> dict[str, RemoteFile]:
        """The files that an engine is built from, the network first."""
        known = self.ngc.files if self.ngc else {}
        names = filter(None, (self.network, self.calibration))
        return {name: known.get(name, RemoteFile()) for name in names}

    def folder_in(self, weights_dir: Path) -> Path:
        """Return the network's folder, which is in ``weights_dir`` for a download."""
        return weights_dir / self.ngc.folder if self.ngc else self.folder or weights_dir

    def find(self, weights_dir: Path) -> Path | None:
        """Return the network's file if it and its calibration cache are there, of known size."""
        folder = self.folder_in(weights_dir)
        for name, file in self.files.items():
            path = folder / name
            if not path.is_file() or file.size not in (None, path.stat().st_size):
                return None
        return folder / self.network


@dataclass(frozen=True)
class Model:
    """One model of the repository that runs as an engine: its input and its possible weights."""

    name: str
    input: str
    input_dims: tuple[int, ...]
    batch: Batch
    outputs: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, Weights]


Catalog = Mapping[str, Model]
"""Every model that can be converted, by name."""


@dataclass(frozen=True)
class Job:
    """One engine to make: a model and the weights chosen for it."""

    model: Model
    weights: Weights


def listed(names: Mapping[str, object] | Sequence[str]) -> str:
    """Return names for a message, such as ``nvidia, open``."""
    return ", ".join(names) or "none"
