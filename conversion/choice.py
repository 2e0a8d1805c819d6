"""Which weights are converted for which models: ``--weights`` and the models named."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from conversion.catalog import Catalog, Job, Model, Weights
from conversion.errors import CatalogError
from conversion.yaml_nodes import listed

WEIGHTS_VARIABLE = "FACEKIT_WEIGHTS"
"""Selections where no ``--weights`` is given, separated by spaces."""
DEFAULT_WEIGHTS = "nvidia"


def choose(
    catalog: Catalog,
    selections: Sequence[str],
    models: Sequence[str],
    environment: Mapping[str, str] = os.environ,
) -> list[Job]:
    """Return the engines to make, in the catalogue's order.

    Args:
        catalog: what there is.
        selections: ``nvidia`` for every model, ``facenet=nvidia-fp16`` for one, which wins.
        models: the models wanted; all of them if empty.
        environment: where ``FACEKIT_WEIGHTS`` is looked up if there are no selections.

    Raises:
        CatalogError: an unknown model or weights, two selections that contradict each other, or
            weights whose file is not there; lists what there is.
    """
    source = "--weights"
    if not selections:
        selections = environment.get(WEIGHTS_VARIABLE, "").split()
        source = WEIGHTS_VARIABLE
    for name in models:
        if name not in catalog.models:
            raise CatalogError(f"unknown model {name!r}; there are {listed(catalog.models)}")
    common, single = _parsed(catalog, selections, source)
    wanted = [model for name, model in catalog.models.items() if not models or name in models]
    return [Job(model, _weights_of(model, single.get(model.name, common))) for model in wanted]


def _parsed(
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
        before = single.get(model) if equals else common
        if before not in (None, name):
            raise CatalogError(
                f"{source}: both {before} and {name} for {model or 'all models'}; give one"
            )
        if not equals:
            common = name
            continue
        if model not in catalog.models:
            raise CatalogError(
                f"{source} {selection}: unknown model {model!r}; there are {listed(catalog.models)}"
            )
        single[model] = name
    return common, single


def _weights_of(model: Model, name: str | None) -> Weights:
    if name is None:
        # A user's own model has weights of one name only, and needs no option to choose them.
        only = next(iter(model.weights)) if len(model.weights) == 1 else DEFAULT_WEIGHTS
        name = DEFAULT_WEIGHTS if DEFAULT_WEIGHTS in model.weights else only
    if name not in model.weights:
        raise CatalogError(
            f"{model.name} has no weights {name!r}; there are {listed(model.weights)} "
            f"(--weights {model.name}={next(iter(model.weights))})"
        )
    weights = model.weights[name]
    if weights.folder is not None and not (weights.folder / weights.network).is_file():
        raise CatalogError(
            f"{model.name}, weights {name}: there is no {weights.folder / weights.network}; put "
            "the file there (the kit's own networks come with its repository), or choose other "
            f"weights: {listed(model.weights)}"
        )
    return weights
