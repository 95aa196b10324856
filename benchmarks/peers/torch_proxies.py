"""Taleb's proxy tasks in PyTorch, on the 3D U-Net's encoder, on patches already cut."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ml_collections import ConfigDict
from peers.torch_step import Views, channels_first, stepping, whole
from peers.torch_unet import Encoder
from torch import nn
from torch.nn import functional as F


class Pooled(nn.Module):
    """(b, 1, s, s, s) to (b, f): the mean of the bottleneck."""

    def __init__(self, model: ConfigDict):
        super().__init__()
        self.encoder = Encoder(model.width, model.levels, 1)
        self.width = model.width * 2 ** (model.levels - 1)

    def forward(self, x):
        return self.encoder(x)[-1].mean((2, 3, 4))


def classification(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any], *, classes: int
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once to tell `classes` apart, and gives the loss.

    Each example has p images, (b, p, s, s, s, 1), whose vectors are put together.
    """
    torch.manual_seed(0)
    images, label = views["images"], whole(views["label"])
    x = channels_first(images.reshape(-1, *images.shape[2:]))
    encoder = Pooled(config.model)
    sizes, layers = [images.shape[1] * encoder.width], []
    for size in config.method.hidden_sizes:
        layers += [nn.Linear(sizes[-1], size, bias=False), nn.BatchNorm1d(size)]
        layers += [nn.ReLU()]
        sizes.append(size)
    head = nn.Sequential(*layers, nn.Linear(sizes[-1], classes, bias=False))
    model = nn.ModuleList([encoder, head])

    def loss():
        return F.cross_entropy(head(encoder(x).reshape(len(label), -1)), label)

    return stepping(model, loss, optimizer)


def rotation(views, config, optimizer):
    return classification(views, config, optimizer, classes=10)


def jigsaw(views, config, optimizer):
    return classification(views, config, optimizer, classes=config.method.orders)


def relative_patch_location(views, config, optimizer):
    return classification(views, config, optimizer, classes=26)


def exemplar(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once on triplets, and gives the loss."""
    torch.manual_seed(0)
    x = torch.cat([channels_first(views[name]) for name in ("first", "second")])
    encoder = Pooled(config.model)
    head = nn.Linear(encoder.width, config.method.output_size)
    model = nn.Sequential(encoder, head, nn.Sigmoid())

    def loss():
        anchor, positive = model(x).chunk(2)
        near = (anchor - positive).square().mean(1)
        far = (anchor - anchor.roll(-1, 0)).square().mean(1)
        return F.relu(near - far + config.method.margin).mean()

    return stepping(model, loss, optimizer)


class Predictive(nn.Module):
    """Patches (b, rows, places, s, s, s, 1) to what their rows foretell, and are."""

    def __init__(self, config: ConfigDict):
        super().__init__()
        method, self.encoder = config.method, Pooled(config.model)
        self.coder = nn.Linear(self.encoder.width, method.code_size)
        self.reader = nn.GRU(method.code_size, method.context_size, batch_first=True)
        self.predictors = nn.ModuleList(
            nn.Linear(method.context_size, method.code_size)
            for _ in range(method.steps)
        )

    def forward(self, x, grid: tuple[int, int, int]):
        count, rows, places = grid
        codes = self.coder(self.encoder(x)).reshape(count, rows, places, -1)
        down = codes.transpose(1, 2).reshape(count * places, rows, -1)
        context = self.reader(down)[0].reshape(count, places, rows, -1).transpose(1, 2)
        said = [
            predictor(context[:, :-step])
            for step, predictor in enumerate(self.predictors, 1)
        ]
        return said, codes


def cpc(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once, and gives InfoNCE with others' same place."""
    torch.manual_seed(0)
    images = views["images"]
    grid = images.shape[:3]
    x = channels_first(images.reshape(-1, *images.shape[3:]))
    model, own = Predictive(config), torch.arange(grid[0])

    def loss():
        said, codes = model(x, grid)
        total = 0.0
        for step, of_step in enumerate(said, 1):
            a, b = (F.normalize(y, dim=-1) for y in (of_step, codes[:, step:]))
            scores = torch.einsum("nrpd,mrpd->rpnm", a, b) / config.method.temperature
            total = total + F.cross_entropy(
                scores.flatten(0, 2), own.repeat(scores.shape[0] * scores.shape[1])
            )
        return total / len(said)

    return stepping(model, loss, optimizer)
