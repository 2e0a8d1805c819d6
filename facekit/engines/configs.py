"""Read and write the models' configurations: ``configs/<name>.pbtxt`` or ``config.pbtxt``."""

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from facekit.errors import ConfigError, reading

DEFAULT_FILE = "config.pbtxt"


def active_file(model: Path, config: str) -> Path | None:
    """Return the file that a server reads for a model; ``None`` if the folder is not a model.

    ``config`` is the value of ``--model-config-name``; "" for none.
    """
    for name in (f"configs/{config}.pbtxt", DEFAULT_FILE) if config else (DEFAULT_FILE,):
        if (model / name).is_file():
            return model / name
    return None


def read_config(path: Path, *, to_write: bool = False) -> Any:
    """Return a configuration as Triton's ``ModelConfig``.

    ``to_write`` it again would lose unknown fields, such as of another version of Triton: they are
    an error then. Raises ConfigError if the file can't be read or is not a configuration.
    """
    with reading(path, ConfigError):
        text = path.read_text("utf-8")
    config = model_config_pb2.ModelConfig()
    try:
        return text_format.Parse(text, config, allow_unknown_field=not to_write)
    except text_format.ParseError as error:
        raise ConfigError(f"{path}: {error}") from error


def config_files(model: Path) -> list[Path]:
    """Return every configuration of a model: the default and those in ``configs``."""
    return [*model.glob(DEFAULT_FILE), *model.glob("configs/*.pbtxt")]


def write_config(config: Any) -> str:
    """Return the text of a configuration."""
    return str(text_format.MessageToString(config))


def in_color(config: Any, color: str) -> str | None:
    """Change a ``ModelConfig`` to the pipeline of a color, ``gray`` or ``rgb``.

    Returns the pipeline's file name; "" if only the color of large JPEGs was changed, None if the
    model has no color, and nothing was changed.
    """
    # What Python models decode or cut for FaceNet has the color that it is fed.
    colored = {"reduced_decode", "tile_color"}.intersection(config.parameters)
    for name in colored:
        config.parameters[name].string_value = color
    pipeline = config.default_model_filename
    if pipeline.endswith(".dali") and pipeline.count(".") == 2:  # COLOR.DEVICE.dali
        config.default_model_filename = f"{color}{pipeline[pipeline.index('.') :]}"
        return str(config.default_model_filename)
    return "" if colored else None


def active_configs(repository: Path, config: str) -> dict[str, Any]:
    """Return the configuration of every model by its name, as a server reads them.

    Raises ConfigError if a file is not a configuration.
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
    """Return whether a configuration is of a model that TensorRT runs."""
    # Triton has two names for it.
    return "tensorrt" in (config.backend, config.platform.removesuffix("_plan"))
