"""What was asked for: weights (``--weights``), models, and whether licenses are accepted."""

import os
from collections.abc import Mapping, Sequence

from conversion.catalog import Catalog, Job, Model, Weights, listed
from conversion.errors import CatalogError, FetchError
from conversion.releases import TAG_VARIABLE, load_releases
from facekit.contract import is_optional
from facekit.engines.manifest import OPEN_WEIGHTS

WEIGHTS_VARIABLE = "FACEKIT_WEIGHTS"
"""Selections where no ``--weights`` is given, separated by spaces."""
LICENSE_VARIABLE = "FACEKIT_ACCEPT_EULA"
DEFAULT_WEIGHTS = "nvidia"


def license_accepted(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether ``FACEKIT_ACCEPT_EULA`` says yes; raises FetchError for neither yes nor no."""
    text = environment.get(LICENSE_VARIABLE, "").strip().lower()
    if text in ("yes", "y", "true", "1"):
        return True
    if text in ("", "no", "n", "false", "0"):
        return False
    raise FetchError(f"{LICENSE_VARIABLE}: expected yes or no, got {text!r}")


def select(
    catalog: Catalog,
    selections: Sequence[str],
    models: Sequence[str],
    environment: Mapping[str, str] = os.environ,
) -> list[Job]:
    """Return the engines to make, in the catalog's order.

    ``selections`` are ``nvidia`` for every model that has it, or ``facenet=nvidia-fp16`` for one,
    which wins; without any, those of ``FACEKIT_WEIGHTS``, and without these NVIDIA's, or the open
    ones in an image of a Triton that reads no ``.etlt``. Without ``models`` it is all of them,
    except a mask detector that the repository does not have. A CatalogError lists the choices where
    a model or weights are unknown, contradict each other, or have no file.
    """
    source = "--weights"
    if not selections:
        selections = environment.get(WEIGHTS_VARIABLE, "").split()
        source = WEIGHTS_VARIABLE
    for name in models:
        if name not in catalog:
            raise CatalogError(f"unknown model {name!r}; there are {listed(catalog)}")
    common, single = _parse(catalog, selections, source)
    last = load_releases().etlt_tags[-1]
    default = OPEN_WEIGHTS if environment.get(TAG_VARIABLE, "") > last else DEFAULT_WEIGHTS
    wanted = {
        name: model
        for name, model in catalog.items()
        if name in models or (not models and (name in single or not _is_left_out(model)))
    }
    return [
        Job(model, _weights(model, single.get(name) or _common(catalog, model, common), default))
        for name, model in wanted.items()
    ]


def _is_left_out(model: Model) -> bool:
    """Return whether a model is optional and the repository has no folder for it."""
    # The kit's own network is in the model's folder.
    folder = next(iter(model.weights.values())).folder
    return is_optional(model.name) and folder is not None and not folder.parent.is_dir()


def _common(catalog: Catalog, model: Model, name: str | None) -> str | None:
    """Return what a selection for all models means for one: nothing where only others have it.

    The mask detector has no such choice, and is made whatever the others are made of.
    """
    others = (other for other in catalog.values() if other.name != model.name)
    no_choice = is_optional(model.name) and name not in model.weights
    return None if no_choice and any(name in other.weights for other in others) else name


def _parse(
    catalog: Catalog, selections: Sequence[str], source: str
) -> tuple[str | None, dict[str, str]]:
    """Return the weights for every model, and those for single ones."""
    common: str | None = None
    single: dict[str, str] = {}
    # Also `--weights "facenet=open fpenet=open"`, which is how .env has it.
    for selection in (part for given in selections for part in given.split() or [given]):
        model, equals, name = selection.rpartition("=")
        if not name or (equals and not model):
            raise CatalogError(
                f"{source}: expected a name such as open, or facenet=open, got {selection!r}"
            )
        if equals and model not in catalog:
            raise CatalogError(
                f"{source} {selection}: unknown model {model!r}; there are {listed(catalog)}"
            )
        before = single.get(model) if equals else common
        if before not in (None, name):
            raise CatalogError(
                f"{source}: both {before} and {name} for {model or 'all models'}; give one"
            )
        if equals:
            single[model] = name
        else:
            common = name
    return common, single


def _weights(model: Model, name: str | None, default: str) -> Weights:
    if name is None:
        # A user's own model has weights of one name only, and needs no option to choose them; of
        # the mask detector the kit's come before those that a user's file adds.
        first = next(iter(model.weights))
        is_clear = len(model.weights) == 1 or is_optional(model.name)
        name = first if is_clear and DEFAULT_WEIGHTS not in model.weights else default
    if name not in model.weights:
        raise CatalogError(
            f"{model.name} has no weights {name!r}; there are {listed(model.weights)} "
            f"(--weights {model.name}={next(iter(model.weights))})"
        )
    weights = model.weights[name]
    if weights.folder is not None and not (weights.folder / weights.network).is_file():
        others = [other for other in model.weights if other != name]
        choose_others = f", or choose other weights: {listed(others)}" if others else ""
        raise CatalogError(
            f"{model.name}, weights {name}: there is no {weights.folder / weights.network}; put "
            f"the file there (the kit's own networks come with its repository){choose_others}"
        )
    return weights
