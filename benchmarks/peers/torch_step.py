"""What PyTorch's steps share: an optimizer around a loss, and arrays as it has them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Views = Mapping[str, np.ndarray]  # of a batch, as ours makes them
RATE = 1e-4


def stepping(
    model: nn.Module,
    loss: Callable[[], torch.Tensor],
    optimizer: Mapping[str, Any],
    *,
    after: Callable[[], None] = lambda: None,
) -> Callable[[], float]:
    """Return a function that trains once and gives the loss, with `after` at its end.

    `optimizer` is what `config.optimizer` would be: Adam, or AdamW and where to clip.
    """
    model.train()
    decay, clip = optimizer.get("weight_decay", 0.0), optimizer.get("clip_norm")
    made = torch.optim.AdamW if optimizer["name"] == "adamw" else torch.optim.Adam
    adam = made(model.parameters(), lr=RATE, weight_decay=decay)

    def step() -> float:
        adam.zero_grad(set_to_none=True)
        found = loss()
        found.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        adam.step()
        after()
        return found.item()

    return step


def channels_first(x: np.ndarray, *, batch_axes: int = 1) -> torch.Tensor:
    """Return (b, *s, c) as (b, c, *s), or what has so many axes of examples."""
    return torch.from_numpy(np.array(x)).movedim(-1, batch_axes).contiguous()


def whole(x: np.ndarray) -> torch.Tensor:
    """Return labels as PyTorch takes them."""
    return torch.from_numpy(np.array(x)).long()
