"""The optional models, which a server skips where their engine or network is missing."""

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
    """The models that a server does not serve, and a message with the reason and the remedy."""

    models: tuple[str, ...]
    message: str


def skipped_models(repository: Path, config: str) -> SkippedModels | None:
    """Return the models of the mask detector if its engine or network is missing, else None.

    So repositories without a mask detector are still served. A file that exists but does not fit is
    an error as for any other model. ``config`` is the set of ``configs/<name>.pbtxt`` that is
    served, "" for ``config.pbtxt``; a ConfigError says that the network's can't be read.
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
        # A dangling link counts as a damaged file, not as a missing one.
        if network.exists() or network.is_symlink():
            return None
        why = f"{network} is missing; {restore_hint(_NETWORK, network)}"
    models = tuple(name for name in OPTIONAL_MODELS if (repository / name).is_dir())
    return SkippedModels(models, f"not served: {', '.join(models)}, because {why}")
