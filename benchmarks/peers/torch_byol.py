"""BYOL on a 3D ResNet-18 in PyTorch: what the JAX one is measured and checked against.

The encoder has torchvision's parameter names (r3d_18), so that its weights are the
ones that `models/convert.py` reads.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ml_collections import ConfigDict
from peers.torch_step import Views, channels_first, stepping
from torch import nn
from torch.nn import functional as F

HIDDEN, OUTPUT = 4096, 256


def conv_norm(inputs: int, outputs: int, size, stride) -> list[nn.Module]:
    """Return a convolution padded by k // 2 and its batch norm."""
    padding = tuple(k // 2 for k in size)
    conv = nn.Conv3d(inputs, outputs, size, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm3d(outputs)]


class Block(nn.Module):
    """Two 3x3x3 convolutions around which the input is added."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        size = (3, 3, 3)
        self.conv1 = nn.Sequential(*conv_norm(inputs, outputs, size, stride), nn.ReLU())
        self.conv2 = nn.Sequential(*conv_norm(outputs, outputs, size, 1))
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                *conv_norm(inputs, outputs, (1, 1, 1), stride)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class R3D18(nn.Module):
    """(b, c, slices, rows, columns) to (b, 8 * width)."""

    def __init__(self, width: int, channels: int = 1):
        super().__init__()
        stem = conv_norm(channels, width, (3, 7, 7), (1, 2, 2))
        self.stem = nn.Sequential(*stem, nn.ReLU())
        self.layer1 = nn.Sequential(Block(width, width, 1), Block(width, width, 1))
        self.layer2 = _stage(width)
        self.layer3 = _stage(width * 2)
        self.layer4 = _stage(width * 4)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return x.mean((2, 3, 4))


def _stage(inputs: int) -> nn.Module:
    outputs = inputs * 2
    return nn.Sequential(Block(inputs, outputs, 2), Block(outputs, outputs, 1))


def mlp(inputs: int) -> nn.Module:
    """Return a projector or predictor."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, OUTPUT, bias=False),
    )


class BYOL(nn.Module):
    """The symmetrised loss of two views, (b, 1, slices, rows, columns) each."""

    def __init__(self, width: int):
        super().__init__()
        self.online = nn.Sequential(R3D18(width), mlp(8 * width))
        self.predictor = mlp(OUTPUT)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, first, second):
        views = torch.cat([first, second])
        predictions = self.predictor(self.online(views))
        with torch.no_grad():
            targets = self.target(torch.cat([second, first]))
        cosine = F.cosine_similarity(predictions, targets)
        return 2 * (2 - 2 * cosine).mean()

    @torch.no_grad()
    def move_target(self, tau: float):
        """Move the target to tau * target + (1 - tau) * online."""
        pairs = zip(self.target.parameters(), self.online.parameters(), strict=True)
        for target, online in pairs:
            target.lerp_(online, 1 - tau)


def micro_batch(width: int, shape: tuple[int, ...], batch: int) -> Callable[[], float]:
    """Return a function that runs one forward, backward and target update.

    It gives the loss on fixed random views, (batch, 1, *shape) each. Gradients are
    zeroed, no optimizer is stepped: accumulation does that once in many.
    """
    torch.manual_seed(0)
    model = BYOL(width).train()
    first, second = torch.randn(2, batch, 1, *shape)

    def step() -> float:
        model.zero_grad(set_to_none=True)
        loss = model(first, second)
        loss.backward()
        model.move_target(0.996)
        return loss.item()

    return step


def train_step(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once on two views, and gives the loss."""
    torch.manual_seed(0)
    first, second = (channels_first(views[name]) for name in ("first", "second"))
    model = BYOL(config.model.width)
    return stepping(
        model,
        lambda: model(first, second),
        optimizer,
        after=lambda: model.move_target(0.996),
    )
