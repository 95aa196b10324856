"""torchvision, also where its compiled operators do not fit the PyTorch that there is.

So it is beside PyTorch's CPU build from PyPI. Networks need no operator; importing does.
"""

import sys

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

try:
    import torchvision
except RuntimeError:  # operator torchvision::nms does not exist
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _operator in _OPERATORS:
        _library.define(_operator)
    import torchvision

__all__ = ["torchvision"]
