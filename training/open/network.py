# mypy: allow-subclassing-any
"""The layout of the next face network: narrow plain convolutions, with context of stride 32.

While it is trained, the network takes one channel. Exported, its first convolution takes three and
weighs them as Rec. 601 does, so that a color photo gives what its gray one gives; batch norms and
the residual branches around single convolutions are folded into the convolutions.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facekit.errors import DataError, reading, writing
from facekit.files import write_whole

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601), as DALI and Pillow use them."""
WIDTHS = (16, 32, 48, 96, 128)
"""Channels at strides 2, 4, 8, 16 and 32."""
DILATIONS: tuple[tuple[int, ...], ...] = ((), (1,), (1,), (1, 2, 4))
"""Dilations of the residual units at strides 4, 8, 16 and 32.

With the wide ones a face that fills the frame is seen as a whole.
"""
NECK, NECK_DEPTH = 64, 2
"""Channels and residual units after the join at stride 16."""
CALIBRATION = "calibration"
"""Name in a file of weights: scale and shift of the coverage's logit, float32 [2]."""


class Unit(nn.Module):
    """A convolution with batch norm and ReLU; ``residual`` adds the input before the ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        residual: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.residual = residual
        padding = kernel // 2 * dilation
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        y = self.norm(self.conv(x))
        return functional.relu(y + x if self.residual else y)

    def folded(self) -> nn.Module:
        """Return the same as one convolution and a ReLU."""
        conv = cast(nn.Conv2d, nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval()))
        if self.residual:
            channels = torch.arange(conv.out_channels)
            middle = conv.kernel_size[0] // 2
            conv.weight.data[channels, channels, middle, middle] += 1.0
        return nn.Sequential(conv, nn.ReLU())


class OpenNet(nn.Module):
    """Backbone to stride 32, a join at stride 16, and the two heads."""

    def __init__(self) -> None:
        super().__init__()
        stem, quarter, eighth, mid, deep = WIDTHS
        self.stem = Unit(1, stem, 3, 2)
        self.stage4 = self._stage(stem, quarter, DILATIONS[0])
        self.stage8 = self._stage(quarter, eighth, DILATIONS[1])
        self.stage16 = self._stage(eighth, mid, DILATIONS[2])
        self.stage32 = self._stage(mid, deep, DILATIONS[3])
        self.from8 = Unit(eighth, eighth, 3, 2)
        self.from32 = Unit(deep, NECK, 1)
        self.join = Unit(eighth + mid + NECK, NECK, 1)
        units = (Unit(NECK, NECK, residual=True) for _ in range(NECK_DEPTH))
        self.neck = nn.Sequential(*units)
        self.bbox = nn.Conv2d(NECK, 4, 1)
        self.coverage = nn.Conv2d(NECK, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if isinstance(module, Unit) and module.residual:
                nn.init.constant_(module.norm.weight, 0.5)
        for head, start in ((self.bbox, 0.45), (self.coverage, -4.0)):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(cast(Tensor, head.bias), start)

    def _stage(self, inputs: int, outputs: int, dilations: tuple[int, ...]) -> nn.Sequential:
        units = (Unit(outputs, outputs, residual=True, dilation=each) for each in dilations)
        return nn.Sequential(Unit(inputs, outputs, 3, 2), *units)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets and the coverage before its sigmoid, both float32.

        Of float [n, 1, h, w] in 0..1 (three channels once exported), h and w multiples of 32, they
        are [n, 4, h/16, w/16] and [n, 1, h/16, w/16].
        """
        fine = self.stage8(self.stage4(self.stem(x)))
        middle = self.stage16(fine)
        context = self.from32(self.stage32(middle))
        context = functional.interpolate(context, scale_factor=2.0, mode="nearest")
        y = self.neck(self.join(torch.cat([middle, self.from8(fine), context], dim=1)))
        with torch.autocast(x.device.type, enabled=False):
            return self.bbox(y.float()), self.coverage(y.float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets and the coverage in 0..1; shapes as in ``logits``."""
        bbox, coverage = self.logits(x)
        return bbox, torch.sigmoid(coverage)


def exportable(network: OpenNet) -> OpenNet:
    """Fold a trained network in place and let it take three channels; return it."""
    network.eval()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Unit):
                module.add_module(name, child.folded())
    first = cast(nn.Conv2d, cast(nn.Sequential, network.stem)[0])
    weight = first.weight.data * first.weight.new_tensor(LUMA)[None, :, None, None]
    wide = nn.Conv2d(3, first.out_channels, 3, 2, 1)
    wide.weight.data, wide.bias = weight, first.bias
    cast(nn.Sequential, network.stem)[0] = wide
    return network


def calibrate(network: OpenNet, scale: float, shift: float) -> None:
    """Scale and shift the coverage's logit in place, in the weights of its head."""
    with torch.no_grad():
        network.coverage.weight.mul_(scale)
        cast(Tensor, network.coverage.bias).mul_(scale).add_(shift)


def save_weights(path: Path, network: OpenNet, calibration: tuple[float, float]) -> None:
    """Write the weights that are trained as a ``.npz`` file, with the calibration beside them.

    Raises:
        DataError: The file cannot be written.
    """
    arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    content = io.BytesIO()
    np.savez(content, **arrays, **{CALIBRATION: np.array(calibration, np.float32)})
    with writing(path):
        write_whole(path, content.getvalue())


def load_weights(path: Path) -> tuple[OpenNet, tuple[float, float]]:
    """Return the network of a file of ``save_weights``, and its calibration, not yet applied.

    Raises:
        DataError: The file is missing, damaged, or of another network.
    """
    network = OpenNet()
    try:
        with reading(path), path.open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        scale, shift = arrays.pop(CALIBRATION).tolist()
        network.load_state_dict({name: torch.from_numpy(each) for name, each in arrays.items()})
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(path, "is not a file of this network's weights, or damaged") from error
    return network, (scale, shift)
