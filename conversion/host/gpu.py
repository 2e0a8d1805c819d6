"""Whether the engine can give a GPU to the converter, and what the container then sees of it."""

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import requests
from docker.errors import APIError, DockerException
from docker.types import DeviceRequest

from conversion.host.checks import Finding, State
from conversion.host.compose import Settings
from conversion.tool_process import known_failure
from facekit.engines.machine import Gpu
from facekit.engines.releases import gpu_problem

_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/install-guide.html"
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-ctk")
_PROBE = (
    "import dataclasses, json; from facekit.engines.machine import probe_machine; "
    "print(json.dumps(dataclasses.asdict(probe_machine())))"
)


def has_runtime(info: Mapping[str, Any]) -> bool:
    """Return whether the NVIDIA runtime is registered with the engine."""
    return "nvidia" in (info.get("Runtimes") or {})


def check_runtime(
    info: Mapping[str, Any], which: Callable[[str], str | None] = shutil.which
) -> Finding:
    """Return whether the engine can give a GPU to a container, by what it says about itself."""
    about = "NVIDIA runtime"
    if str(info.get("DockerRootDir", "")).startswith("/var/snap/"):
        text = "Docker is installed as a snap, which the NVIDIA Container Toolkit can't serve"
        remedy = "sudo snap remove docker   # then: https://docs.docker.com/engine/install/"
        return Finding(about, State.FAILED, text, (remedy,))
    if has_runtime(info):
        return Finding(about, State.OK, "registered with Docker")
    if any(which(name) for name in _HOOKS):
        text = "the NVIDIA Container Toolkit is installed, but not registered with Docker"
        remedy = f"{_CONFIGURE}   # if the GPU is not found below"
        return Finding(about, State.WARNING, text, (remedy,))
    text = "Docker has no NVIDIA runtime, so a container can't use a GPU"
    install = f"install the NVIDIA Container Toolkit: {_TOOLKIT}"
    return Finding(about, State.FAILED, text, (install, _CONFIGURE))


def check_gpu(client: Any, settings: Settings) -> Finding:
    """Start a container with the GPU, and return what it sees there."""
    try:
        output = client.containers.run(
            settings.image,
            ["-c", _PROBE],
            entrypoint="python3",
            device_requests=[
                DeviceRequest(
                    driver="nvidia", device_ids=settings.gpu.split(","), capabilities=[["gpu"]]
                )
            ],
            remove=True,
            stderr=False,
            network_mode="none",
        )
        found = json.loads(output.decode("utf-8").splitlines()[-1])
    except (DockerException, requests.RequestException) as error:
        return _explain_start(error)
    except (ValueError, IndexError):
        text = f"{settings.image} is not the converter's image: it can't say what it sees"
        return Finding("GPU", State.FAILED, text, ("scripts/convert --build",))
    if not found["gpus"]:
        why = "; ".join(found["notes"]) or "CUDA lists none"
        remedy = f"docker run --rm --gpus all {settings.base} nvidia-smi   # says more"
        return Finding("GPU", State.FAILED, f"the container sees no GPU: {why}", (remedy,))
    names = ", ".join(f"{gpu['name']} ({gpu['compute_capability']})" for gpu in found["gpus"])
    if found["tensorrt"] is None:
        text = f"{names}, but the image has no TensorRT: {settings.base} is not a Triton image"
        remedy = "set TRITON_IMAGE in .env to one that conversion/releases.yaml lists"
        return Finding("GPU", State.FAILED, text, (remedy,))
    for each in found["gpus"]:
        if problem := gpu_problem(Gpu(**each), found["tensorrt"]):
            return Finding("GPU", State.FAILED, problem)
    return Finding("GPU", State.OK, f"{names}, TensorRT {found['tensorrt']} in the image")


def _explain_start(error: Exception) -> Finding:
    """Return why the engine could not start a container with the GPU, and what to do."""
    said = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    said = " ".join(str(said).split())
    known = known_failure("docker", said)
    if known is not None:
        cause, remedy = known
        return Finding("container", State.FAILED, f"{cause} ({said})", (remedy,))
    remedy = "journalctl --unit docker --since -5min   # says more"
    return Finding("container", State.FAILED, f"Docker can't start it: {said}", (remedy,))
