"""An encoder outlives its run: safetensors and JSON, back to a callable."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree
from safetensors.numpy import load_file

from medssl_jax import resolve
from medssl_jax.data.decoding import decoding
from medssl_jax.data.host import HostTransform, check
from medssl_jax.data.source import Record
from medssl_jax.errors import ConfigError, DataError, UserError
from medssl_jax.models.convert import from_torch
from medssl_jax.models.features import pooled
from medssl_jax.models.network import Network
from medssl_jax.saved import export, fit
from medssl_jax.step.state import to_unit
from medssl_jax.views.compose import compose


class Encoder:
    """A pretrained backbone with the deterministic view that it expects.

    Calling it maps images (b, *s, c), uint8 or floats in [0, 1], to features (b, d)
    float32; `of_record` takes an image as its file has it. `spec` says what it is:
    `model`, `view`, `host` (how records were brought to [0, 1] and one shape: spacing in
    mm, window, frames, ...), `channels` and `provenance`.
    """

    def __init__(self, variables: PyTree, spec: Mapping[str, Any]):
        self.variables = variables
        self.spec = dict(spec)
        self._encode = _encode(json.dumps([spec["model"], spec["view"]]))

    def __call__(self, images) -> jax.Array:
        return self._encode(self.variables, fit.unit_images(images, self.spec))

    @property
    def host(self) -> HostTransform:
        """How records were brought to what the network was fed with."""
        return fit.host_of(self.spec)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    def of_record(self, record: Record, name: str = "an image") -> np.ndarray:
        """Encode one image as a file has it; return features (d,).

        It is brought to [0, 1] and to one shape as the training's were, but at no
        random place: the middle, frames evenly spaced.

        Args:
          record: `image` (*s, c) in the file's unit, slices first, and `spacing_mm`
            where the encoder was trained at a spacing; or {"image": ...} of an array.
          name: for errors.

        Raises:
          ConfigError: if the record has no spacing, and the encoder needs it.
          DataError: if the image cannot be used.
        """
        host = self.host
        prepared = host.prepare(check(record, name), name)
        return np.asarray(self(host.draw(prepared, None)["image"][None])[0])

    def save(self, folder: Path) -> None:
        """Write weights.safetensors and encoder.json into `folder`."""
        export.write(folder, "encoder", self.variables, self.spec)


def load_encoder(path: str | Path) -> Encoder:
    """Load the encoder of a run, or an encoder's own folder.

    Raises:
      DataError: if there is none, its files are damaged or of another version, or the
        weights are not those of the model that it describes.
    """
    variables, spec, described = export.read(Path(path), "encoder")
    if "in_plane_blocks" in spec.get(
        "model", ()
    ):  # "densenet" in files of before 0.1.0
        spec["model"]["name"] = "in_plane_densenet"
    fit.check(described, spec, variables, _init)
    return Encoder({"batch_stats": {}} | variables, spec)


def initial_variables(
    init_from: str, model: Mapping[str, Any], shape: tuple[int, ...]
) -> PyTree:
    """Return the variables that `config.init_from` names, for the network `model`.

    `shape` is that of an image, (*s, c). Of a network before which channels are made
    others (`adapter`, `with_neighbours`) they are the inner one's, unless what is named
    is of such a one too.

    A run or encoder of this package, or a .safetensors file with torchvision's names
    (r3d_18 of Kinetics-400, resnet18, ...).

    Raises:
      ConfigError: if the encoder there is of another architecture.
      DataError: if it cannot be read.
    """
    model, shape = _given_to(init_from, model, shape)
    if init_from.endswith(".safetensors"):
        with decoding(init_from, "safetensors file"):
            tensors = load_file(init_from)
        network = backbone(model, dtype=jnp.float32, axis_name=None)
        image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        expected = jax.eval_shape(network.init, jax.random.key(0), image)
        try:  # one channel: as if the grey image were shown in all three of RGB
            return from_torch(tensors, expected, sum_channels=shape[-1] == 1)
        except UserError as error:
            raise DataError(init_from, str(error)) from error
    found = _of_architecture(init_from, model)
    if found.spec.get("channels", shape[-1]) != shape[-1]:
        raise ConfigError(
            f"init_from {init_from}: it was trained on images of "
            f"{found.spec['channels']} channel(s), and config.data has {shape[-1]}: see "
            "config.data.channels, where the source has it"
        )
    return found.variables


def check_start(init_from: str, model: Mapping[str, Any]) -> None:
    """Raise what `initial_variables` would, as far as it is known without an image."""
    if init_from.endswith(".safetensors"):
        if not Path(init_from).is_file():
            raise DataError(init_from, "is no file")
    elif init_from:
        _of_architecture(init_from, _given_to(init_from, model, (0,))[0])


def _given_to(
    init_from: str, model: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[Mapping[str, Any], tuple[int, ...]]:
    """Return the part of a network that the weights are for, and its images' shape."""
    inside = getattr(_module(model), "inside", None)
    if inside is None:
        return model, shape
    torch = init_from.endswith(".safetensors")
    if not torch and load_encoder(init_from).spec["model"]["name"] == model["name"]:
        return model, shape
    part, channels = inside(model, shape[-1])
    return _given_to(init_from, part, (*shape[:-1], channels))


def _of_architecture(init_from: str, model: Mapping[str, Any]) -> Encoder:
    encoder = load_encoder(init_from)
    wanted = _weights(json.loads(json.dumps(dict(model))))
    found = _weights(encoder.spec["model"])
    different = [
        f"{field} is {found.get(field)!r} there, {wanted.get(field)!r} in config.model"
        for field in sorted(found.keys() | wanted.keys())
        if found.get(field) != wanted.get(field)
    ]
    if different:
        raise ConfigError(f"init_from {init_from}: {'; '.join(different)}")
    return encoder


def _weights(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the model, by its settings that say which variables it has.

    Those of a model that wraps another are the other's, as `weights` of its module says.
    """
    narrow = getattr(_module(model), "weights", None)
    if narrow is None:
        return model
    inner = narrow(model)
    return inner if inner["name"] == model["name"] else _weights(inner)


def _module(model: Mapping[str, Any]) -> ModuleType:
    name = model.get("name", "")
    return inspect.getmodule(resolve.factory_of("model", "medssl_jax.models", name))


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
    factory = resolve.factory_of("model", "medssl_jax.models", model.get("name", ""))
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


def _init(spec: Mapping[str, Any], image: jax.Array) -> PyTree:
    network = backbone(spec["model"], dtype=jnp.float32, axis_name=None)
    view, key = compose(spec["view"]), jax.random.key(0)
    return network.init(key, view(key, image)[None])


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
