"""Builds a folder of manifests as ``kubectl kustomize`` does, for what deploy/ uses of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_KNOWN = {"apiVersion", "kind", "namespace", "resources", "patches", "labels"}
_CLUSTER_WIDE = {"Namespace"}
# By which field the items of a list are told apart where two are merged; others are replaced.
_MERGE_KEYS = {"containers": "name", "volumes": "name", "env": "name"}


def build(folder: Path) -> list[Manifest]:
    """Return the manifests of a folder with a ``kustomization.yaml``.

    Raises:
        ValueError: It says something that is not known here, or patches what is not there.
        OSError: A file that it names is missing.
    """
    rules = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    if unknown := rules.keys() - _KNOWN:
        raise ValueError(f"{folder}: not known here: {sorted(unknown)}")
    manifests: list[Manifest] = []
    for name in rules["resources"]:
        path = folder / name
        manifests += build(path) if path.is_dir() else read(path)
    for patch in rules.get("patches", []):
        for change in read(folder / patch["path"]):
            _patch(manifests, change)
    for manifest in manifests:
        _label(manifest, rules)
    return manifests


def read(path: Path) -> list[Manifest]:
    """Return the documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


def identity(manifest: Manifest) -> tuple[str, str, str]:
    """Return kind, namespace and name."""
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def _label(manifest: Manifest, rules: dict[str, Any]) -> None:
    metadata = manifest["metadata"]
    if "namespace" in rules and manifest["kind"] not in _CLUSTER_WIDE:
        metadata["namespace"] = rules["namespace"]
    for entry in rules.get("labels", []):
        metadata.setdefault("labels", {}).update(entry["pairs"])


def _patch(manifests: list[Manifest], change: Manifest) -> None:
    targets = [manifest for manifest in manifests if identity(manifest) == identity(change)]
    if len(targets) != 1:
        raise ValueError(f"a patch of {identity(change)}, which is there {len(targets)} times")
    _merge(targets[0], change)


def _merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        old = target.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif key in _MERGE_KEYS and isinstance(old, list):
            name = _MERGE_KEYS[key]
            for item in value:
                same = [other for other in old if other[name] == item[name]]
                if not same:
                    raise ValueError(f"a patch of {key} {item[name]!r}, which is not there")
                _merge(same[0], item)
        else:
            target[key] = value
