"""Writes torch_detector.npz: what torchvision's FCOS says with weights that are drawn.

    pip install -e '.[bench]' torch torchvision && python tests/reference/torch_detector.py

It holds a state dict ("tensors/..."), images, their boxes (x before y, pixels; kind -1
where there is none), the head's outputs at all points, the boxes that these are, the
three losses of each image on its own, the gradient of all their sum for the images, and
the boxes that are found. The backbone has no weights: its maps are some of each place's
pixels. torchvision has to have its compiled operators.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "benchmarks"))

from peers.torch_fcos import detector
from peers.vision import torchvision

METHOD = {"kinds": 2, "width": 6, "depth": 2, "overlap": 0.3}
METHOD |= {"most": 342, "candidates": 342}  # all that there are
SHAPE, STRIDES, CHANNELS, KEPT = (64, 128), (8, 16, 32), 4, 100
BOXES = [  # x0, y0, x1, y1, kind
    [[4, 4, 28, 20, 0], [20, 8, 110, 58, 1], [60, 30, 68, 41, 0], [12, 10, 22, 19, 1]],
    [[0, 0, 128, 64, 1], [40, 16, 56, 32, 0], [40, 16, 57, 34, 1], [0, 0, 0, 0, -1]],
    [[0, 0, 0, 0, -1]] * 4,
]


class Pixels(nn.Module):
    """Images to maps: the first pixels of the first row of each place."""

    def forward(self, x):
        return OrderedDict(
            (str(s), nn.functional.pixel_unshuffle(x, s)[:, :CHANNELS]) for s in STRIDES
        )


def model() -> nn.Module:
    ops, width = torchvision.ops, METHOD["width"]
    coarser = ops.feature_pyramid_network.LastLevelP6P7(width, width)
    pyramid = ops.FeaturePyramidNetwork([CHANNELS] * len(STRIDES), width, coarser)
    strides = [*STRIDES, 2 * STRIDES[-1], 4 * STRIDES[-1]]
    made = detector(
        nn.Sequential(OrderedDict(pixels=Pixels(), pyramid=pyramid)),
        ConfigDict(METHOD),
        strides=strides,
        shape=SHAPE,
    )
    for tensor in made.parameters():
        if tensor.ndim > 1:  # as large at all levels
            nn.init.normal_(tensor, std=tensor[0].numel() ** -0.5)
        else:
            nn.init.uniform_(tensor, -0.5, 1.0)
    faces = made.head.regression_head.bbox_reg
    nn.init.normal_(faces.weight, std=0.1)
    nn.init.uniform_(faces.bias, 0.5, 1.5)  # of a stride or so, not the whole image
    made.head.classification_head.cls_logits.bias.data = torch.tensor([0.8, -0.3])
    return made


def outputs(made: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what the head says at each point, and the boxes that it means."""
    maps = list(made.backbone(images).values())
    said = made.head(maps)
    sizes = [tuple(image.shape[1:]) for image in images]
    listed = torchvision.models.detection.image_list.ImageList(images, sizes)
    anchors = torch.stack(made.anchor_generator(listed, maps))
    boxes = made.box_coder.decode(said["bbox_regression"], anchors)
    said["boxes"] = torchvision.ops.clip_boxes_to_image(boxes, SHAPE)
    return said


def losses(made: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the losses of each image alone, by name."""
    of_each = []
    for image, rows in zip(images, BOXES, strict=True):
        there = [row for row in rows if row[-1] >= 0]
        own = torch.tensor(there, dtype=torch.int64).reshape(-1, 5)
        target = {"boxes": own[:, :4].float(), "labels": own[:, 4]}
        of_each.append(made.train()([image], [target]))
    return {name: torch.stack([one[name] for one in of_each]) for name in of_each[0]}


def found(made: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the likeliest boxes of each image, of those that have an extent."""
    each = []
    for one in made.eval()(list(images)):
        boxes = one["boxes"]
        there = (boxes[:, 2:] > boxes[:, :2]).all(1)
        each.append({name: x[there][:KEPT] for name, x in one.items()})
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


if __name__ == "__main__":
    torch.manual_seed(0)
    made = model()
    pixels = torch.randint(0, 256, (len(BOXES), 1, *SHAPE), dtype=torch.uint8)
    images = (pixels / 255).requires_grad_()
    lost = losses(made, images)
    sum(x.sum() for x in lost.values()).backward()
    with torch.no_grad():
        parts = {"said": outputs(made, images), "found": found(made, images)}
    parts |= {"tensors": made.state_dict(), "losses": lost}
    arrays = {
        f"{part}/{name}": tensor.detach().numpy()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    arrays |= {"pixels": pixels[:, 0].numpy(), "gradient": images.grad[:, 0].numpy()}
    arrays["boxes"] = np.int64(BOXES)
    np.savez_compressed(HERE / "torch_detector.npz", **arrays)
