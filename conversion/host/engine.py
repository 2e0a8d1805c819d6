"""Reaches the Docker engine, and says in plain words why it can't be reached or used."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import docker
import requests
from docker.context import ContextAPI
from docker.errors import DockerException

from conversion.host.findings import Finding, HostError, State

# Docker 19.03: the first whose API knows device requests, which is how a GPU is asked for.
_API_MINIMUM = (1, 40)
_INSTALL = "https://docs.docker.com/engine/install/"
_PING_TIMEOUT_S = 20
# A first start with a GPU waits for the driver, a busy disk for the layers.
_TIMEOUT_S = 600


def connect(environ: Mapping[str, str] = os.environ) -> Any:
    """Return a client of the engine that the ``docker`` command would use.

    Raises:
        HostError: there is none, or this user may not use it.
    """
    address = environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        if environ.get("DOCKER_HOST"):
            _knock(address)
            client = docker.from_env(environment=dict(environ), timeout=_PING_TIMEOUT_S)
        else:
            # Rootless Docker and Docker Desktop listen elsewhere, and say so in a context.
            context = ContextAPI.get_current_context()
            address = context.Host or address
            _knock(address)
            client = docker.DockerClient(
                base_url=address, tls=context.TLSConfig or False, timeout=_PING_TIMEOUT_S
            )
        client.ping()
        client.api.timeout = _TIMEOUT_S
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        raise HostError(_unreachable(address, error)) from error
    return client


def _knock(address: str) -> None:
    """Connect to a local engine's socket, whose refusal says more than the SDK's."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(_PING_TIMEOUT_S)
            local.connect(address.removeprefix("unix://"))


def _unreachable(address: str, error: BaseException) -> Finding:
    cause = _root_cause(error)
    if isinstance(cause, PermissionError):
        text = f"your user may not use it ({address})"
        remedy: tuple[str, ...] = (
            "sudo usermod -aG docker $USER, then log in again; or run this with sudo",
        )
    elif isinstance(cause, FileNotFoundError):
        text = f"not installed, or not started: no {address}"
        remedy = ("sudo systemctl start docker", f"or install it: {_INSTALL}")
    elif isinstance(cause, ConnectionRefusedError):
        text = f"not running: nothing listens at {address}"
        remedy = ("sudo systemctl start docker", "journalctl --unit docker   # if it doesn't start")
    elif isinstance(cause, TimeoutError | requests.Timeout):
        text = f"no answer from {address} within {_PING_TIMEOUT_S} s"
        remedy = ("sudo systemctl restart docker",)
    else:
        text = f"not reachable at {address}: {cause}"
        remedy = ("docker version   # says more; DOCKER_HOST and `docker context ls` choose it",)
    return Finding("Docker", State.FAILED, text, remedy)


def _root_cause(error: BaseException) -> BaseException:
    """Return what lies under the layers of HTTP libraries; an error of the system if there is."""
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.append(current)
        # The ones that say most; a plain OSError is also what requests' errors are.
        if isinstance(
            current, FileNotFoundError | PermissionError | ConnectionRefusedError | TimeoutError
        ):
            return current
        nested = (current.__cause__, current.__context__, *current.args)
        waiting += [each for each in nested if isinstance(each, BaseException)]
    return error


def check_engine(client: Any) -> Finding:
    """Say which engine this is, and whether it is new enough and runs Linux containers."""
    version = client.version()
    text = f"{version.get('Version', '?')} on {version.get('Os', '?')} {version.get('Arch', '?')}"
    api = str(version.get("ApiVersion", "0.0"))
    if tuple(int(part) for part in api.split(".")[:2]) < _API_MINIMUM:
        return Finding(
            "Docker",
            State.FAILED,
            f"{text}: its API {api} is older than 1.40 (Docker 19.03), which knows no GPUs",
            (f"install a newer one: {_INSTALL}",),
        )
    if version.get("Os") != "linux":
        return Finding(
            "Docker",
            State.FAILED,
            f"{text}: the image is for Linux containers",
            ("switch Docker Desktop to Linux containers",),
        )
    return Finding("Docker", State.OK, text)
