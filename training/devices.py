"""Where a network is trained: the CPU or a CUDA device, and in which precision."""

from typing import Any, TypeVar, cast

import torch
from torch import nn

from facekit.errors import ConfigError

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def choose_device(name: str | None = None) -> torch.device:
    """Return a device: ``cpu``, ``cuda`` or ``cuda:1``; None is CUDA, or the CPU without one.

    Raises ConfigError if the name is unknown, or this machine has no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"no device is called {name!r}: name cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported: name cpu, cuda or cuda:1")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(f"device {name!r} is not there: torch finds {count} CUDA devices")
    return device


def half_precision(device: torch.device, enabled: bool = True) -> Any:
    """Return the context that computes in bfloat16 where the layers allow it.

    It changes nothing on a CUDA device that has no bfloat16 of its own (before Ampere).
    """
    if device.type == "cuda":
        enabled = enabled and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def place(model: ModuleT, device: torch.device) -> ModuleT:
    """Move a model to a device, channels last: the layout the convolutions are fastest in."""
    moved: ModuleT = cast(Any, model).to(device, memory_format=torch.channels_last)
    return moved
