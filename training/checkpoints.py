"""Checkpoints, and averaged weights."""

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facekit.errors import DataError, reading, writing
from facekit.files import write_whole

CHECKPOINT = "checkpoint.pt"
TLT_SUFFIXES = (".hdf5", ".tlt", ".etlt")
"""Files of NVIDIA's trainer: Keras weights, and encrypted networks."""


class AveragedModel:
    """An exponential moving average of a model's weights and batch statistics."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's weights; once warmed up, a step keeps ``decay`` of the average."""
        self.model = copy.deepcopy(model).eval()
        self.decay = decay
        self.updates = 0

    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        source = model.state_dict()
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(source[name].to(value.dtype), 1.0 - decay)
                else:
                    value.copy_(source[name])


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill or a full disk leaves either the old one or the new one.

    Raises DataError if the file can't be written.
    """
    # Through memory: of a file, torch reports its own failures in place of the system's.
    content = io.BytesIO()
    torch.save(dict(state), content)
    with writing(path):
        write_whole(path, content.getvalue())


def load_checkpoint(path: Path, resuming: bool = False) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote; where ``resuming``, errors say how to begin again.

    Raises DataError if the file is missing, damaged, or something else.
    """
    reason = "is not a checkpoint of this kit, or a damaged one"
    if path.suffix.lower() in TLT_SUFFIXES:
        reason = (
            "is not a checkpoint of this kit: files of TLT can't be read; name a .pt file that "
            "'train', 'prune' or 'pretrained' wrote, or an ONNX file that 'export' wrote"
        )
    elif resuming:
        reason += "; remove it to begin again"
    with reading(path):
        content = path.read_bytes()
    try:
        # Of a truncated file, torch reports that it can't be read.
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, with advice that would run the file
        raise DataError(path, reason) from error
    if not isinstance(state, dict):
        raise DataError(path, reason)
    return state
