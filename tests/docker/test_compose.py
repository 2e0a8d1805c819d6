"""docker-compose.yml, the Dockerfiles and .env.example: valid, and of one mind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker import engine
from tests.docker.engine import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
ENV = (ROOT / ".env.example").read_text("utf-8")
DOCKERFILES = {
    name: (ROOT / name).read_text("utf-8") for name in ("Dockerfile.triton", "Dockerfile.converter")
}
SERVERS = ("triton-server", "triton-cpu")
# Whoever calls sets these; they mean the same to every program.
PROXIES = {"http_proxy", "https_proxy", "no_proxy"}


def release() -> tuple[str, str]:
    """The default Triton tag and its DALI wheel."""
    table = yaml.safe_load((ROOT / "conversion" / "releases.yaml").read_text("utf-8"))
    tag = table["default"]
    return tag, table["releases"][tag]["dali_wheel"]


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def arguments(dockerfile: str) -> dict[str, str]:
    found = re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILES[dockerfile], re.MULTILINE)
    return dict(found)


def variables() -> dict[str, str]:
    """Every variable of docker-compose.yml with its default; "" where there is none."""
    found = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE))
    for service in yaml.safe_load(COMPOSE)["services"].values():
        found.update(dict.fromkeys(service["environment"], ""))
    return found


def examples() -> dict[str, str]:
    """Every key of .env.example with the value it shows."""
    return dict(re.findall(r"^#?(\w+)=(.*)$", ENV, re.MULTILINE))


def read(settings: Path) -> dict[str, Any]:
    command = [*engine.compose_command(), "--env-file", str(settings)]
    # v2 leaves out the services of profiles that are not asked for.
    profiles = ["--profile", "cpu", "--profile", "convert"]
    text = engine.output_of([*command, "--file", "docker-compose.yml", *profiles, "config"])
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose itself reads them, without anybody's .env."""
    return read(engine.NO_SETTINGS)


def test_compose_file_is_valid_for_the_compose_at_hand(services: dict[str, Any]) -> None:
    assert set(services) == {"converter", "triton-server", "triton-cpu"}


def test_compose_file_fits_the_schema_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(ROOT / "docker-compose.yml")], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_compose_file_asks_for_no_variable_without_a_default() -> None:
    plain = re.findall(r"\$\{?\w+\}?(?!\w*:-)", re.sub(r"\$\{\w+:-[^}]*\}", "", COMPOSE))
    assert plain == []


def test_env_example_has_every_variable_and_no_other() -> None:
    assert set(examples()) == set(variables())


def test_env_example_shows_the_defaults_of_the_compose_file() -> None:
    shown = examples()
    defaults = {name: value for name, value in variables().items() if value}
    assert {name: shown[name] for name in defaults} == defaults


def test_env_example_says_what_each_key_is_for() -> None:
    blocks = re.split(r"\n\s*\n", ENV)
    keyed = [block for block in blocks if re.search(r"^#?\w+=", block, re.MULTILINE)]
    assert keyed
    assert all(re.match(r"# \S", block) for block in keyed)


def test_env_example_as_it_is_changes_nothing(services: dict[str, Any]) -> None:
    copied = read(ROOT / ".env.example")
    for name, service in services.items():
        given = copied[name].pop("environment")
        assert not [value for value in given.values() if value]
        assert copied[name] == {key: service[key] for key in service if key != "environment"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile_is_built_on_the_release_of_the_table(name: str) -> None:
    tag, _ = release()
    assert arguments(name)["TRITON_IMAGE"] == f"nvcr.io/nvidia/tritonserver:{tag}-py3"


def test_converter_has_the_dali_of_the_table() -> None:
    assert arguments("Dockerfile.converter")["DALI_VERSION"] == release()[1]


def test_compose_file_has_the_bases_of_the_dockerfiles() -> None:
    defaults = variables()
    for name in DOCKERFILES:
        known = {key: value for key, value in arguments(name).items() if key in defaults}
        assert known
        assert known == {key: defaults[key] for key in known}


def test_image_names_carry_the_version_of_the_package() -> None:
    names = [value for name, value in variables().items() if re.match(r"FACEKIT_\w+_IMAGE", name)]
    assert len(names) == 3
    assert all(name.endswith(f":{version()}") for name in names)


def test_images_are_labelled_with_the_version_of_the_package() -> None:
    label = r'org\.opencontainers\.image\.version="([^"$]+)"'
    assert re.findall(label, DOCKERFILES["Dockerfile.triton"]) == [version()] * 2
    assert arguments("Dockerfile.converter")["FACEKIT_VERSION"] == version()


@pytest.mark.parametrize("name", ["converter", *SERVERS])
def test_service_is_hardened(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["mem_limit"]
    assert not {"privileged", "cap_add", "network_mode"} & set(service)


@pytest.mark.parametrize("name", SERVERS)
def test_server_can_not_write_the_models(services: dict[str, Any], name: str) -> None:
    assert "/models" in json.dumps(services[name]["volumes"])
    for volume in services[name]["volumes"]:
        assert volume.endswith(":ro") if isinstance(volume, str) else volume["read_only"]


@pytest.mark.parametrize("name", SERVERS)
def test_server_is_not_given_the_key(services: dict[str, Any], name: str) -> None:
    assert "NGC_API_KEY" not in services[name]["environment"]
    assert not services[name].get("secrets")


def test_gpu_services_reserve_the_same_gpu(services: dict[str, Any]) -> None:
    reserved = [
        services[name]["deploy"]["resources"]["reservations"]["devices"]
        for name in ("converter", "triton-server")
    ]
    assert reserved[0] == reserved[1]
    assert [(device["driver"], device["device_ids"]) for device in reserved[0]] == [
        ("nvidia", ["0"])
    ]


def test_server_without_a_gpu_reserves_none(services: dict[str, Any]) -> None:
    assert "deploy" not in services["triton-cpu"]


def test_cpu_target_comes_before_the_gpu_base_so_that_it_is_not_fetched() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILES["Dockerfile.triton"], re.MULTILINE)
    assert stages == [("${PYTHON_IMAGE}", "cpu"), ("${TRITON_IMAGE}", "gpu")]


def test_build_context_leaves_out_everything_that_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = {rule[1:] for rule in rules if rule.startswith("!")}
    assert named == {"pyproject.toml", "README.md", "LICENSE", "facekit", "conversion"}
