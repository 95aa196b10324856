"""The task of telling ten rotations apart in PyTorch, on the 3D U-Net's encoder."""

from collections.abc import Callable, Sequence

import torch
from peers.torch_unet import Encoder
from torch import nn
from torch.nn import functional as F

_PLANES = ((2, 3), (4, 3), (4, 2))  # of (b, channels, slices, rows, columns)
_CLASSES = 1 + 3 * len(_PLANES)


class Rotation(nn.Module):
    """(b, channels, s, s, s) to (b, 10): the mean of the bottleneck, and layers."""

    def __init__(
        self, width: int, levels: int, channels: int, hidden_sizes: Sequence[int]
    ):
        super().__init__()
        self.backbone = Encoder(width, levels, channels)
        sizes, layers = [width * 2 ** (levels - 1), *hidden_sizes], []
        for inputs, outputs in zip(sizes, hidden_sizes, strict=False):
            layers += [nn.Linear(inputs, outputs, bias=False)]
            layers += [nn.BatchNorm1d(outputs), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], _CLASSES, bias=False))

    def forward(self, x):
        return self.head(self.backbone(x)[-1].mean((2, 3, 4)))


def turned(x, labels):
    """Turn each volume of (b, channels, s, s, s) by its class."""
    each = []
    for volume, label in zip(x.split(1), labels.tolist(), strict=True):
        plane, turns = divmod(label - 1, 3)
        each.append(torch.rot90(volume, turns + 1, _PLANES[plane]) if label else volume)
    return torch.cat(each)


def train_step(
    image, *, width: int, levels: int, hidden_sizes: Sequence[int]
) -> Callable[[], float]:
    """Return a function that turns the images and trains once, by Adam.

    It gives the loss. `image` is (b, s, s, s, c), NumPy.
    """
    torch.manual_seed(0)
    x = torch.from_numpy(image).movedim(-1, 1).contiguous()
    model = Rotation(width, levels, x.shape[1], hidden_sizes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> float:
        labels = torch.randint(_CLASSES, (len(x),))
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(turned(x, labels)), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
