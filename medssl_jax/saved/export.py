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
    if spec.pop("format", None) != _FORMAT:
        raise DataError(described, f"its format is not {_FORMAT}")
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
    text = f"holds no {kind} (no {kind}.json here or in {kind}/)"
    raise DataError(path, f"{text}; init_from is the folder of a run that has ended")
