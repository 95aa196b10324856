"""torchvision's residual networks become ours, tensor by tensor."""

import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from medssl_jax.errors import DataError

_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
# stem.0 (video) or conv1 (image) is a convolution, stem.1 or bn1 its norm
_STEM = re.compile(r"(?:stem\.(?P<place>\d)|(?P<kind>conv|bn)1)\.(?P<field>\w+)")
# a block's convolutions: conv2.0, conv2.1 (video); conv2, bn2 (image); downsample.0, .1
_BLOCK = re.compile(
    r"layer(?P<stage>\d)\.(?P<block>\d+)\."
    r"(?:(?P<kind>conv|bn)(?P<number>\d)|(?P<downsample>downsample))"
    r"(?:\.(?P<place>\d))?\.(?P<field>\w+)"
)
_NOT_OURS = re.compile(r"fc\.(weight|bias)|.*\.num_batches_tracked")


def from_torchvision(
    tensors: Mapping[str, np.ndarray], expected: PyTree, source: str
) -> PyTree:
    """Return the variables of a backbone from a state dict of torchvision's names.

    r3d_18 and resnet18 to resnet152, heads left out. Kernels (out, in, *k) become
    (*k, in, out); those of an RGB stem are summed where ours has one channel, which
    equals showing the grey image in all three.

    Args:
      tensors: by name, as in a .safetensors file.
      expected: variables (or their shapes) of the network to fill.
      source: what errors call the file.

    Raises:
      DataError: if a tensor is missing, unexpected, or of another shape.
    """
    found = {}
    for name, tensor in tensors.items():
        if not _NOT_OURS.fullmatch(name):
            path = _path(name)
            if path is None:
                raise DataError(
                    source, f"tensor {name!r} is none of a torchvision ResNet"
                )
            found[path] = (
                np.moveaxis(tensor, (0, 1), (-1, -2)) if tensor.ndim > 1 else tensor
            )
    wanted = flatten_dict(expected)
    if missing := sorted(wanted.keys() - found.keys()):
        raise DataError(
            source, f"lacks {len(missing)} tensors, {_text(missing[0])} first"
        )
    if extra := sorted(found.keys() - wanted.keys()):
        raise DataError(
            source,
            f"has {len(extra)} tensors that config.model lacks, {_text(extra[0])} first",
        )
    stem = ("params", "stem", "kernel")
    if wanted[stem].shape[-2] == 1:
        found[stem] = found[stem].sum(axis=-2, keepdims=True)
    for path, leaf in wanted.items():
        if found[path].shape != leaf.shape:
            raise DataError(
                source,
                f"{_text(path)} is {found[path].shape}, config.model makes it {leaf.shape}",
            )
    return unflatten_dict(
        {path: jnp.asarray(found[path], jnp.float32) for path in wanted}
    )


def _path(name: str) -> tuple[str, ...] | None:
    if match := _STEM.fullmatch(name):
        parent = ("stem",)
    elif match := _BLOCK.fullmatch(name):
        part = match["downsample"] or f"conv{match['number']}"
        parent = (f"layer{match['stage']}_{match['block']}", part)
    else:
        return None
    is_norm = match["kind"] == "bn" or match["place"] == "1"
    if not is_norm:
        return ("params", *parent, "kernel") if match["field"] == "weight" else None
    if match["field"] not in _NORM:
        return None
    collection, leaf = _NORM[match["field"]]
    return (collection, *parent, "norm", leaf)


def _text(path: tuple[str, ...]) -> str:
    return "/".join(path[1:])
