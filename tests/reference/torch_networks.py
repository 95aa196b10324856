"""Writes torch_r3d18.npz, torch_resnet2d.npz, torch_unet.npz and torch_densenet.npz.

    pip install -e '.[bench]' torchvision && python tests/reference/torch_networks.py

Each is of a tiny network and holds a state dict ("tensors/..."), under torchvision's
names unless it is of a U-Net, an input, and the features (a U-Net's logits, channels
second) in eval and train mode, and in the latter the gradient of sum(sin(features)) for
the input. The 3D networks are benchmarks/peers/'s, the DenseNet is torchvision's; the 2D
ResNet is below.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import DenseNet

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "benchmarks"))

from peers.torch_byol import R3D18
from peers.torch_unet import UNet


class Bottleneck(nn.Module):
    """1, 3, 1 with the stride in the middle, four times as many channels at the end."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = nn.Sequential(
            nn.Conv2d(inputs, 4 * width, 1, stride, bias=False),
            nn.BatchNorm2d(4 * width),
        )

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class ResNet2D(nn.Module):
    """ResNet-50 cut down to two stages of one block."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(width, width, 1))
        self.layer2 = nn.Sequential(Bottleneck(4 * width, 2 * width, 2))
        self.fc = nn.Linear(8 * width, 2)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return self.layer2(self.layer1(x)).mean((2, 3))


def record(model: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the arrays of one network; its statistics are drawn, not 0 and 1."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.ndim == 1:
            tensor.uniform_(-0.5, 1.5)
    out = {f"tensors/{k}": v.numpy().copy() for k, v in model.state_dict().items()}
    out["x"] = _channels_last(x)
    with torch.no_grad():
        out["eval/features"] = model.eval()(x).numpy()
    x.requires_grad_()
    features = model.train()(x)
    features.sin().sum().backward()
    out["train/features"] = features.detach().numpy()
    out["train/gradient"] = _channels_last(x.grad)
    return out


def _channels_last(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


if __name__ == "__main__":
    torch.manual_seed(0)
    # odd sizes: an uneven padding would show
    volumes = record(R3D18(width=2, channels=3), torch.randn(2, 3, 5, 25, 22))
    np.savez_compressed(HERE / "torch_r3d18.npz", **volumes)
    images = record(ResNet2D(width=3), torch.randn(3, 3, 25, 22))
    np.savez_compressed(HERE / "torch_resnet2d.npz", **images)
    # odd sizes: they are rounded up on the way down, and cut on the way up
    model = UNet(width=2, levels=3, channels=2, outputs=3)
    logits = record(model, torch.randn(2, 2, 5, 12, 7))
    np.savez_compressed(HERE / "torch_unet.npz", **logits)
    dense = DenseNet(
        growth_rate=3, block_config=(2, 1), num_init_features=4, num_classes=1
    )
    dense.classifier = nn.Identity()
    images = record(dense, torch.randn(3, 3, 25, 30))
    np.savez_compressed(HERE / "torch_densenet.npz", **images)
