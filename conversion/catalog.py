"""What can be converted, as ``models.yaml`` says: models, and for each one or more weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from facekit.engines.manifest import Batch


class Format(str, Enum):
    """What a network's file holds."""

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


@dataclass(frozen=True)
class License:
    """Whose terms a download is under; ``accept`` tells whether they must be accepted first."""

    name: str
    url: str
    accept: bool


@dataclass(frozen=True)
class RemoteFile:
    """One file of an NGC model version; size and digest where they are known."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class NgcVersion:
    """One version of a model on NGC, such as ``nvidia/tao/facenet:deployable_v1.0``."""

    org: str
    team: str
    model: str
    version: str
    files: tuple[RemoteFile, ...]

    @property
    def label(self) -> str:
        """As NGC's own command line names it."""
        return f"{self.org}/{self.team}/{self.model}:{self.version}"

    @property
    def folder(self) -> str:
        """The folder that NGC's own command line downloads it to."""
        return f"{self.model}_v{self.version}"


@dataclass(frozen=True)
class Weights:
    """One source of one model's network.

    Attributes:
        model: the model in the repository.
        name: how ``--weights`` names it.
        format: what the network's file holds.
        network: the network's file name.
        calibration: the INT8 calibration cache's file name, beside the network; ``None`` with INT8
            is a network that holds its own scales (``holds_scales``).
        precision: what the engine shall compute in.
        key: what an ``.etlt`` is encrypted with.
        key_is_public: whether the key may be printed.
        license: under which terms.
        ngc: where it is downloaded from; ``None`` for a file of this machine.
        folder: where a file of this machine lies; ``None`` for a download.
        outputs: output name to dims without batch.
        config: the set of ``configs/<name>.pbtxt`` that fits; "" for ``config.pbtxt``.
        note: one sentence for people.
    """

    model: str
    name: str
    format: Format
    network: str
    calibration: str | None
    precision: Precision
    key: str | None
    key_is_public: bool
    license: License
    ngc: NgcVersion | None
    folder: Path | None
    outputs: Mapping[str, tuple[int, ...]]
    config: str
    note: str

    @property
    def holds_scales(self) -> bool:
        """Whether the file itself says what is computed in INT8 (QDQ), and needs no cache."""
        return self.precision is Precision.INT8 and self.calibration is None


@dataclass(frozen=True)
class Model:
    """One model of the repository that runs as an engine: its input and its possible weights."""

    name: str
    input: str
    input_dims: tuple[int, ...]
    batch: Batch
    weights: Mapping[str, Weights]


@dataclass(frozen=True)
class Catalog:
    """Every model that can be converted, by name."""

    models: Mapping[str, Model]


@dataclass(frozen=True)
class Job:
    """One engine to make: a model and the weights chosen for it."""

    model: Model
    weights: Weights
