"""GMML, and a classifier of slices, on timm's vision transformer in PyTorch."""

from collections.abc import Callable, Sequence

import timm
import torch
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


def network(*, size: int, patch: int, width: int, heads: int, depth: int) -> nn.Module:
    """Return timm's, of one channel and without a head."""
    return timm.models.VisionTransformer(
        img_size=size,
        patch_size=patch,
        in_chans=1,
        num_classes=0,
        embed_dim=width,
        num_heads=heads,
        depth=depth,
    )


def gmml_step(
    image, corrupted, hidden, *, maps: Sequence[int], **settings
) -> Callable[[], float]:
    """Return a function that trains once, by AdamW, and gives the loss.

    `image` and `corrupted` are (b, s, s, 1), `hidden` (b, s, s), NumPy: they are made
    before, in a loader's time.
    """
    torch.manual_seed(0)
    images, inputs = (torch.from_numpy(x).movedim(-1, 1) for x in (image, corrupted))
    where = torch.from_numpy(hidden)[:, None].float()
    model = Reconstruction(network(**settings), maps, settings["patch"]).train()

    def loss():
        apart = (model(inputs) - images).abs() * where
        return (apart.sum((1, 2, 3)) / where.sum((1, 2, 3))).mean()

    return _step(model, loss)


def slices_step(image, label, *, classes: int, **settings) -> Callable[[], float]:
    """Return a function that trains once, by AdamW, and gives the loss.

    `image` is (b, f, s, s, 1), `label` (b,), NumPy.
    """
    torch.manual_seed(0)
    x, labels = torch.from_numpy(image).movedim(-1, 2), torch.from_numpy(label).long()
    model = Slicewise(network(**settings), x.shape[1], classes).train()
    return _step(model, lambda: F.cross_entropy(model(x), labels))


def _step(model: nn.Module, loss: Callable) -> Callable[[], float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.04)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        found = loss()
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
        return found.item()

    return step
