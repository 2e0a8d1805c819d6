"""The optional models, which a server skips where their engine or their network is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facekit.contract import OPTIONAL_MODELS
from facekit.engines.configs import active_file, read_config, runs_engine
from facekit.engines.manifest import (
    VERSION_DIR,
    engine_path,
    manifest_path,
    repair_command,
    restore_hint,
)

_NETWORK = "facemask"
_ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class SkippedModels:
    """The models that a server does not serve.

    Attributes:
        models: The mask detector and its steps, as far as the repository has them.
        message: Says which models are skipped, why, and how to get them served.
    """

    models: tuple[str, ...]
    message: str


def skipped_models(repository: Path, config: str) -> SkippedModels | None:
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
        why = f"{network} is missing; {restore_hint(_NETWORK, network)}"
    models = tuple(name for name in OPTIONAL_MODELS if (repository / name).is_dir())
    return SkippedModels(models, f"not served: {', '.join(models)}, because {why}")
