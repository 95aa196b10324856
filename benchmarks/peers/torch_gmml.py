"""GMML, and a classifier of slices, on timm's vision transformer in PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import peers.vision  # noqa: F401, timm imports torchvision
import timm
import torch
from ml_collections import ConfigDict
from peers.torch_step import Views, channels_first, placed, stepping, whole
from torch import nn
from torch.nn import functional as F


class Reconstruction(nn.Module):
    """Images (b, c, s, s) to images: the mean of some blocks' tokens, and a decoder."""

    def __init__(self, vit: nn.Module, maps: Sequence[int], patch: int):
        super().__init__()
        self.vit, self.at = vit, [number - 1 for number in maps]
        width = vit.embed_dim
        self.decoder = nn.Sequential(
            *(nn.Conv2d(width, width, 1), nn.GELU()),
            *(nn.Conv2d(width, width, 1), nn.GELU()),
            nn.ConvTranspose2d(width, 1, patch, patch),
        )

    def forward(self, x):
        maps = self.vit.forward_intermediates(
            x, indices=self.at, norm=True, intermediates_only=True
        )
        return self.decoder(torch.stack(maps).mean(0))


class Slicewise(nn.Module):
    """Volumes (b, f, c, s, s) to logits: the slices' class tokens, and two layers."""

    def __init__(self, vit: nn.Module, slices: int, classes: int):
        super().__init__()
        self.vit, width = vit, vit.embed_dim
        self.head = nn.Sequential(
            nn.Linear(slices * width, width), nn.GELU(), nn.Linear(width, classes)
        )

    def forward(self, x):
        return self.head(self.vit(x.flatten(0, 1)).reshape(len(x), -1))


def network(model: ConfigDict, size: int) -> nn.Module:
    """Return timm's that `config.model` is, of one channel and without a head."""
    return timm.models.VisionTransformer(
        img_size=size,
        patch_size=model.patch,
        in_chans=1,
        num_classes=0,
        embed_dim=model.width,
        num_heads=model.heads,
        depth=model.depth,
    )


def gmml(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once on what is hidden, and gives the loss."""
    torch.manual_seed(0)
    images, inputs = (channels_first(views[name]) for name in ("image", "corrupted"))
    where, model = placed(views["hidden"])[:, None].float(), config.model
    model = Reconstruction(network(model, images.shape[-1]), model.maps, model.patch)

    def loss():
        apart = (model(inputs) - images).abs() * where
        return (apart.sum((1, 2, 3)) / where.sum((1, 2, 3))).mean()

    return stepping(model, loss, optimizer)


def slices(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains a classifier of slices once, and gives the loss."""
    torch.manual_seed(0)
    x = channels_first(views["image"], batch_axes=2)
    label = whole(views["label"])
    vit = network(config.model.of, x.shape[-1])
    model = Slicewise(vit, x.shape[1], config.method.classes)
    return stepping(model, lambda: F.cross_entropy(model(x), label), optimizer)
