# mypy: allow-subclassing-any
"""The layout of the open face network: narrow plain convolutions, with context of stride 32.

While it is trained, a network without classes takes one channel. Exported, its first convolution
takes three and weighs them as Rec. 601 does, so that a color photo gives what its gray one gives.
One with classes sees color. Exported, batch norms and the residual branches around single
convolutions are folded into the convolutions.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
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
CALIBRATION, CLASSES = "calibration", "classes"
"""Names in a file of weights, for the classes in their order (one without any).

Scale and shift of the score's logit, float32 [classes, 2], and the names of the classes.
"""
Calibration = NDArray[np.float32]


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


class FaceNetwork(nn.Module):
    """Backbone to stride 32, a join at stride 16, the two heads, and one of classes if any.

    Attributes:
        classes: Names of the classes that faces are told apart by.
    """

    def __init__(self, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.classes = classes
        stem, quarter, eighth, mid, deep = WIDTHS
        self.stem = Unit(3 if classes else 1, stem, 3, 2)
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
        if classes:
            self.sorter = nn.Sequential(Unit(NECK, NECK), nn.Conv2d(NECK, len(classes), 1))
        self.calibration = no_calibration(classes)
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

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the box offsets, the coverage before its sigmoid, and that of the classes.

        Of float [n, 1 or 3, h, w] in 0..1 (see the module), h and w multiples of 32, they
        are float32 [n, 4, h/16, w/16], [n, 1, h/16, w/16] and, before their softmax,
        [n, classes, h/16, w/16], None without classes.
        """
        fine = self.stage8(self.stage4(self.stem(x)))
        middle = self.stage16(fine)
        context = self.from32(self.stage32(middle))
        context = functional.interpolate(context, scale_factor=2.0, mode="nearest")
        y = self.neck(self.join(torch.cat([middle, self.from8(fine), context], dim=1)))
        z = self.sorter[0](y) if self.classes else y
        with torch.autocast(x.device.type, enabled=False):
            told = self.sorter[1](z.float()) if self.classes else None
            return self.bbox(y.float()), self.coverage(y.float()), told

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets and the coverage in 0..1, that of each class where there are any.

        They are [n, 4 * c, h/16, w/16], the same box for all classes, and [n, c, h/16, w/16]. The
        latter is calibrated where there are classes; else ``exportable`` does it.
        """
        bbox, coverage, told = self.logits(x)
        if told is not None:
            bbox = torch.cat([bbox] * len(self.classes), dim=1)
            score = torch.sigmoid(coverage) * torch.softmax(told, dim=1)
            score = score.clamp(1e-6, 1 - 1e-6)
            fitted = torch.from_numpy(self.calibration).to(x.device)[..., None, None]
            coverage = torch.log(score / (1 - score)) * fitted[:, 0] + fitted[:, 1]
        return bbox, torch.sigmoid(coverage)


def exportable(network: FaceNetwork) -> FaceNetwork:
    """Fold a trained network in place and let it take three channels; return it.

    A network without classes gets its calibration into the weights of its coverage.
    """
    network.eval()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Unit):
                module.add_module(name, child.folded())
    if not network.classes:
        first = cast(nn.Conv2d, cast(nn.Sequential, network.stem)[0])
        wide = nn.Conv2d(3, first.out_channels, 3, 2, 1)
        wide.weight.data, wide.bias = in_color(first.weight.data), first.bias
        cast(nn.Sequential, network.stem)[0] = wide
        scale, shift = network.calibration[0].tolist()
        network.coverage.weight.data.mul_(scale)
        cast(Tensor, network.coverage.bias).data.mul_(scale).add_(shift)
        network.calibration = no_calibration(())
    return network


def in_color(weight: Tensor) -> Tensor:
    """Return the weights of a first convolution of one channel as those of red, green and blue."""
    return weight * weight.new_tensor(LUMA)[None, :, None, None]


def no_calibration(classes: tuple[str, ...]) -> Calibration:
    """Return the calibration that leaves the scores as they are."""
    return np.tile(np.array([1.0, 0.0], np.float32), (max(1, len(classes)), 1))


def save_weights(path: Path, network: FaceNetwork) -> None:
    """Write the weights that are trained as a ``.npz`` file, with the calibration beside them.

    Raises:
        DataError: The file cannot be written.
    """
    arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    arrays |= {CALIBRATION: network.calibration, CLASSES: np.array(network.classes, np.str_)}
    content = io.BytesIO()
    np.savez(content, **arrays)
    with writing(path):
        write_whole(path, content.getvalue())


def load_weights(path: Path, classes: tuple[str, ...] | None = None) -> FaceNetwork:
    """Return the network of a file of ``save_weights``.

    Where ``classes`` are given, that is one to train them: what the file lacks is left as new, and
    the network starts by computing what the file's one does of gray photos.

    Raises:
        DataError: The file is missing, damaged, or of another network.
    """
    try:
        with reading(path), path.open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        calibration = arrays.pop(CALIBRATION).astype(np.float32).reshape(-1, 2)
        known = tuple(arrays.pop(CLASSES, np.array([], np.str_)).tolist())
        network = FaceNetwork(known if classes is None else classes)
        if classes is None:
            network.calibration = calibration
        elif known != classes:
            arrays = {name: each for name, each in arrays.items() if not name.startswith("sorter")}
        found = {name: torch.from_numpy(each) for name, each in arrays.items()}
        first = found["stem.conv.weight"]
        if network.classes and first.shape[1] == 1:
            found["stem.conv.weight"] = in_color(first)
        elif not network.classes:
            found["stem.conv.weight"] = first.sum(dim=1, keepdim=True)
        missing, unknown = network.load_state_dict(found, strict=False)
        if unknown or any(known == network.classes or "sorter" not in name for name in missing):
            raise ValueError("other weights")
    except (KeyError, TypeError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(path, "is not a file of this network's weights, or damaged") from error
    return network
