"""Whether the engine can hand a GPU to the converter, and what the container then sees of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import requests
from docker.errors import APIError, DockerException
from docker.types import DeviceRequest

from conversion.host.findings import Finding, State
from conversion.host.settings import Settings

_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/install-guide.html"
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-ctk")
_PROBE = (
    "import dataclasses, json; from facekit.engines.machine import probe_machine; "
    "print(json.dumps(dataclasses.asdict(probe_machine())))"
)


def check_runtime(
    info: dict[str, Any], which: Callable[[str], str | None] = shutil.which
) -> Finding:
    """Say whether the engine can hand a GPU to a container, as far as it can be told beforehand.

    Args:
        info: what the engine says of itself.
        which: finds a program of this machine.
    """
    root = str(info.get("DockerRootDir", ""))
    if root.startswith("/var/snap/"):
        return Finding(
            "NVIDIA runtime",
            State.FAILED,
            "Docker is installed as a snap, which the NVIDIA Container Toolkit can't serve",
            ("sudo snap remove docker   # then: https://docs.docker.com/engine/install/",),
        )
    if has_runtime(info):
        return Finding("NVIDIA runtime", State.OK, "registered with Docker")
    if any(which(name) for name in _HOOKS):
        return Finding(
            "NVIDIA runtime",
            State.WARNING,
            "the NVIDIA Container Toolkit is installed, but not registered with Docker",
            (f"{_CONFIGURE}   # if the GPU is not found below",),
        )
    return Finding(
        "NVIDIA runtime",
        State.FAILED,
        "Docker has no NVIDIA runtime, so a container can't use a GPU",
        (f"install the NVIDIA Container Toolkit: {_TOOLKIT}", _CONFIGURE),
    )


def has_runtime(info: dict[str, Any]) -> bool:
    """Whether the NVIDIA runtime is registered with the engine."""
    return "nvidia" in (info.get("Runtimes") or {})


def check_gpu(client: Any, settings: Settings) -> Finding:
    """Start a container with the GPU, and say what it sees there."""
    try:
        # Of the API, not the model: what is written on stderr would be mixed in.
        output = client.containers.run(
            settings.image,
            ["-c", _PROBE],
            entrypoint="python3",
            device_requests=gpu_request(settings.gpu),
            remove=True,
            stderr=False,
            network_mode="none",
        )
        found = json.loads(output.decode("utf-8").splitlines()[-1])
    except (DockerException, requests.RequestException) as error:
        return explain_start(error, settings)
    except (ValueError, IndexError):
        return Finding(
            "GPU",
            State.FAILED,
            f"{settings.image} can't say what it sees: it is not the converter's image",
            ("scripts/convert --build",),
        )
    tensorrt = found["tensorrt"]
    if not found["gpus"]:
        why = "; ".join(found["notes"]) or "CUDA shows it none"
        return Finding(
            "GPU",
            State.FAILED,
            f"the container sees no GPU: {why}",
            (f"docker run --rm --gpus all {settings.base} nvidia-smi   # says more",),
        )
    names = ", ".join(f"{name} ({capability})" for name, capability in map(_gpu, found["gpus"]))
    if tensorrt is None:
        return Finding(
            "GPU",
            State.FAILED,
            f"{names}, but the image has no TensorRT: {settings.base} is no Triton image",
            ("set TRITON_IMAGE in .env to one that conversion/releases.yaml lists",),
        )
    return Finding("GPU", State.OK, f"{names}, TensorRT {tensorrt} in the image")


def _gpu(found: dict[str, str]) -> tuple[str, str]:
    return found["name"], found["compute_capability"]


def gpu_request(gpu: str) -> list[DeviceRequest]:
    """Return what to ask the engine for; nothing for no GPU."""
    if not gpu:
        return []
    if gpu == "all":
        return [DeviceRequest(driver="nvidia", count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(driver="nvidia", device_ids=gpu.split(","), capabilities=[["gpu"]])]


def explain_start(error: Exception, settings: Settings) -> Finding:
    """Say in plain words why the engine could not start a container of the converter."""
    said = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    said = " ".join(str(said).split())
    for part, text, remedy in (
        (
            "could not select device driver",
            "Docker can't hand out a GPU: the NVIDIA Container Toolkit is not registered with it",
            (f"install the NVIDIA Container Toolkit: {_TOOLKIT}", _CONFIGURE),
        ),
        (
            "driver/library version mismatch",
            "the NVIDIA driver was updated, and the old one still runs",
            ("sudo reboot",),
        ),
        (
            "libnvidia-ml.so",
            "this machine has no NVIDIA driver",
            ("nvidia-smi   # must list the GPU; install the driver of your distribution",),
        ),
        (
            "unsatisfied condition",
            f"the NVIDIA driver is too old for {settings.base}",
            ("nvidia-smi   # shows its version; install the newest of your distribution",),
        ),
        (
            "unknown device",
            f"there is no GPU {settings.gpu!r}",
            ("nvidia-smi -L   # lists them; choose with --gpu or FACEKIT_GPU in .env",),
        ),
        (
            "no space left on device",
            "the disk of Docker is full",
            ("docker system df   # what takes the space",),
        ),
    ):
        if part in said:
            return Finding("container", State.FAILED, f"{text} ({said})", remedy)
    return Finding(
        "container",
        State.FAILED,
        f"Docker can't start it: {said}",
        ("journalctl --unit docker --since -5min   # says more",),
    )
