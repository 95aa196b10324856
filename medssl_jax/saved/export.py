"""Weights that outlive their run: safetensors, and JSON that says what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medssl_jax.errors import DataError

_FORMAT = 1
_WEIGHTS = "weights.safetensors"


def write(folder: Path, kind: str, variables: PyTree, spec: Mapping[str, Any]) -> None:
    """Write weights.safetensors and KIND.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = flatten_dict(jax.tree.map(np.asarray, variables), sep="/")
    save_file(tensors, folder / _WEIGHTS)
    described = json.dumps({"format": _FORMAT, **spec}, indent=2)
    (folder / f"{kind}.json").write_text(described)


def read(path: Path, kind: str) -> tuple[PyTree, dict[str, Any]]:
    """Return what `write` was given; `path` is that folder or the run that has it.

    A collection without leaves has no tensors, and is not there.

    Raises:
      DataError: if there is none, or its files are damaged or of another version.
    """
    folder = _folder(path, kind)
    try:
        spec = json.loads((folder / f"{kind}.json").read_text())
        tensors = load_file(folder / _WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(folder, f"the {kind} cannot be read: {error}") from error
    if spec.pop("format", None) != _FORMAT:
        raise DataError(folder / f"{kind}.json", f"its format is not {_FORMAT}")
    return jax.tree.map(jnp.asarray, unflatten_dict(tensors, sep="/")), spec


def _folder(path: Path, kind: str) -> Path:
    for folder in (path, path / kind):
        if (folder / f"{kind}.json").is_file():
            return folder
    raise DataError(path, f"holds no {kind} (no {kind}.json here or in {kind}/)")
