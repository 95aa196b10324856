"""Published PyTorch weights become variables of our ResNets, DenseNets and ViTs."""

import functools
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from medssl_jax.errors import UserError
from medssl_jax.models.vit import resized

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_POSITIONS = "pos_embed.patches"  # as `_split_positions` calls them


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
    stem, name_of = _naming(tensors)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [name_of([key.key for key in path]) for path, _ in leaves]
    _check_names(names, tensors)
    arrays = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        array = tensors[name]
        if array.ndim > 1 and name != _POSITIONS:
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


def _renamed(name):
    """Return denselayer1.norm1 for denselayer1.norm.1, as the released files have it."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name)


def _naming(tensors):
    """Return the name of the stem's kernel, and path -> name of any variable's."""
    if _POSITIONS in tensors:
        return "patch_embed.proj.weight", _of_vit
    if "features.conv0.weight" in tensors:
        return "features.conv0.weight", _of_densenet
    if "stem.0.weight" in tensors:
        return "stem.0.weight", functools.partial(_of_resnet, video=True)
    return "conv1.weight", functools.partial(_of_resnet, video=False)


def _split_positions(tensors, like):
    """Return a ViT's tensors with the class token's position apart from a grid of all."""
    tensors = dict(tensors)
    first, *table = np.asarray(tensors.pop("pos_embed"))[0]
    *grid, _ = like["params"].get("positions", np.empty((1, 1, 1))).shape
    side = round(len(table) ** (1 / len(grid)))
    if len(table) != side ** len(grid):
        raise UserError(
            f"tensor pos_embed has {len(table)} positions, which make no square; use "
            "weights with one class token and no other"
        )
    table = np.reshape(table, (*[side] * len(grid), len(first)))
    tensors["cls_token"] = np.ravel(tensors["cls_token"])
    tensors["pos_embed.class"] = first
    tensors[_POSITIONS] = resized(jnp.asarray(table), tuple(grid))
    return tensors


def _of_vit(path):
    """Return blocks.0.attn.qkv.weight for params, blocks_0, qkv, kernel, and so on."""
    _, *layer, last = path
    if not layer:
        tables = {"cls_position": "pos_embed.class", "positions": _POSITIONS}
        return tables.get(last, last)
    of_part = {
        "patch_embed": "patch_embed.proj",
        "qkv": "attn.qkv",
        "proj": "attn.proj",
    }
    of_part |= {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    *block, part = (name.replace("_", ".", name.startswith("blocks")) for name in layer)
    return ".".join([*block, of_part.get(part, part), _LEAVES[last]])


def _of_densenet(path):
    """Return features.denseblock1.denselayer2.conv1.weight for our names of it."""
    _, *layer, last = path
    name = ".".join(layer).replace("_", ".")
    if layer[0] == "stem":
        name = "norm0" if layer[-1] == "norm" else "conv0"
    return f"features.{name}.{_LEAVES[last]}"


def _of_resnet(path, video):
    """Return layer2.0.conv1.weight for params, layer2_0, conv1, kernel, and so on."""
    _, *layer, last = path
    norm = layer[-1] == "norm"
    *block, part = layer[:-1] if norm else layer
    if video or part == "downsample":
        part = f"{part}.{int(norm)}"
    else:
        part = part.replace("stem", "conv1")
        part = part.replace("conv", "bn") if norm else part
    return ".".join([*(name.replace("_", ".") for name in block), part, _LEAVES[last]])


def _check_names(names, tensors):
    known = {
        name
        for name in tensors
        if not name.startswith(("fc.", "classifier.", "head."))
        and not name.endswith("num_batches_tracked")
    }
    missing, unknown = sorted(set(names) - known), sorted(known - set(names))
    if missing or unknown:
        raise UserError(
            "these are not the weights of this network; missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
