"""A saved model's weights against the network that its description builds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import PyTree

from medssl_jax import resolve
from medssl_jax.data.host import HostTransform
from medssl_jax.errors import ConfigError, DataError, UserError

_CHANNELS = (1, 3, 2, 4)  # the likeliest first, for files that do not say
_SHOWN = 3  # tensors, of those that differ


def check(
    described: Path,
    spec: Mapping[str, Any],
    variables: PyTree,
    init: Callable[[Mapping[str, Any], jax.Array], PyTree],
) -> None:
    """Refuse a description that builds no network, and weights that are not its.

    Args:
      described: the JSON file, for errors.
      spec: what it says.
      variables: what the weights' file holds.
      init: (spec, image (*s, c)) -> variables of the network.

    Raises:
      DataError: naming the file, and the field or the tensors that are wrong.
    """
    try:
        shapes = [
            jax.eval_shape(lambda image: init(spec, image), _image(spec, channels))
            for channels in ([spec["channels"]] if "channels" in spec else _CHANNELS)
        ]
    except UserError as error:
        raise DataError(described, f"describes no model: {error}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(described, f"describes no model ({reason})") from error
    found, *wanted = map(_shapes, (variables, *shapes))
    if found not in wanted:
        weights = described.with_name("weights.safetensors")
        raise DataError(weights, _difference(found, wanted[0], described.name))
    broken = [n for n, x in _named(variables).items() if not np.isfinite(x).all()]
    if broken:
        weights = described.with_name("weights.safetensors")
        raise DataError(weights, f"has numbers that are not finite in {_few(broken)}")


def host_of(spec: Mapping[str, Any]) -> HostTransform:
    """Return how records were brought to what the network was fed with.

    Raises:
      ConfigError: if a field there cannot be.
    """
    settings = spec["host"].items()  # JSON has no tuples
    stated = {k: tuple(v) if isinstance(v, list) else v for k, v in settings}
    return resolve.call("data", HostTransform, stated)


def unit_images(images: Any, spec: Mapping[str, Any]) -> Any:
    """Return images that a model can be given.

    Raises:
      ConfigError: if they have other channels than the model's, or are numbers out of
        [0, 1], which raw scans are: `of_record` brings them there.
    """
    channels = spec.get("channels", np.shape(images)[-1])
    if np.shape(images)[-1] != channels:
        raise ConfigError(
            f"images have {np.shape(images)[-1]} channel(s), and the model was trained on "
            f"{channels}: see config.data.channels, where the source has it"
        )
    if isinstance(images, jax.core.Tracer) or images.dtype == np.uint8:
        return images
    if not (images.min() >= 0 and images.max() <= 1):
        raise ConfigError(
            f"images reach from {images.min():g} to {images.max():g}, and the model takes "
            "uint8, or numbers in [0, 1], as its training did: `of_record` brings an "
            "image there from what a file holds"
        )
    return images


def _image(spec, channels):
    return jax.ShapeDtypeStruct((*host_of(spec).shape, channels), jnp.float32)


def _named(variables) -> dict[str, Any]:
    """Return leaves by name, without collections that have none."""
    return flatten_dict(variables, sep="/")


def _shapes(variables) -> dict[str, tuple[int, ...]]:
    """Return each leaf's shape; of a table of positions, whose grid can be any, its width."""
    return {
        name: leaf.shape[-1:] if name.endswith("/positions") else leaf.shape
        for name, leaf in _named(variables).items()
    }


def _difference(found, wanted, described) -> str:
    said = []
    if lacks := sorted(wanted.keys() - found.keys()):
        said.append(f"lacks {_few(lacks)}")
    if more := sorted(found.keys() - wanted.keys()):
        said.append(f"has {_few(more)}, which the model has not")
    for name in sorted(wanted.keys() & found.keys()):
        if found[name] != wanted[name]:
            said.append(f"has {name} of shape {found[name]}, not {wanted[name]}")
    more = f", and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return f"is not of the model in {described}: {'; '.join(said[:_SHOWN])}{more}"


def _few(names) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
