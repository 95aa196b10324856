"""torchvision's FCOS on its residual network: what our detector is measured against.

What differs: its three losses are sums over the points of all images that answer for a
box, or 1, ours over those of each image, or a floor. Of equal areas are for it all that
float32 cannot tell apart at 1e8, 8 pixels and less. It takes the likeliest points above a
threshold of each level, ours of all levels without one, and keeps boxes without extent.
Points lie as far apart as an image's side, padded to a multiple of 32, is over the map's:
48 where 96 pixels have two of stride 64.

Finding boxes needs torchvision's compiled operators, which fit one PyTorch: both from one
index, by `pip install torch torchvision`.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from peers.torch_images import network
from peers.torch_step import Views, channels_first, placed, stepping
from peers.vision import torchvision
from torch import nn
from torchvision.models.detection import backbone_utils, fcos
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

_STAGES = 4  # of a residual network; the first has a stride of 4


class Head(fcos.FCOSHead):
    """torchvision's, where 32 groups may be too many for the width."""

    def __init__(self, width: int, kinds: int, depth: int):
        nn.Module.__init__(self)
        self.box_coder = fcos.det_utils.BoxLinearCoder(normalize_by_size=True)
        norm = {"norm_layer": functools.partial(nn.GroupNorm, math.gcd(width, 32))}
        self.classification_head = fcos.FCOSClassificationHead(
            width, 1, kinds, depth, **norm
        )
        self.regression_head = fcos.FCOSRegressionHead(width, 1, depth, **norm)


def detector(
    pyramid: nn.Module,
    method: ConfigDict,
    *,
    strides: Sequence[int],
    shape: tuple[int, int],
    least: float = 0.0,
) -> fcos.FCOS:
    """Return torchvision's FCOS on levels of these strides, of images of this shape.

    Images are taken as they are.

    Args:
      pyramid: images (b, c, *shape) to levels by name, each of `method.width` channels.
      method: `config.method`.
      least: probability that a box has at least.
    """
    pyramid.out_channels = method.width
    sizes = tuple((stride,) for stride in strides)
    return fcos.FCOS(
        pyramid,
        method.kinds,
        min_size=min(shape),
        max_size=max(shape),
        image_mean=[0.0],
        image_std=[1.0],
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        head=Head(method.width, method.kinds, method.depth),
        score_thresh=least,
        nms_thresh=method.overlap,
        detections_per_img=method.most,
        topk_candidates=method.candidates,
    )


def of_config(config: ConfigDict, *, least: float = 0.0) -> fcos.FCOS:
    """Return the detector that `config` is, whose two coarser levels torchvision has."""
    method, shape = config.method, tuple(config.data.shape)
    if method.coarser != 2:
        raise ValueError(
            f"torchvision's FCOS has 2 coarser levels, not {method.coarser}"
        )
    encoder, channels = network(config.model)
    stages = range(_STAGES - method.levels, _STAGES)
    pyramid = backbone_utils.BackboneWithFPN(
        encoder,
        {f"layer{stage + 1}": str(stage) for stage in stages},
        [channels // 2 ** (_STAGES - 1 - stage) for stage in stages],
        method.width,
        LastLevelP6P7(method.width, method.width),
    )
    finest = 4 * 2 ** stages[0]
    strides = [finest * 2**level for level in range(method.levels + method.coarser)]
    return detector(pyramid, method, strides=strides, shape=shape, least=least)


def targets(rows: np.ndarray, shape: tuple[int, int]) -> list[dict[str, torch.Tensor]]:
    """Return boxes (b, m, 5), as fractions and rows before columns, as FCOS has them."""
    height, width = shape
    found = []
    for own in rows:
        own = own[own[:, -1] >= 0]
        boxes = own[:, [1, 0, 3, 2]] * np.float32([width, height] * 2)
        labels = placed(own[:, -1].astype(np.int64))
        found.append({"boxes": placed(boxes), "labels": labels})
    return found


def train_step(
    views: Views, config: ConfigDict, optimizer: Mapping[str, Any]
) -> Callable[[], torch.Tensor]:
    """Return a function that trains the detector once, and gives the three losses' sum."""
    torch.manual_seed(0)
    images = list(channels_first(views["image"]))
    boxes = targets(views["boxes"], tuple(config.data.shape))
    model = of_config(config)
    return stepping(model, lambda: sum(model(images, boxes).values()), optimizer)


def inference(
    images: np.ndarray, config: ConfigDict, *, least: float
) -> Callable[[], list[dict[str, torch.Tensor]]]:
    """Return a function that finds the boxes of images (b, *s, c), four strides wide."""
    torch.manual_seed(0)
    images = list(channels_first(images))
    model = of_config(config, least=least).to(torch.get_default_device()).eval()
    nn.init.constant_(model.head.regression_head.bbox_reg.bias, 2.0)
    return torch.inference_mode()(lambda: model(images))


def suppressing(
    images: Sequence[tuple[np.ndarray, ...]], *, iou: float
) -> Callable[[], list[torch.Tensor]]:
    """Return a function that gives each image's kept boxes' numbers, the best first.

    Args:
      images: boxes, scores and kinds of each.
    """
    given = [[placed(x) for x in arrays] for arrays in images]
    return lambda: [torchvision.ops.batched_nms(*one, iou) for one in given]
