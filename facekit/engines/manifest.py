"""The description of an engine: ``plan.json`` beside each ``model.plan``.

An engine runs only with the TensorRT version and on the kind of GPU that it was built with, and
TensorRT's error names neither. So the converter records what it used, and the server reads the
record when it starts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facekit.contract import is_optional
from facekit.errors import ConfigError, reading

ENGINE_FILE = "model.plan"
MANIFEST_FILE = "plan.json"
VERSION_DIR = "1"
FORMAT = 1
"""Version of the file's layout; other versions are refused."""

REPAIR = "docker compose run --rm converter"
"""Builds every engine and pipeline that is missing or does not fit."""

OPEN_WEIGHTS = "open"
"""Name of the weights in the repository's own ``model.onnx``."""

HALF_SUFFIX = ".fp16.onnx"
"""Ending of a network's file that states FP16; beside the one in FP32 that it was made of."""

_CHUNK = 1024 * 1024
# The weights of ``REPAIR`` without options, and the kit's others.
_DEFAULT_WEIGHTS = "nvidia"
_OTHER_WEIGHTS = ("nvidia-fp16", OPEN_WEIGHTS)


@dataclass(frozen=True)
class Batch:
    """Batch sizes that an engine takes (``minimum`` to ``maximum``) and is tuned for."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True)
class EngineManifest:
    """The description of one engine.

    Attributes:
        model: Name in the repository, such as ``facenet``.
        weights: Name in the converter's catalog, such as ``nvidia``.
        config: The set of ``configs/<name>.pbtxt`` that fits; "" for ``config.pbtxt``.
        source: The network's file name.
        source_format: ``uff-etlt``, ``onnx-etlt`` or ``onnx``.
        tensorrt: Version that built it, such as ``8.6.3``.
        gpu: The GPU's name, such as ``NVIDIA A10``.
        compute_capability: The GPU's, such as ``8.6``.
        precision: ``int8``, ``fp16`` or ``fp32``, as built, which may differ from the request.
        outputs: Output name to dims without batch, as ``inputs``.
        engine_sha256: Of ``model.plan``; detects a foreign or truncated file.
        created: UTC, ISO 8601, seconds.
        command: The tool's arguments; a secret key is replaced by ``***``.
        calibration_sha256: Of the INT8 calibration cache; ``None`` without one.
    """

    model: str
    weights: str
    config: str
    source: str
    source_sha256: str
    source_format: str
    tensorrt: str
    gpu: str
    compute_capability: str
    precision: str
    batch: Batch
    outputs: Mapping[str, tuple[int, ...]]
    engine_sha256: str
    engine_bytes: int
    created: str
    command: tuple[str, ...]
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    calibration_sha256: str | None = None

    def to_json(self) -> str:
        """Return the text of ``plan.json``."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> EngineManifest:
        """Read the text of a ``plan.json``; ``where`` is its name for messages.

        A ConfigError says why it is not a description.
        """
        try:
            values: Any = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{where}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: expected an object, got {type(values).__name__}")
        layout = values.pop("format", None)
        if layout != FORMAT:
            raise ConfigError(f"{where}: format is {layout!r}, expected {FORMAT}")
        names = {field.name for field in dataclasses.fields(cls)}
        for problem, keys in (("missing", names - set(values)), ("unknown", set(values) - names)):
            if keys:
                raise ConfigError(f"{where}: {problem}: {', '.join(sorted(keys))}")
        try:
            values["batch"] = Batch(**values["batch"])
            for key in ("inputs", "outputs"):
                values[key] = {name: tuple(dims) for name, dims in values[key].items()}
            values["command"] = tuple(values["command"])
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{where}: {error}") from error
        found = cls(**values)
        wrong = found._wrong_values()
        if wrong:
            raise ConfigError(f"{where}: {', '.join(wrong)}")
        return found

    def _wrong_values(self) -> list[str]:
        dims = [dim for dims in (*self.inputs.values(), *self.outputs.values()) for dim in dims]
        numbers: list[tuple[str, object]] = [
            *dataclasses.asdict(self.batch).items(),
            ("engine_bytes", self.engine_bytes),
            *(("a dim", dim) for dim in dims),
        ]
        texts: list[tuple[str, object]] = [
            *((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.type == "str"),
            ("calibration_sha256", self.calibration_sha256 or ""),
            *(("a word of command", word) for word in self.command),
        ]
        wrong = [f"{n} is {v!r}, expected a whole number" for n, v in numbers if type(v) is not int]
        wrong += [f"{n} is {v!r}, expected text" for n, v in texts if not isinstance(v, str)]
        # It becomes a part of a path.
        if isinstance(self.config, str) and not re.fullmatch(r"\w*", self.config):
            wrong.append(f"config is {self.config!r}, expected letters and digits")
        return wrong


def repair_command(model: str, weights: str | None = None) -> str:
    """Return the command that rebuilds one model's engine from the same weights.

    The other engines are kept. Unknown weights are taken for the default ones, or for the kit's own
    of an optional model, which has no others.

    >>> repair_command("facenet", "nvidia"), repair_command("facenet", "open")
    ('docker compose run --rm converter', \
'docker compose run --rm converter all facenet --weights open')
    """
    if weights is None:
        weights = OPEN_WEIGHTS if is_optional(model) else _DEFAULT_WEIGHTS
    if weights == _DEFAULT_WEIGHTS:
        return REPAIR
    if weights in _OTHER_WEIGHTS:
        return f"{REPAIR} all {model} --weights {weights}"
    return f"scripts/convert all {model} --weights {weights} --models FILE, which names them"


def restore_hint(model: str, file: Path) -> str:
    """Return how to restore the ONNX file of an optional model; "" for any other model."""
    if not is_optional(model):
        return ""
    return (
        f"restore it in the kit's clone with: git checkout model_repository/{model}; or export "
        f"one: python -m training.detector export -m CHECKPOINT -o {file}"
    )


def engine_path(repository: Path, model: str) -> Path:
    """Return the path of a model's engine."""
    return repository / model / VERSION_DIR / ENGINE_FILE


def manifest_path(repository: Path, model: str) -> Path:
    """Return the path of the description of a model's engine."""
    return repository / model / VERSION_DIR / MANIFEST_FILE


def read_manifest(repository: Path, model: str) -> EngineManifest | None:
    """Return the description of a model's engine; ``None`` if there is none.

    Raises ConfigError if the file is damaged or can't be read.
    """
    path = manifest_path(repository, model)
    with reading(path, ConfigError):
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return None
    return EngineManifest.from_json(text, str(path))


def file_problem(engine: Path, manifest: EngineManifest) -> str | None:
    """Return how an engine's file differs from what its ``plan.json`` says, or why it is unread."""
    try:
        size = engine.stat().st_size
        if size != manifest.engine_bytes:
            return (
                f"the engine {engine} has {size:,} bytes, and its plan.json says "
                f"{manifest.engine_bytes:,}"
            )
        if sha256_of(engine) != manifest.engine_sha256:
            return f"the engine {engine} is not the one that its plan.json describes (SHA-256)"
    except OSError as error:
        return f"the engine {engine} can't be read ({error.strerror})"
    return None


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits; raises OSError if it can't be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
