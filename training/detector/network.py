# mypy: allow-subclassing-any
"""DetectNet_v2 with a narrow ResNet-18 backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facekit.contract import MODELS

INPUT_NAME = MODELS["facenet"].inputs[0].name
BBOX_NAME, COVERAGE_NAME = (tensor.name for tensor in MODELS["facenet"].outputs)
WIDTHS: tuple[int, ...] = (16, 16, 32, 64, 128)
DILATIONS: tuple[int, ...] = (2, 2, 4, 2)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual branch."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        """Make a block.

        Args:
            inputs: Channels in.
            outputs: Channels out.
            stride: Stride of the first convolution.
            dilations: Dilation of the first and of the second convolution.
        """
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, first, first, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, second, second, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        y = torch.relu(self.norm1(self.conv1(x)))
        result: Tensor = torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
        return result


class DetectNet(nn.Module):
    """Backbone of four stages, total stride 16, and the coverage and box heads."""

    def __init__(self, widths: Sequence[int] = WIDTHS, classes: int = 1) -> None:
        """Make the network.

        Args:
            widths: Channels of the first convolution and of the four stages.
            classes: Number of classes; the box head has four channels a class.
        """
        super().__init__()
        stem, one, two, three, four = widths
        self.classes = classes
        self.stem = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        self.stage1 = nn.Sequential(BasicBlock(stem, one, 2), BasicBlock(one, one))
        self.stage2 = nn.Sequential(BasicBlock(one, two, 2), BasicBlock(two, two))
        self.stage3 = nn.Sequential(BasicBlock(two, three, 2), BasicBlock(three, three))
        self.stage4 = nn.Sequential(
            BasicBlock(three, four, 1, (DILATIONS[0], DILATIONS[1])),
            BasicBlock(four, four, 1, (DILATIONS[2], DILATIONS[3])),
        )
        self.bbox = nn.Conv2d(four, 4 * classes, 1)
        self.coverage = nn.Conv2d(four, classes, 1)
        self._initialise()

    def _initialise(self) -> None:
        """Start from He weights, faces rare, and boxes of about 30 pixels."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.bbox.weight, std=0.01)
        nn.init.normal_(self.coverage.weight, std=0.01)
        for head, start in ((self.bbox, 0.45), (self.coverage, -4.0)):
            if head.bias is not None:
                nn.init.constant_(head.bias, start)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets and the coverage before its sigmoid, both float32.

        Args:
            x: float [n, 3, h, w] in 0..1, h and w multiples of 16.

        Returns:
            [n, 4 * classes, h/16, w/16] and [n, classes, h/16, w/16].
        """
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return self.bbox(x), self.coverage(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets and the coverage in 0..1; shapes as in ``logits``."""
        bbox, coverage = self.logits(x)
        return bbox, torch.sigmoid(coverage)
