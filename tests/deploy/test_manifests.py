"""Every manifest has the structure that Kubernetes, its operators and kubectl expect."""

from __future__ import annotations

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.kustomize import Manifest, build, identity, read

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDERS = sorted(path.parent.name for path in DEPLOY.glob("*/kustomization.yaml"))
# An old cluster that is still met, and the newest that the schemas know.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]


def check(manifest: Manifest, version: str) -> None:
    """Raise what the schema finds wrong; a field that it does not know is wrong."""
    schema = SCHEMAS.get(manifest["kind"])
    if schema is None:
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    jsonschema.validate(manifest, schema)
    for pod in pods_within(manifest):
        kubernetes_validate.validate(pod, version, strict=True)


def pods_within(manifest: Manifest) -> list[Manifest]:
    """Return the containers and volumes of a custom resource as pods."""
    if manifest["kind"] == "ServingRuntime":
        spec = {name: manifest["spec"][name] for name in ("containers", "volumes")}
    elif manifest["kind"] == "InferenceService":
        model = manifest["spec"]["predictor"]["model"]
        spec = {"containers": [{"name": "kserve-container", "ports": model["ports"]}]}
    else:
        return []
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "within"}, "spec": spec}]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_is_valid(folder: str, version: str) -> None:
    manifests = build(DEPLOY / folder)
    assert manifests
    for manifest in manifests:
        check(manifest, version)


def test_loader_is_valid() -> None:
    for manifest in read(DEPLOY / "storage" / "loader.yaml"):
        check(manifest, VERSIONS[0])


def test_every_file_is_used() -> None:
    named = {DEPLOY / "storage" / "loader.yaml", DEPLOY / "autoscaling" / "adapter-values.yaml"}
    for folder in FOLDERS:
        path = DEPLOY / folder / "kustomization.yaml"
        rules = yaml.safe_load(path.read_text("utf-8"))
        named |= {path} | {path.parent / name for name in rules["resources"]}
        named |= {path.parent / patch["path"] for patch in rules.get("patches", [])}
    assert set(DEPLOY.rglob("*.yaml")) <= named


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_builds_the_same(folder: str) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    theirs = [document for document in yaml.safe_load_all(built.stdout) if document]
    ours = build(DEPLOY / folder)
    assert sorted(theirs, key=identity) == sorted(ours, key=identity)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readynessProbe"), {}),
        ("Deployment", ("spec", "selector"), None),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), "8"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "15"),
        ("ServingRuntime", ("spec", "containers", 0, "ports"), 8080),
        ("InferenceService", ("spec", "predictor", "model", "modelFormat"), None),
    ],
)
def test_what_is_wrong_is_found(kind: str, path: tuple[Any, ...], value: object) -> None:
    manifests = [manifest for folder in FOLDERS for manifest in build(DEPLOY / folder)]
    broken = copy.deepcopy(next(found for found in manifests if found["kind"] == kind))
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check(broken, VERSIONS[0])


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ({"resources": ["gone.yaml"]}, OSError),
        ({"resources": ["pod.yaml"], "patches": [{"path": "other.yaml"}]}, ValueError),
        ({"resources": ["pod.yaml"], "patchesJson6902": []}, ValueError),
    ],
)
def test_broken_folder_is_refused(
    tmp_path: Path, rules: dict[str, Any], error: type[Exception]
) -> None:
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(rules))
    for name in ("pod", "other"):
        pod = {"kind": "Pod", "metadata": {"name": name}, "spec": {}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(pod))
    with pytest.raises(error):
        build(tmp_path)
