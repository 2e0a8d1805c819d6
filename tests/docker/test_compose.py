"""docker-compose.yml as Compose itself reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker import engine
from tests.docker.engine import ROOT

SERVERS = ("triton-server", "triton-cpu")


def read(settings: Path) -> dict[str, Any]:
    command = [*engine.compose_command(), "--env-file", str(settings)]
    # v2 leaves out the services of profiles that are not asked for.
    names = ("cpu", "convert", "notebook", "store")
    profiles = [word for name in names for word in ("--profile", name)]
    text = engine.output_of([*command, "--file", "docker-compose.yml", *profiles, "config"])
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def without_empty(service: dict[str, Any]) -> dict[str, Any]:
    """A service but for the variables that say nothing: empty, or not set at all."""
    given = service.get("environment", {})
    return {**service, "environment": {key: value for key, value in given.items() if value}}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services as Compose itself reads them, without anybody's .env."""
    return read(engine.NO_SETTINGS)


def test_compose_file_is_valid_for_the_compose_at_hand(services: dict[str, Any]) -> None:
    assert set(services) == {"converter", "converter-cpu", *SERVERS, "jupyter-demo", "redis"}


def test_env_example_as_it_is_changes_nothing(services: dict[str, Any]) -> None:
    copied = read(ROOT / ".env.example")
    for name, service in services.items():
        assert without_empty(copied[name]) == without_empty(service)


@pytest.mark.parametrize("name", ["converter", *SERVERS, "jupyter-demo", "redis"])
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
