"""The configuration of a model of a stand-in backend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.contract import TensorSpec
from facekit.errors import ConfigError


@dataclass(frozen=True)
class ModelConfig:
    """One model as Triton hands it to a Python-based backend.

    ``max_batch_size`` is 0 for a model without batching; ``parameters`` are raw strings.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    file: Path
    parameters: Mapping[str, str]
    graph_level: int = 0

    @classmethod
    def from_args(cls, args: Mapping[str, str], default_file: str) -> ModelConfig:
        """Read the arguments of ``TritonPythonModel.initialize``.

        Raises ConfigError if the model's file is missing.
        """
        raw: dict[str, Any] = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        file = folder / (raw.get("default_model_filename") or default_file)
        if not file.is_file():
            raise ConfigError(f"model {raw['name']}: the file {file} does not exist")
        parameters = {
            name: str(value["string_value"]) for name, value in raw.get("parameters", {}).items()
        }
        graph = raw.get("optimization", {}).get("graph", {})
        return cls(
            name=raw["name"],
            max_batch_size=int(raw.get("max_batch_size", 0)),
            inputs=tuple(_tensor(entry, raw["name"]) for entry in raw.get("input", [])),
            outputs=tuple(_tensor(entry, raw["name"]) for entry in raw.get("output", [])),
            file=file,
            parameters=parameters,
            graph_level=int(graph.get("level", 0)),
        )

    def check_parameters(self, known: Iterable[str], prefixes: tuple[str, ...] = ()) -> None:
        """Raise ConfigError for an unknown parameter: Triton would ignore a misspelled one."""
        names = sorted(known)
        for name in self.parameters:
            if name not in names and not name.startswith(prefixes or ("\0",)):
                raise ConfigError(
                    f"model {self.name}: unknown parameter {name!r}; known are {', '.join(names)}"
                )

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return an integer parameter; raises ConfigError if it is not one in ``low``..``high``."""
        text = self.parameters.get(name)
        if text is None:
            return default
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ConfigError(
                f"model {self.name}: parameter {name} is {text!r}, not an integer in {low}..{high}"
            )
        return value


def _tensor(entry: Mapping[str, Any], model: str) -> TensorSpec:
    if entry.get("reshape"):
        raise ConfigError(f"model {model}: tensor {entry['name']}: reshape is not supported")
    dtype = str(entry["data_type"]).removeprefix("TYPE_")
    return TensorSpec(entry["name"], dtype, tuple(int(value) for value in entry["dims"]))
