"""The configuration of each model that a server reads: ``configs/<name>.pbtxt`` or the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from facekit.errors import ConfigError, reading

DEFAULT_FILE = "config.pbtxt"


def active_file(model: Path, config: str) -> Path | None:
    """Return the file that a server reads for a model; ``None`` if the folder is no model.

    Args:
        model: the model's folder in the repository.
        config: the name of ``--model-config-name``; "" for none.
    """
    for name in (f"configs/{config}.pbtxt", DEFAULT_FILE) if config else (DEFAULT_FILE,):
        if (model / name).is_file():
            return model / name
    return None


def read_config(path: Path) -> Any:
    """Return a configuration as Triton's ``ModelConfig``.

    Raises:
        ConfigError: the file can't be read or is no configuration.
    """
    with reading(path, ConfigError):
        text = path.read_text("utf-8")
    try:
        # A server of another version may know fields that this protocol's does not.
        return text_format.Parse(text, model_config_pb2.ModelConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ConfigError(f"{path}: {error}") from error


def active_configs(repository: Path, config: str) -> dict[str, Any]:
    """Return the configuration of every model by its name, as a server reads them.

    Raises:
        ConfigError: a file is no configuration.
    """
    found = {}
    for model in sorted(path for path in repository.iterdir() if path.is_dir()):
        file = active_file(model, config)
        if file is not None:
            found[model.name] = read_config(file)
    return found


def parameters(config: Any) -> dict[str, str]:
    """Return a configuration's parameters by their names."""
    return {name: value.string_value for name, value in config.parameters.items()}


def runs_engine(config: Any) -> bool:
    """Whether a configuration is of a model that TensorRT runs."""
    # Triton knows two words for it.
    return "tensorrt" in (config.backend, config.platform.removesuffix("_plan"))
