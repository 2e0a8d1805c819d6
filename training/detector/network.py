# mypy: allow-subclassing-any
"""DetectNet_v2: a ResNet of total stride 16 with a coverage head and a box head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from facekit.contract import MODELS

INPUT_NAME = MODELS["facenet"].inputs[0].name
BBOX_NAME, COVERAGE_NAME = (tensor.name for tensor in MODELS["facenet"].outputs)
RESNET_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Basic blocks of each stage by the number of layers (He et al., Deep Residual Learning)."""
RESNET_CHANNELS: tuple[int, ...] = (64, 64, 128, 256, 512)
"""Channels of the first convolution and of the four stages of a ResNet of full width."""
STAGE_STRIDES: tuple[int, ...] = (2, 2, 2, 1)
"""DetectNet_v2 keeps the last stage at stride 16 and has strides in place of the pooling."""
_SAFE_CHANNELS = 16
"""Least input channels at which a strided ``Projection`` can be left to the library, and what those
of a dilated ``Convolution`` must be a multiple of."""


@dataclass(frozen=True)
class StageLayout:
    """One stage of blocks.

    All blocks give ``outputs`` channels, so that they can be added; ``inners`` are those between
    the two convolutions, one number a block; ``stride`` is of the first block; ``dilations`` are of
    each of the stage's convolutions, two a block.
    """

    outputs: int
    inners: tuple[int, ...]
    stride: int
    dilations: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The graph of a DetectNet_v2, whole or pruned: all that is needed to build it.

    ``stem`` is the channels of the first convolution; the box head has four channels a class.
    """

    stem: int
    stages: tuple[StageLayout, ...]
    classes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as plain numbers and lists, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Layout:
        """Return the layout that ``to_dict`` gave these values of."""
        stages = tuple(
            StageLayout(s["outputs"], tuple(s["inners"]), s["stride"], tuple(s["dilations"]))
            for s in values["stages"]
        )
        return cls(values["stem"], stages, values["classes"])


def resnet_layout(
    layers: int, classes: int, channels: Sequence[int] = RESNET_CHANNELS, dilate: bool = False
) -> Layout:
    """Return the layout of an unpruned network of 10, 18 or 34 layers.

    ``channels`` are those of the first convolution and of the four stages. ``dilate`` dilates the
    convolutions of the last stage (2, 2, 4, 2, ...), so that a narrow network sees as far as a face
    of the frame's height reaches. Raises ValueError if there is no such ResNet.
    """
    if layers not in RESNET_BLOCKS:
        raise ValueError(f"no ResNet of {layers} layers here, only {sorted(RESNET_BLOCKS)}")
    stem, *outputs = channels
    blocks = RESNET_BLOCKS[layers]
    stages = []
    for width, count, stride in zip(outputs, blocks, STAGE_STRIDES, strict=True):
        stages.append(StageLayout(width, (width,) * count, stride, (1,) * (2 * count)))
    if dilate:
        dilations = ((2, 2, 4, 2) + (2,) * (2 * count))[: 2 * count]
        stages[-1] = replace(stages[-1], dilations=dilations)
    return Layout(stem, tuple(stages), classes)


class Projection(nn.Conv2d):
    """The 1x1 convolution of a residual branch.

    For narrow inputs it drops the pixels that its stride passes over by itself while it is
    trained: the gradient of a strided 1x1 convolution of fewer than 16 channels, channels last in
    memory and on the CPU, is computed beyond the end of a buffer and ends the process (oneDNN
    issue 6035; seen with PyTorch 2.13 in float32 and in bfloat16).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Make the convolution, without a bias."""
        super().__init__(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        if self.training and self.in_channels < _SAFE_CHANNELS:
            down, across = self.stride
            return nn.functional.conv2d(x[:, :, ::down, ::across], self.weight)
        result: Tensor = super().forward(x)
        return result


class Convolution(nn.Conv2d):
    """A 3x3 convolution of a block.

    While it is trained on the CPU, a dilated one whose input channels are not a multiple of 16 is
    computed in float32: in bfloat16, channels last in memory, the gradient of its weights comes out
    wrong or as nan (seen with PyTorch 2.13).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        """Make the convolution, without a bias."""
        super().__init__(inputs, outputs, 3, stride, dilation, dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        unsafe = max(self.dilation) > 1 and self.in_channels % _SAFE_CHANNELS != 0
        if self.training and unsafe and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a residual branch."""

    def __init__(
        self,
        inputs: int,
        inner: int,
        outputs: int,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
        project: bool = False,
    ) -> None:
        """Make a block of ``inputs`` channels in, ``inner`` between, and ``outputs`` channels out.

        ``stride`` is the first convolution's; ``project`` puts a 1x1 one on the residual branch.
        """
        super().__init__()
        first, second = dilations
        self.conv1 = Convolution(inputs, inner, stride, first)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = Convolution(inner, outputs, 1, second)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if project:
            self.shortcut = nn.Sequential(
                Projection(inputs, outputs, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        y = torch.relu(self.norm1(self.conv1(x)))
        result: Tensor = torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
        return result


class DetectNet(nn.Module):
    """Backbone of four stages, total stride 16, and the coverage and box heads."""

    def __init__(self, layout: Layout) -> None:
        """Make the network of a layout, with weights to train from."""
        super().__init__()
        self.layout = layout
        self.classes = layout.classes
        self.stem = nn.Conv2d(3, layout.stem, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(layout.stem)
        inputs = layout.stem
        for number, stage in enumerate(layout.stages, 1):
            # Only a stage's first block changes stride or channels, so it alone has a projection.
            blocks = [
                BasicBlock(
                    stage.outputs if index else inputs,
                    inner,
                    stage.outputs,
                    1 if index else stage.stride,
                    (stage.dilations[2 * index], stage.dilations[2 * index + 1]),
                    project=index == 0,
                )
                for index, inner in enumerate(stage.inners)
            ]
            self.add_module(f"stage{number}", nn.Sequential(*blocks))
            inputs = stage.outputs
        self.bbox = nn.Conv2d(inputs, 4 * self.classes, 1)
        self.coverage = nn.Conv2d(inputs, self.classes, 1)
        self._initialize()

    @property
    def stages(self) -> list[nn.Sequential]:
        """The stages in order."""
        return [self.get_submodule(f"stage{k + 1}") for k in range(len(self.layout.stages))]

    def _initialize(self) -> None:
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

        From float [n, 3, h, w] in 0..1, h and w multiples of 16, they are
        [n, 4 * classes, h/16, w/16] and [n, classes, h/16, w/16].
        """
        x = torch.relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return self.bbox(x), self.coverage(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box offsets and the coverage in 0..1; shapes as in ``logits``."""
        bbox, coverage = self.logits(x)
        return bbox, torch.sigmoid(coverage)

    def parameter_count(self) -> int:
        """Return the number of trained numbers."""
        return sum(p.numel() for p in self.parameters())
