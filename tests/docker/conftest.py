"""The images of the tests: built once, from bases that stand for those of the registries.

Run by ``scripts/test-docker``, which sees to the engine. Images stay, so that a second run is fast.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.docker import engine
from tests.docker.engine import ROOT
from tests.fakes import nvidia

_BASE = Path(__file__).parent / "base"
_DEBIAN = "facekit-test/debian:bookworm"
_NGC = "facekit-test/tritonserver:stand-in"
_CPU = "facekit-test/triton-cpu:latest"
_GPU = "facekit-test/triton-gpu:latest"
_JUPYTER = "facekit-test/jupyter-demo:latest"
_REDIS = "facekit-test/redis:stand-in"


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    """End at once where there is no engine: a skipped test would look like a passed one."""
    if engine.run(["docker", "info"]).returncode:
        pytest.exit("no Docker engine answers: run scripts/test-docker", returncode=2)


@pytest.fixture(scope="session")
def debian_image() -> str:
    """Plain Debian with Python: stands for ``python:3.11-slim-bookworm``."""
    if engine.run(["docker", "image", "inspect", _DEBIAN]).returncode:
        engine.output_of([str(_BASE / "debian.sh"), _DEBIAN])
    return _DEBIAN


@pytest.fixture(scope="session")
def cpu_image(debian_image: str) -> str:
    """The image of ``triton-cpu``, built as Compose builds it for users."""
    # The key, as a user's .env has it beside everything else: it must get into no image.
    env = {"PYTHON_IMAGE": debian_image, "FACEKIT_CPU_IMAGE": _CPU, "NGC_API_KEY": engine.KEY}
    engine.Compose(env)("--profile", "cpu", "build", "triton-cpu")
    return _CPU


@pytest.fixture(scope="session")
def ngc_image(cpu_image: str, debian_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stands for the stock Triton image: server, TensorRT's and CUDA's libraries, ``trtexec``.

    ``FAKE_TENSORRT`` (8603) and ``FAKE_GPUS`` ("NVIDIA A10:8.6") of a container tell the libraries
    what to say. Without ``FAKE_GPUS`` there is no GPU.
    """
    context = tmp_path_factory.mktemp("ngc")
    nvidia.build(context / "nvidia" / "lib")
    tools = context / "nvidia" / "tensorrt" / "bin"
    tools.mkdir(parents=True)
    shutil.copyfile(ROOT / "tests" / "fakes" / "trtexec.py", tools / "trtexec")
    (tools / "trtexec").chmod(0o755)
    shutil.copyfile(_BASE / "stock_backend.py", context / "stock_backend.py")
    return engine.build(
        _NGC,
        _BASE / "Dockerfile.ngc",
        context,
        *("--build-arg", f"CPU_IMAGE={cpu_image}", "--build-arg", f"DEBIAN_IMAGE={debian_image}"),
    )


@pytest.fixture(scope="session")
def gpu_image(ngc_image: str, debian_image: str) -> str:
    """The image of ``triton-server``, on the base that stands for the stock one."""
    # The classic builder goes through the other target first, which it finds in its cache.
    env = {"TRITON_IMAGE": ngc_image, "PYTHON_IMAGE": debian_image, "FACEKIT_GPU_IMAGE": _GPU}
    env["NGC_API_KEY"] = engine.KEY
    engine.Compose(env)("build", "triton-server")
    return _GPU


@pytest.fixture(scope="session")
def jupyter_image(debian_image: str) -> str:
    """The image of ``jupyter-demo``, built as Compose builds it for users."""
    env = {"PYTHON_IMAGE": debian_image, "FACEKIT_JUPYTER_IMAGE": _JUPYTER}
    engine.Compose({**env, "NGC_API_KEY": engine.KEY})("build", "jupyter-demo")
    return _JUPYTER


@pytest.fixture(scope="session")
def redis_image(debian_image: str) -> str:
    """Debian's Redis 7: stands for ``redis:7.2-bookworm``."""
    folder = Path(__file__).parent / "redis_base"
    arguments = ("--build-arg", f"DEBIAN_IMAGE={debian_image}")
    return engine.build(_REDIS, folder / "Dockerfile", folder, *arguments)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A portrait in color."""
    return np.asarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def photo_file(photo: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait as a file."""
    path = tmp_path_factory.mktemp("photo") / "portrait.jpg"
    Image.fromarray(photo).save(path, quality=95)
    return path
