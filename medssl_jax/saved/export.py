"""Weights that outlive their run: safetensors, and JSON that says what they are."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors.numpy import load_file, save_file

from medssl_jax import files
from medssl_jax.data.decoding import decoding
from medssl_jax.errors import DataError

_FORMAT = 1
_WEIGHTS = "weights.safetensors"
_FIELDS = {  # that `describe` does without none of
    "encoder": ("model", "view", "host"),
    "predictor": ("model", "view", "host", "method"),
}
_PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle")


def write(folder: Path, kind: str, variables: PyTree, spec: Mapping[str, Any]) -> None:
    """Write weights.safetensors and KIND.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = flatten_dict(jax.tree.map(np.asarray, variables), sep="/")
    files.write_whole(folder / _WEIGHTS, functools.partial(save_file, tensors))
    files.write_json(folder / f"{kind}.json", {"format": _FORMAT, **spec})


def describe(path: Path, kind: str) -> dict[str, Any]:
    """Return the spec that `write` was given, without the weights.

    Raises:
      DataError: as `read`.
    """
    described = folder_of(path, kind) / f"{kind}.json"
    spec = files.read_json(described)
    _check_format(described, kind, spec.pop("format", None))
    if lacking := [field for field in _FIELDS[kind] if field not in spec]:
        raise DataError(
            described,
            f"lacks {', '.join(lacking)}, without which nobody knows what the weights "
            f"are of or how images are prepared; take the whole folder that a run of "
            f"medssl_jax wrote, {kind}.json with its {_WEIGHTS}",
        )
    return spec


def read(path: Path, kind: str) -> tuple[PyTree, dict[str, Any], Path]:
    """Return what `write` was given, and the file that describes it.

    `path` is that folder or the run that has it.

    A collection without leaves has no tensors, and is not there.

    Raises:
      DataError: if there is none, or its files are damaged or of another version.
    """
    folder, spec = folder_of(path, kind), describe(path, kind)
    described, weights = folder / f"{kind}.json", folder / _WEIGHTS
    with decoding(weights, "safetensors file"):
        variables = unflatten_dict(load_file(weights), sep="/")
    return jax.tree.map(jnp.asarray, variables), spec, described


def folder_of(path: Path, kind: str) -> Path:
    """Return the folder that describes a model, of a run's or that itself.

    Raises:
      DataError: if there is none.
    """
    for folder in (path, path / kind):
        if (folder / f"{kind}.json").is_file():
            return folder
    raise DataError(path, _lacking(path, kind))


def _lacking(path: Path, kind: str) -> str:
    """Say why a path is no folder with a model of ours, and what to do."""
    if path.suffix in _PICKLED:
        return _unpickled(path)
    if path.suffix == ".safetensors" and path.is_file():
        return (
            "has weights and nothing that says of which network they are or how images "
            f"are prepared, as {kind}.json does; train from it with "
            "config.init_from, and load what that run writes"
        )
    other = next(one for one in _FIELDS if one != kind)
    if any((folder / f"{other}.json").is_file() for folder in (path, path / other)):
        article = "an" if other == "encoder" else "a"
        return (
            f"holds {article} {other} and no {kind}: medssl_jax.load_{other} reads it"
        )
    if any((folder / _WEIGHTS).is_file() for folder in (path, path / kind)):
        return f"holds {_WEIGHTS} and no {kind}.json, which says what they are"
    text = f"holds no {kind} (no {kind}.json here or in {kind}/)"
    return f"{text}; init_from is the folder of a run that has ended"


def _unpickled(path: Path) -> str:
    """Say how weights of PyTorch become a file that can be read."""
    return (
        "is pickled, and unpickling runs what is in a file: medssl_jax reads none. Where "
        "PyTorch is, its state dict becomes a .safetensors, which config.init_from takes: "
        'python -c "import torch, safetensors.torch as s; '
        f"d = torch.load({str(path)!r}, map_location='cpu', weights_only=True); "
        "d = d.get('state_dict', d); s.save_file({k: v.clone().contiguous() for k, v in "
        f'd.items() if torch.is_tensor(v)}}, {str(path.with_suffix(".safetensors"))!r})"'
    )


def _check_format(described: Path, kind: str, found: Any) -> None:
    if found == _FORMAT:
        return
    if found is None:
        text = f"states no format: it is no {kind} of medssl_jax"
    elif isinstance(found, int) and found > _FORMAT:
        text = f"is of format {found}, and this version reads {_FORMAT}: "
        text += "a newer medssl_jax wrote it, and is needed to read it"
    else:
        text = f"is of format {found!r}, and this version reads {_FORMAT}"
    raise DataError(described, text)
