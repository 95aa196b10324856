"""An encoder outlives its run: safetensors and JSON, back to a callable."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load_file

from medssl_jax import resolve
from medssl_jax.errors import ConfigError, DataError, UserError
from medssl_jax.models.convert import from_torchvision
from medssl_jax.models.features import pooled
from medssl_jax.models.network import Network
from medssl_jax.saved import export
from medssl_jax.step.state import to_unit
from medssl_jax.views.compose import compose


class Encoder:
    """A pretrained backbone with the deterministic view that it expects.

    Calling it maps images (b, *s, c), uint8 or floats in [0, 1], to features (b, d)
    float32. `spec` says what it is: `model`, `view`, `host` (how volumes were brought
    to [0, 1]: orientation, spacing in mm, window, shape) and `provenance`.
    """

    def __init__(self, variables: PyTree, spec: Mapping[str, Any]):
        self.variables = variables
        self.spec = dict(spec)
        self._encode = _encode(json.dumps([spec["model"], spec["view"]]))

    def __call__(self, images) -> jax.Array:
        return self._encode(self.variables, images)

    def save(self, folder: Path) -> None:
        """Write weights.safetensors and encoder.json into `folder`."""
        export.write(folder, "encoder", self.variables, self.spec)


def load_encoder(path: str | Path) -> Encoder:
    """Load the encoder of a run, or an encoder's own folder.

    Raises:
      DataError: if there is none, or its files are damaged or of another version.
    """
    variables, spec = export.read(Path(path), "encoder")
    if "in_plane_blocks" in spec["model"]:  # "densenet" in files of before 0.1.0
        spec["model"]["name"] = "in_plane_densenet"
    return Encoder({"batch_stats": {}} | variables, spec)


def initial_variables(
    init_from: str, model: Mapping[str, Any], shape: tuple[int, ...]
) -> PyTree:
    """Return the variables that `config.init_from` names, for the network `model`.

    `shape` is that of an image, (*s, c).

    A run or encoder of this package, or a .safetensors file with torchvision's names
    (r3d_18 of Kinetics-400, resnet18, ...).

    Raises:
      ConfigError: if the encoder there is of another architecture.
      DataError: if it cannot be read.
    """
    if init_from.endswith(".safetensors"):
        try:
            tensors = load_file(init_from)
        except (OSError, SafetensorError) as error:
            raise DataError(init_from, f"cannot be read: {error}") from error
        network = backbone(model, dtype=jnp.float32, axis_name=None)
        image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        expected = jax.eval_shape(network.init, jax.random.key(0), image)
        try:  # one channel: as if the grey image were shown in all three of RGB
            return from_torchvision(tensors, expected, sum_channels=shape[-1] == 1)
        except UserError as error:
            raise DataError(init_from, str(error)) from error
    return _of_architecture(init_from, model).variables


def check_start(init_from: str, model: Mapping[str, Any]) -> None:
    """Raise what `initial_variables` would, as far as it is known without an image."""
    if init_from.endswith(".safetensors"):
        if not Path(init_from).is_file():
            raise DataError(init_from, "is no file")
    elif init_from:
        _of_architecture(init_from, model)


def _of_architecture(init_from: str, model: Mapping[str, Any]) -> Encoder:
    encoder = load_encoder(init_from)
    found, wanted = encoder.spec["model"], json.loads(json.dumps(dict(model)))
    different = [
        f"{field} is {found.get(field)!r} there, {wanted.get(field)!r} in config.model"
        for field in sorted(found.keys() | wanted.keys())
        if found.get(field) != wanted.get(field)
    ]
    if different:
        raise ConfigError(f"init_from {init_from}: {'; '.join(different)}")
    return encoder


def backbone(
    model: Mapping[str, Any],
    *,
    dtype: DTypeLike,
    axis_name: str | None,
    running: Mapping[str, Any] = MappingProxyType({}),
) -> Network:
    """Build the network that `config.model` names.

    `running` is how it is run in training, which changes nothing of what it is.

    Raises:
      ConfigError: if it is unknown, a setting does not fit, or one of `running` is on
        that this model does not have.
    """
    factory = resolve.factory("medssl_jax.models", model.get("name", ""))
    known = inspect.signature(factory).parameters
    for field, value in running.items():
        if value and field not in known:
            raise ConfigError(
                f"config.running.{field} is {value}, which the model {model['name']} "
                "does not have: switch it off"
            )
    return resolve.named(
        "model",
        "medssl_jax.models",
        model,
        dtype=dtype,
        axis_name=axis_name,
        **{field: value for field, value in running.items() if field in known},
    )


@functools.cache
def _encode(key: str) -> Callable:
    """Compile once for every encoder of one architecture and view."""
    model, view = json.loads(key)
    network = pooled(backbone(model, dtype=jnp.float32, axis_name=None))
    deterministic = functools.partial(compose(view), jax.random.key(0))

    @jax.jit
    def encode(variables, images):
        images = jax.vmap(deterministic)(to_unit(images))
        features, _ = network.apply(variables, images, False)
        return features

    return encode
