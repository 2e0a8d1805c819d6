"""Models that a server leaves out where nobody made an engine for them, or has their network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.configs import active_file, read_config, runs_engine
from facekit.engines.manifest import VERSION_DIR, engine_path, manifest_path, repair_command
from facekit.engines.networks import way_back

_NETWORK = "facemask"
_ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class LeftOut:
    """What a server does without.

    Attributes:
        models: The mask detector and its steps, as far as the repository has them.
        words: The line that tells what is left out, why, and what brings it back.
    """

    models: tuple[str, ...]
    words: str


def left_out(repository: Path, config: str) -> LeftOut | None:
    """Return the models of the mask detector where its engine or its network is missing.

    Whoever serves faces since before there was a mask detector goes on serving them. A file that
    is there and does not fit is another matter, and refused like any other.

    Args:
        repository: the model repository.
        config: the set of ``configs/<name>.pbtxt`` that is served; "" for ``config.pbtxt``.

    Raises:
        ConfigError: the network's configuration can't be read.
    """
    file = active_file(repository / _NETWORK, config)
    if file is None:
        return None
    settings = read_config(file)
    if runs_engine(settings):
        made = (engine_path(repository, _NETWORK), manifest_path(repository, _NETWORK))
        if any(path.exists() for path in made):
            return None
        why = f"{_NETWORK} has no engine; make it with: {repair_command(_NETWORK)}"
    else:
        name = settings.default_model_filename or _ONNX_FILE
        network = repository / _NETWORK / VERSION_DIR / name
        # A link to nothing is there, and damaged.
        if network.exists() or network.is_symlink():
            return None
        why = f"{network} is missing; {way_back(_NETWORK, network)}"
    models = tuple(name for name in OPTIONAL_MODELS if (repository / name).is_dir())
    return LeftOut(models, f"not served: {', '.join(models)}, because {why}")
