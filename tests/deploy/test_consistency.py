"""What deploy/ names is what images, Compose, command line and server really have."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from conversion.cli import build_parser as converter_parser
from facekit.cli import build_parser
from facekit.serving.embedded import EmbeddedServer
from facekit.serving.supervisor import START_TIMEOUT_S
from tests.deploy.kustomize import Manifest, build, read

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
DOCKERFILE = (ROOT / "Dockerfile.triton").read_text("utf-8")
SERVICES = {"cpu": "triton-cpu", "gpu": "triton-server"}


def manifest(folder: str, kind: str, name: str | None = None) -> Manifest:
    (found,) = [
        one
        for one in build(DEPLOY / folder)
        if one["kind"] == kind and name in (None, one["metadata"]["name"])
    ]
    return found


def pod_spec(folder: str) -> dict[str, Any]:
    """Return the pod that a folder runs."""
    kinds = {"kserve": "ServingRuntime", "converter": "Job"}
    spec = manifest(folder, kinds.get(folder, "Deployment"))["spec"]
    return spec if folder == "kserve" else spec["template"]["spec"]


def container(folder: str) -> dict[str, Any]:
    (only,) = pod_spec(folder)["containers"]
    return only


def default(text: str) -> str:
    """Return what a variable of the Compose file is when nothing sets it."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def in_dockerfile(target: str, instruction: str) -> list[str]:
    """Return the last list that an instruction of a build target has."""
    stages = {part.splitlines()[0].split()[-1]: part for part in DOCKERFILE.split("\nFROM ")}
    found = re.findall(rf"{instruction}\s+(\[.*\])$", stages[target], re.MULTILINE)
    return json.loads(found[-1])


def mebibytes(text: str) -> int:
    return int(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


@pytest.mark.parametrize("folder", SERVICES)
def test_server_is_the_one_of_compose(folder: str) -> None:
    service = COMPOSE[SERVICES[folder]]
    ours = container(folder)
    assert ours["image"] == default(service["image"])
    # No command: the image's own entry point.
    assert not {"command", "args"} & ours.keys()
    numbers = {port["containerPort"] for port in ours["ports"]}
    assert numbers == {int(text.rpartition(":")[2]) for text in service["ports"]}
    assert numbers == {int(n) for n in re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.M)[0].split()}
    shm = next(volume for volume in pod_spec(folder)["volumes"] if volume["name"] == "shm")
    assert mebibytes(shm["emptyDir"]["sizeLimit"]) == int(service["shm_size"].rstrip("m"))
    grace_s = pod_spec(folder)["terminationGracePeriodSeconds"]
    pause_s = int(ours["lifecycle"]["preStop"]["exec"]["command"][1])
    assert grace_s - pause_s >= int(service["stop_grace_period"].rstrip("s"))
    mounts = {mount["mountPath"]: mount.get("readOnly") for mount in ours["volumeMounts"]}
    assert mounts["/models"] and {"/tmp", "/dev/shm"} < mounts.keys()


def test_converter_is_the_one_of_compose() -> None:
    service = COMPOSE["converter"]
    ours = container("converter")
    assert ours["image"] == default(service["image"])
    names = {entry["name"] for entry in ours["env"]}
    assert names <= set(service["environment"])
    converter_parser().parse_args(ours["args"])
    mounts = {mount["mountPath"] for mount in ours["volumeMounts"]}
    assert {"/models", "/weights"} < mounts


@pytest.mark.parametrize("folder", ["cpu", "gpu", "kserve", "converter"])
def test_variables_are_known(folder: str) -> None:
    known = DOCKERFILE + (ROOT / ".env.example").read_text("utf-8")
    for entry in container(folder)["env"]:
        assert entry["name"] in known


@pytest.mark.parametrize("folder", ["cpu", "gpu", "kserve"])
def test_readiness_is_the_health_check_of_the_image(folder: str) -> None:
    ours = container(folder)
    health_check = in_dockerfile("gpu" if folder == "gpu" else "cpu", "CMD")
    for probe in (ours["startupProbe"], ours["readinessProbe"]):
        command = probe["exec"]["command"]
        assert command[: len(health_check)] == health_check
        options = build_parser().parse_args(command[1:])
        # Its own end comes first: it says why, and a killed one does not.
        assert probe["timeoutSeconds"] > options.timeout
        assert options.url == ("localhost:9000" if folder == "kserve" else "localhost:8001")


@pytest.mark.parametrize("folder", ["cpu", "gpu", "kserve"])
def test_liveness_leaves_mending_to_the_supervisor(folder: str) -> None:
    probe = container(folder)["livenessProbe"]
    assert probe["httpGet"]["path"] == "/v2/health/live"
    assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) > START_TIMEOUT_S


def test_kserve_starts_the_same_server_on_its_own_ports() -> None:
    ours = container("kserve")
    assert ours["command"] == in_dockerfile("cpu", "ENTRYPOINT")
    options = build_parser().parse_args([*ours["command"][1:], *ours["args"]])
    runtime = manifest("kserve", "ServingRuntime")
    service = manifest("kserve", "InferenceService")["spec"]["predictor"]["model"]
    assert service["ports"][0]["containerPort"] == options.grpc_port
    assert ours["livenessProbe"]["httpGet"]["port"] == options.http_port
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(options.metrics_port)
    assert service["runtime"] == runtime["metadata"]["name"]
    assert service["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = [(one["name"], one["version"]) for one in runtime["spec"]["supportedModelFormats"]]
    assert tuple(service["modelFormat"].values()) in formats
    claim = manifest("kserve", "PersistentVolumeClaim")["metadata"]["name"]
    assert service["storageUri"] == f"pvc://{claim}"


@pytest.mark.parametrize("folder", ["cpu", "gpu", "kserve", "converter", "loader"])
def test_pods_are_hardened(folder: str) -> None:
    """As the "restricted" level that the namespace enforces asks for it."""
    if folder == "loader":
        pod = read(DEPLOY / "storage" / "loader.yaml")[0]["spec"]
    else:
        pod = pod_spec(folder)
    (only,) = pod["containers"]
    security = {**pod.get("securityContext", {}), **only["securityContext"]}
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    assert (str(security["runAsUser"]), str(security["runAsGroup"])) == user
    assert "memory" in only["resources"]["limits"]
    claimed = {"emptyDir", "persistentVolumeClaim"}
    assert all(volume.keys() - {"name"} <= claimed for volume in pod["volumes"])
    names = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in only["volumeMounts"]} == names


@pytest.mark.parametrize("folder", ["cpu", "gpu"])
def test_selectors_and_ports_meet_the_pods(folder: str) -> None:
    manifests = build(DEPLOY / folder) + build(DEPLOY / "autoscaling")
    deployment = next(one for one in manifests if one["kind"] == "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container(folder)["ports"]}
    selectors = {
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
    }
    met = set()
    for one in manifests:
        if one["kind"] in selectors:
            assert selectors[one["kind"]](one["spec"]).items() <= labels.items()
            met.add(one["kind"])
        if one["kind"] == "Service":
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
        if one["kind"] == "NetworkPolicy":
            rules = one["spec"]["ingress"]
            assert {port["port"] for rule in rules for port in rule["ports"]} == ports
        if one["kind"] == "PodMonitor":
            assert {end["port"] for end in one["spec"]["podMetricsEndpoints"]} == {"metrics"}
    assert met == selectors.keys()
    claims = {
        one["metadata"]["name"] for one in manifests if one["kind"] == "PersistentVolumeClaim"
    }
    assert claims == {pod_spec(folder)["volumes"][0]["persistentVolumeClaim"]["claimName"]}


def adapter_rule() -> dict[str, Any]:
    (values,) = read(DEPLOY / "autoscaling" / "adapter-values.yaml")
    (rule,) = values["rules"]["custom"]
    return rule


def test_autoscaler_asks_for_what_the_adapter_makes() -> None:
    spec = manifest("autoscaling", "HorizontalPodAutoscaler")["spec"]
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == adapter_rule()["name"]["as"]
    target = manifest("cpu", "Deployment")
    assert spec["scaleTargetRef"] == {
        "apiVersion": target["apiVersion"],
        "kind": target["kind"],
        "name": target["metadata"]["name"],
    }
    # Else every apply would undo what the autoscaler has chosen.
    assert "replicas" not in target["spec"]


def test_metrics_of_the_rule_are_on_the_page(server: EmbeddedServer) -> None:
    rule = adapter_rule()
    names = set(re.findall(r"nv_\w+", rule["seriesQuery"] + rule["metricsQuery"]))
    with urllib.request.urlopen(server.metrics_url, timeout=10) as page:
        text = page.read().decode()
    series = {name: set(re.findall(rf"^{name}(\{{.*?\}}) ", text, re.M)) for name in names}
    assert len(series) == 2
    queue, requests = series.values()
    # The division pairs series of the same labels.
    assert queue == requests
    assert any('model="faces"' in labels for labels in queue)
    assert re.match(rule["name"]["matches"], "nv_inference_queue_duration_us")


def test_readme_names_what_is_there() -> None:
    text = (DEPLOY / "README.md").read_text("utf-8")
    commands = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    paths = re.findall(r"\bdeploy/[\w./-]+", "\n".join(commands))
    assert len(paths) >= 8
    assert all((ROOT / path).exists() for path in paths)
    services = {
        one["metadata"]["name"] for one in build(DEPLOY / "cpu") if one["kind"] == "Service"
    }
    assert set(re.findall(r"\b([a-z-]+)\.facekit\.svc", text)) == services
    named = [line.split("#")[0].split() for line in "\n".join(commands).splitlines()]
    for words in named:
        if words[:1] == ["facekit"]:
            build_parser().parse_args(words[1:])
