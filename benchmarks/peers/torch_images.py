"""SimCLR, SwAV and fine-tuning on torchvision's residual network in PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from peers.torch_step import Views, channels_first, stepping, whole
from peers.vision import torchvision
from torch import nn
from torch.nn import functional as F

resnet = torchvision.models.resnet
_BLOCKS = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}


def network(model: ConfigDict) -> tuple[nn.Module, int]:
    """Return the encoder of grey images that `config.model` is, and its width."""
    block = _BLOCKS[model.block]
    made = resnet.ResNet(block, list(model.layers))
    made.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    made.fc = nn.Identity()
    return made, 512 * block.expansion


def projector(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
        nn.Linear(hidden, outputs, bias=False),
    )


def simclr(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once on two views, and gives the NT-Xent loss."""
    torch.manual_seed(0)
    x = torch.cat([channels_first(views[name]) for name in ("first", "second")])
    method, (encoder, width) = config.method, network(config.model)
    head = projector(width, method.hidden_size, method.output_size)
    model = nn.Sequential(encoder, head, nn.BatchNorm1d(method.output_size))
    positive = torch.arange(len(x)).roll(len(x) // 2)

    def loss():
        z = F.normalize(model(x))
        scores = z @ z.T / method.temperature
        return F.cross_entropy(scores.fill_diagonal_(-torch.inf), positive)

    return stepping(model, loss, optimizer)


class SwAV(nn.Module):
    """Crops by their kind, (v b, 1, s, s) each, to cosines with prototypes (v, b, k)."""

    def __init__(self, config: ConfigDict):
        super().__init__()
        method = config.method
        self.encoder, width = network(config.model)
        self.head = projector(width, method.hidden_size, method.output_size)
        self.prototypes = nn.Linear(method.output_size, method.prototypes, bias=False)

    def forward(self, kinds, count: int):
        features = torch.cat([self.encoder(x) for x in kinds])
        scores = self.prototypes(F.normalize(self.head(features)))
        return scores.reshape(-1, count, scores.shape[-1])

    @torch.no_grad()
    def bring_to_length_1(self):
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight))


@torch.no_grad()
def assigned(scores, epsilon: float, iterations: int):
    """Return codes (b, k) by Sinkhorn's iterations."""
    q = torch.exp(scores / epsilon)
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
    return q


def swav(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once on crops of two sizes, and gives the loss."""
    torch.manual_seed(0)
    kinds = [views["assigned"], views["small"]]
    kinds = [np.moveaxis(x, 1, 0) for x in kinds]
    kinds = [channels_first(x.reshape(-1, *x.shape[2:])) for x in kinds]
    method, model = config.method, SwAV(config)
    codes_of, count = method.crops.assigned, len(views["assigned"])

    def loss():
        scores = model(kinds, count)
        log_p = (scores / method.temperature).log_softmax(-1)
        total = 0.0
        for i in range(codes_of):
            codes = assigned(scores[i], method.epsilon, method.iterations)
            others = [p for j, p in enumerate(log_p) if j != i]
            total = total - (codes[None] * torch.stack(others)).sum(-1).mean()
        return total / codes_of

    return stepping(model, loss, optimizer, after=model.bring_to_length_1)


def supervised(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains a classifier once, and gives the cross-entropy."""
    torch.manual_seed(0)
    x, label = channels_first(views["image"]), whole(views["label"])
    encoder, width = network(config.model)
    model = nn.Sequential(encoder, nn.Linear(width, config.method.classes))
    return stepping(model, lambda: F.cross_entropy(model(x), label), optimizer)
