"""Detect the TensorRT version and the GPUs of this machine through NVIDIA's libraries.

>>> supports("8.6", "int8"), supports("6.0", "int8")
(True, False)
"""

import ctypes
import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Newest first: an image has one, and a machine with several runs the newest.
_TENSORRT = ("libnvinfer.so", *(f"libnvinfer.so.{major}" for major in range(20, 6, -1)))
_CUDA = "libcuda.so.1"
# CUdevice_attribute of CUDA's driver API.
_CAPABILITY_MAJOR = 75
_CAPABILITY_MINOR = 76
_NAME_BYTES = 256
# A driver that takes longer never answers.
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, such as ``NVIDIA A10``, and compute capability, such as ``8.6``."""

    name: str
    compute_capability: str

    def __str__(self) -> str:
        return f"{self.name} ({self.compute_capability})"


@dataclass(frozen=True)
class Machine:
    """The machine that engines are built with and run on.

    ``tensorrt`` is its library's version, such as ``8.6.3``, or ``None``; ``gpus`` are those this
    process sees, in CUDA's order; ``architecture`` is the processor's, such as ``x86_64``;
    ``notes`` say why an installed library did not answer.
    """

    tensorrt: str | None
    gpus: tuple[Gpu, ...]
    architecture: str
    notes: tuple[str, ...] = ()


def probe_machine() -> Machine:
    """Query the libraries of TensorRT and CUDA; what is missing is ``None`` or ``()``.

    This is done in a separate process, because both stay loaded, and a library that does not fit
    the driver may end the process.
    """
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=True,
        )
        # The libraries may print lines before it.
        found = json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])
    except subprocess.TimeoutExpired:
        return _nothing(f"TensorRT and CUDA did not answer within {_TIMEOUT_S:g} s")
    except subprocess.CalledProcessError as error:
        return _nothing(f"querying TensorRT and CUDA ended with exit code {error.returncode}")
    except (OSError, ValueError, IndexError) as error:
        return _nothing(f"TensorRT and CUDA could not be queried: {error}")
    return Machine(
        tensorrt=found["tensorrt"],
        gpus=tuple(Gpu(*gpu) for gpu in found["gpus"]),
        architecture=platform.machine(),
        notes=tuple(found["notes"]),
    )


def supports(compute_capability: str, precision: str) -> bool:
    """Return whether a GPU of a compute capability, such as ``8.6``, computes in a precision.

    TensorRT builds an engine even where it does not, and then computes in FP32. Raises ValueError
    if ``precision`` is not ``int8``, ``fp16`` or ``fp32``.
    """
    major, minor = (int(part) for part in compute_capability.split("."))
    version = (major, minor)
    # "Hardware and precision" in the support matrix of TensorRT 8.6.
    if precision == "int8":
        return version == (6, 1) or major >= 7
    if precision == "fp16":
        return version in ((5, 3), (6, 0), (6, 2)) or major >= 7
    if precision == "fp32":
        return True
    raise ValueError(f"precision: expected int8, fp16 or fp32, got {precision!r}")


def version_text(number: int) -> str:
    """Return TensorRT's version from the number that its library returns.

    >>> version_text(8603), version_text(100703)
    ('8.6.3', '10.7.3')
    """
    # NvInferVersion.h: 1000 * major up to TensorRT 9, 10000 * major from 10 on.
    unit = 1000 if number < 10000 else 10000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def _nothing(note: str) -> Machine:
    return Machine(None, (), platform.machine(), (note,))


def _ask() -> dict[str, Any]:
    notes: list[str] = []
    return {"tensorrt": _tensorrt(notes), "gpus": _gpus(notes), "notes": notes}


def _tensorrt(notes: list[str]) -> str | None:
    for name in _TENSORRT:
        library = _load(name, notes)
        if library is None:
            continue
        try:
            return version_text(int(library.getInferLibVersion()))
        except AttributeError:
            notes.append(f"{name} has no getInferLibVersion")
    return None


def _gpus(notes: list[str]) -> list[tuple[str, str]]:
    cuda = _load(_CUDA, notes)
    if cuda is None:
        return []
    found = []
    count = ctypes.c_int()
    try:
        for call, arguments in (
            (cuda.cuInit, (ctypes.c_uint(0),)),
            (cuda.cuDeviceGetCount, (ctypes.byref(count),)),
        ):
            code = int(call(*arguments))
            if code != 0:
                notes.append(f"CUDA's driver answered with {_cuda_error(cuda, code)}")
                return []
        for index in range(count.value):
            device = ctypes.c_int()
            name = ctypes.create_string_buffer(_NAME_BYTES)
            capability = [ctypes.c_int(), ctypes.c_int()]
            failed = cuda.cuDeviceGet(ctypes.byref(device), index)
            failed = failed or cuda.cuDeviceGetName(name, _NAME_BYTES, device)
            for value, attribute in zip(
                capability, (_CAPABILITY_MAJOR, _CAPABILITY_MINOR), strict=True
            ):
                failed = failed or cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            if failed:
                notes.append(f"GPU {index}: CUDA's driver answered with error {failed}")
                continue
            version = f"{capability[0].value}.{capability[1].value}"
            found.append((name.value.decode("utf-8", "replace"), version))
    except AttributeError as error:
        notes.append(f"{_CUDA}: {error}")
    return found


def _load(name: str, notes: list[str]) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        # Any other message is of a library that is there but needs a missing one.
        if not str(error).startswith(f"{name}: cannot open shared object file"):
            notes.append(f"{name} cannot be loaded: {error}")
        return None


def _cuda_error(cuda: Any, code: int) -> str:
    text = ctypes.c_char_p()
    try:
        if cuda.cuGetErrorString(code, ctypes.byref(text)) == 0 and text.value is not None:
            return f"error {code}: {text.value.decode('utf-8', 'replace')}"
    except AttributeError:
        pass
    return f"error {code}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_ask()) + "\n")
