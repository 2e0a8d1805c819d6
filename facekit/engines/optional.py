"""Models that a server leaves out where nobody made an engine for them."""

from __future__ import annotations

from pathlib import Path

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.configs import active_file, read_config, runs_engine
from facekit.engines.manifest import engine_path, manifest_path, repair_command

_NETWORK = "facemask"


def left_out(repository: Path, config: str) -> tuple[str, ...]:
    """Return the models of the mask detector where it should run as an engine and none was made.

    Whoever serves faces since before there was a mask detector goes on serving them. An engine that
    is there and does not fit is another matter, and refused like any other.

    Args:
        repository: the model repository.
        config: the set of ``configs/<name>.pbtxt`` that is served; "" for ``config.pbtxt``.

    Raises:
        ConfigError: the network's configuration can't be read.
    """
    file = active_file(repository / _NETWORK, config)
    made = (engine_path(repository, _NETWORK), manifest_path(repository, _NETWORK))
    if file is None or any(path.exists() for path in made) or not runs_engine(read_config(file)):
        return ()
    return tuple(name for name in OPTIONAL_MODELS if (repository / name).is_dir())


def left_out_words(models: tuple[str, ...]) -> str:
    """Return the line that tells what is left out, and what makes its engine."""
    return (
        f"not served: {', '.join(models)}, because {_NETWORK} has no engine; make it with: "
        f"{repair_command(_NETWORK)}"
    )
