"""PyTorch's weights become variables of our ResNets, DenseNets and ViTs, or the reverse."""

import math
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from medssl_jax.errors import UserError
from medssl_jax.models import torch_names
from medssl_jax.models.torch_names import CLASS_POSITION, POSITIONS
from medssl_jax.models.vit import resized

_COUNT = "num_batches_tracked"


def from_torch(
    tensors: Mapping[str, np.ndarray], like: PyTree, *, sum_channels: bool
) -> PyTree:
    """Return the variables of `resnet`, `densenet` or `vit` that PyTorch's tensors are.

    Args:
      tensors: state dict of torchvision's `resnet`, `video.resnet` (r3d_18) or
        `densenet`, or of timm's or DINO's `VisionTransformer`, as
        `safetensors.numpy.load_file` gives it; the head is left out. A ViT's table of
        positions is resized to the grid of `like`.
      like: what `init` gives, or its shapes; only names and shapes are used.
      sum_channels: sum the stem over its input channels, so that a grey image gives
        what the same image gave in all three of RGB.

    Raises:
      UserError: if a tensor is missing, unknown or of another shape.

    torch's running variance is n / (n - 1) times ours; it is kept as it is.
    """
    tensors = {_renamed(name): array for name, array in tensors.items()}
    if "pos_embed" in tensors:
        tensors = _split_positions(tensors, like)
    stem, name_of = torch_names.of_tensors(tensors)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [name_of([key.key for key in path]) for path, _ in leaves]
    _check_names(names, tensors)
    arrays = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        array = tensors[name]
        if array.ndim > 1 and name != POSITIONS:
            array = np.moveaxis(array, (0, 1), (-1, -2))
        if name == stem and sum_channels:
            array = array.sum(-2, keepdims=True)
        if array.shape != leaf.shape:
            raise UserError(
                f"tensor {name} gives {array.shape}, the network has {leaf.shape}; "
                "use the model settings (layers, width, patch, ...) and channels of the weights"
            )
        arrays.append(jnp.asarray(array, jnp.float32))
    return jax.tree.unflatten(structure, arrays)


def to_torch(variables: PyTree, *, model: str, ndim: int) -> dict[str, np.ndarray]:
    """Return the state dict that `from_torch` would make these variables of.

    Every name that torchvision's or timm's own has is there, those of the head aside:
    a load is strict.

    Args:
      variables: of an encoder.
      model: "resnet", "densenet" or "vit".
      ndim: its spatial axes; a "resnet" of 3 is named as torchvision's r3d_18.
    """
    name_of = torch_names.of_model(model, ndim)
    tensors = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        name, array = name_of([key.key for key in path]), np.asarray(leaf, np.float32)
        if array.ndim > 1 and name != POSITIONS:
            array = np.moveaxis(array, (-1, -2), (0, 1))
        tensors[name] = np.ascontiguousarray(array)
        if name.endswith("running_var"):  # 0 as of new ones: only means over all use it
            tensors[f"{name.removesuffix('running_var')}{_COUNT}"] = np.zeros(
                (), np.int64
            )
    return _join_positions(tensors) if POSITIONS in tensors else tensors


def _renamed(name):
    """Return denselayer1.norm1 for denselayer1.norm.1, as the released files have it."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name)


def _split_positions(tensors, like):
    """Return a ViT's tensors with the class token's position apart from a grid of all."""
    tensors = dict(tensors)
    first, *table = np.asarray(tensors.pop("pos_embed"))[0]
    *grid, _ = like["params"].get("positions", np.empty((1, 1, 1))).shape
    side = round(len(table) ** (1 / len(grid)))
    sides = [side] * len(grid)
    if len(table) == math.prod(grid) != side ** len(grid):  # `to_torch` of our own
        sides = grid
    if len(table) != math.prod(sides):
        raise UserError(
            f"tensor pos_embed has {len(table)} positions, which make no square; use "
            "weights with one class token and no other"
        )
    table = np.reshape(table, (*sides, len(first)))
    tensors["cls_token"] = np.ravel(tensors["cls_token"])
    tensors[CLASS_POSITION] = first
    tensors[POSITIONS] = resized(jnp.asarray(table), tuple(grid))
    return tensors


def _join_positions(tensors):
    """Undo `_split_positions`."""
    first, grid = tensors.pop(CLASS_POSITION), tensors.pop(POSITIONS)
    table = np.concatenate([first[None], grid.reshape(-1, grid.shape[-1])])
    cls_token = tensors["cls_token"].reshape(1, 1, -1)
    return tensors | {"cls_token": cls_token, "pos_embed": table[None]}


def _check_names(names, tensors):
    known = {
        name
        for name in tensors
        if not name.startswith(("fc.", "classifier.", "head."))
        and not name.endswith(_COUNT)
    }
    missing, unknown = sorted(set(names) - known), sorted(known - set(names))
    if missing or unknown:
        raise UserError(
            "these are not the weights of this network; missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
