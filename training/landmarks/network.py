# mypy: allow-subclassing-any
"""A small encoder and decoder that end in one map a point, and their soft-argmax."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facekit.contract import CROP_SIDE, MODELS

INPUT_NAME = MODELS["fpenet"].inputs[0].name
MAPS_NAME, POINTS_NAME, PEAKS_NAME = (tensor.name for tensor in MODELS["fpenet"].outputs)
CELL = 4
"""Crop pixels that a cell of the maps is wide."""
MAP_MARGIN = 2
"""Cells by which the maps reach past each edge of the crop: a tight box cuts off chin or jaw."""
INNER_SIZE = CROP_SIDE // CELL
MAP_SIZE = INNER_SIZE + 2 * MAP_MARGIN


def interpolation_matrix(small: int, large: int) -> NDArray[np.float32]:
    """Return the cubic interpolation of ``small`` samples at ``large`` pixel centers.

    It is float32 [large, small]; rows sum to 1; outer samples are repeated past the ends.
    """
    matrix = np.zeros((large, small))
    places = (np.arange(large) + 0.5) * small / large - 0.5
    for row, place in enumerate(places):
        base = int(np.floor(place))
        for column in range(base - 1, base + 3):
            distance = abs(place - column)
            if distance < 1:
                weight = 1.5 * distance**3 - 2.5 * distance**2 + 1
            else:
                weight = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
            matrix[row, min(max(column, 0), small - 1)] += weight
    return matrix.astype(np.float32)


def map_places() -> Tensor:
    """Return where the columns of a map lie in the 80-pixel crop, float32 [24], -6.5 to 85.5."""
    return (torch.arange(MAP_SIZE, dtype=torch.float32) - MAP_MARGIN + 0.5) * CELL - 0.5


class Unit(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        """Make a unit with ``inputs`` channels in and ``outputs`` channels out."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        return torch.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, channels: int) -> None:
        """Make a block of ``channels`` channels."""
        super().__init__()
        self.first = Unit(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [n, channels, h, w] to the same shape."""
        return torch.relu(x + self.norm(self.conv(self.first(x))))


class LandmarkNet(nn.Module):
    """Crop in, point maps and points out.

    The decoder works on maps that reach past the crop, so that a point outside it can be found.
    """

    def __init__(self, points: int = 68, width: int = 32) -> None:
        """Make the network; ``width`` channels at a quarter of the crop, 2 and 4 times below."""
        super().__init__()
        half = width // 2
        self.stem = nn.Sequential(Unit(1, half, 5, 2), Unit(half, half))
        self.down20 = nn.Sequential(Unit(half, width, 3, 2), Residual(width))
        self.down10 = nn.Sequential(Unit(width, 2 * width, 3, 2), *_residuals(2 * width))
        self.down5 = nn.Sequential(Unit(2 * width, 4 * width, 3, 2), *_residuals(4 * width))
        self.side10 = nn.Conv2d(4 * width, 2 * width, 1, bias=False)
        self.up10 = Residual(2 * width)
        self.side20 = nn.Conv2d(2 * width, width, 1, bias=False)
        self.up20 = Unit(width, 2 * width)
        self.maps = nn.Conv2d(2 * width, points, 1)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        matrix = torch.from_numpy(interpolation_matrix(INNER_SIZE, CROP_SIDE))
        self.register_buffer("down_matrix", matrix, persistent=False)
        self.register_buffer("across_matrix", matrix.T.contiguous(), persistent=False)
        places = map_places()
        grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)
        self.register_buffer("grid", grid.reshape(-1, 2), persistent=False)

    def small_maps(self, crops: Tensor) -> Tensor:
        """Return the logit maps [n, points, 24, 24] of crops [n, 1, 80, 80]."""
        x = self.stem(crops * (1.0 / 64.0) - 2.0)
        at20 = self.down20(x)
        at10 = self.down10(at20)
        at5 = self.down5(at10)
        at10 = self.up10(_widen(at10 + self.grow(self.side10(at5)), MAP_MARGIN // 2))
        at20 = self.up20(_widen(at20, MAP_MARGIN) + self.grow(self.side20(at10)))
        with torch.autocast(crops.device.type, enabled=False):
            maps: Tensor = self.maps(at20.float())
        return maps

    def locate(self, likely: Tensor) -> Tensor:
        """Return the mean places of softmax maps [n, points, 576]: [n, points, 2], crop pixels."""
        return torch.matmul(likely, self.get_buffer("grid"))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the points in crops, float [n, 1, 80, 80], gray 0..255.

        Returns:
            Logit maps [n, points, 80, 80], interpolated from the part of the network's maps inside
            the crop; points [n, points, 2], x and y in crop pixels, -6.5 to 85.5; the largest
            value of each point's softmax map [n, points], a crop pixel's share of its cell.
        """
        maps = self.small_maps(crops)
        inside = maps[:, :, MAP_MARGIN:-MAP_MARGIN, MAP_MARGIN:-MAP_MARGIN]
        down, across = self.get_buffer("down_matrix"), self.get_buffer("across_matrix")
        likely = torch.softmax(maps.flatten(2), dim=-1)
        large = torch.matmul(down, torch.matmul(inside, across))
        return large, self.locate(likely), likely.amax(dim=-1) / CELL**2


def _residuals(channels: int) -> tuple[Residual, Residual]:
    return Residual(channels), Residual(channels)


def _widen(maps: Tensor, margin: int) -> Tensor:
    return nn.functional.pad(maps, (margin,) * 4)
