"""A 3D U-Net in PyTorch: what the JAX one is measured and checked against.

Its parameters are called as those of `models/unet.py` and `models/unet_decoder.py`, with
PyTorch's words for the last part.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ml_collections import ConfigDict
from peers.torch_step import Views, channels_first, stepping, whole
from torch import nn
from torch.nn import functional as F


class ConvNorm(nn.Conv3d):
    """A convolution 3 wide, its batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x):
        return self.norm(super().forward(x)).relu()


class Level(nn.Module):
    """Two convolutions."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class Encoder(nn.ModuleDict):
    """(b, channels, slices, rows, columns) to the maps of all levels, finest first.

    An odd size is rounded up.
    """

    def __init__(self, width: int, levels: int, channels: int):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        for level, (inputs, features) in enumerate(
            zip([channels, *widths], widths, strict=False)
        ):
            self[f"level{level}"] = Level(inputs, features)

    def forward(self, x):
        maps = []
        for level in self.values():
            x = level(F.max_pool3d(x, 2, ceil_mode=True) if maps else x)
            maps.append(x)
        return maps


class UNet(nn.Module):
    """(b, channels, slices, rows, columns) to (b, outputs, slices, rows, columns).

    What is rounded up on the way down is cut on the way up.
    """

    def __init__(self, width: int, levels: int, channels: int, outputs: int):
        super().__init__()
        self.backbone = Encoder(width, levels, channels)
        self.head = nn.ModuleDict({"output0": nn.Conv3d(width, outputs, 1)})
        for i, level in enumerate(reversed(range(levels - 1))):
            features = width * 2**level
            self.head[f"up{i}"] = nn.ConvTranspose3d(2 * features, features, 2, 2)
            self.head[f"level{i}"] = Level(2 * features, features)

    def forward(self, x):
        *maps, x = self.backbone(x)
        for i, skip in enumerate(reversed(maps)):
            depth, rows, columns = skip.shape[2:]
            x = self.head[f"up{i}"](x)[:, :, :depth, :rows, :columns]
            x = self.head[f"level{i}"](torch.cat([skip, x], 1))
        return self.head["output0"](x)


def dice_and_cross_entropy(logits, labels):
    """Return the mean of cross-entropy and of 1 - Dice without the background."""
    p = logits.softmax(1)
    y = torch.zeros_like(p).scatter_(1, labels[:, None], 1)
    shared, whole = ((a.sum((2, 3, 4)))[:, 1:] for a in (p * y, p + y))
    dice = (2 * shared + 1e-5) / (whole + 1e-5)
    return (1 - dice).mean() + F.cross_entropy(logits, labels)


def train_step(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains a U-Net of three classes once, and gives the loss."""
    torch.manual_seed(0)
    x, labels = channels_first(views["image"]), whole(views["mask"])
    model = UNet(config.model.width, config.model.levels, 1, 3)
    return stepping(model, lambda: dice_and_cross_entropy(model(x), labels), optimizer)
