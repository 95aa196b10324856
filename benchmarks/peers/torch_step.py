"""What PyTorch's steps share: an optimizer around a loss, and arrays as it has them.

All is on PyTorch's default device. On a GPU it runs as its guides have it: bfloat16 by
autocast, images and kernels channels last, TF32 elsewhere.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Views = Mapping[str, np.ndarray]  # of a batch, as ours makes them
RATE = 1e-4
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of axes


def stepping(
    model: nn.Module,
    loss: Callable[[], torch.Tensor],
    optimizer: Mapping[str, Any],
    *,
    after: Callable[[], None] = lambda: None,
) -> Callable[[], torch.Tensor]:
    """Return a function that trains once and gives the loss, with `after` at its end.

    `optimizer` is what `config.optimizer` would be, Adam, or AdamW and where to clip;
    with `compiled`, forward and backward and `after` go through torch.compile.
    """
    device = torch.get_default_device()
    model.to(device).train()
    for parameter in model.parameters():
        layout = _LAYOUTS.get(parameter.ndim)
        if device.type == "cuda" and layout:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    decay, clip = optimizer.get("weight_decay", 0.0), optimizer.get("clip_norm")
    made = torch.optim.AdamW if optimizer["name"] == "adamw" else torch.optim.Adam
    adam = made(model.parameters(), lr=RATE, weight_decay=decay)

    def forward():
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            return loss()

    if optimizer.get("compiled"):
        forward, after = torch.compile(forward), torch.compile(after)

    def step() -> torch.Tensor:
        adam.zero_grad(set_to_none=True)
        found = forward()
        found.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        adam.step()
        after()
        return found.detach()

    return step


def channels_first(x: np.ndarray, *, batch_axes: int = 1) -> torch.Tensor:
    """Return (b, *s, c) as (b, c, *s), or what has so many axes of examples."""
    moved = placed(x).movedim(-1, batch_axes)
    # on a GPU the channels stay last in memory
    return moved if moved.is_cuda else moved.contiguous()


def placed(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(x)).to(torch.get_default_device())


def whole(x: np.ndarray) -> torch.Tensor:
    """Return labels as PyTorch takes them."""
    return placed(x).long()
