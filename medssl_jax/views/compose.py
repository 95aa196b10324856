"""A view from a config: random augmentation of one image, on the device."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.ranges import misfit
from medssl_jax.views import colour, intensity, rescaled, spatial, whole
from medssl_jax.views.op import Op
from medssl_jax.views.placed import Placed
from medssl_jax.views.warp import SpatialOp, merge, per_axis


@dataclass(frozen=True, eq=False)  # not a NamedTuple: jax.jit cannot hold one weakly
class View:
    """(key, image (*s, c) in [0, 1]) -> image (*t, c); `compose` makes it."""

    stages: Sequence[Op | SpatialOp]

    def __call__(
        self, key: PRNGKeyArray, image: Float[Array, "*s c"]
    ) -> Float[Array, "*t c"]:
        return self.placed(key, image).image

    def placed(self, key: PRNGKeyArray, image: Float[Array, "*s c"]) -> Placed:
        """Return the image with the place that it was read from, for its targets."""
        inputs = image.shape[:-1]
        place, mixes = per_axis(inputs), frozenset()
        for stage, stage_key in zip(
            self.stages, jax.random.split(key, len(self.stages)), strict=True
        ):
            drawn = stage.sample(stage_key, image.shape[:-1])
            image = stage.apply(drawn, image)
            if isinstance(stage, SpatialOp):  # all of them, merged
                place, mixes = drawn, stage.mixes
        return Placed(image, place, inputs, mixes)


def compose(ops: Mapping[str, Mapping[str, Any]]) -> View:
    """Build a view from names and arguments.

    Names are the functions of `views.whole`, `views.spatial`, `views.rescaled`,
    `views.colour` and `views.intensity`; a scalar argument is fixed, a (low, high) pair
    is drawn uniformly, none is the identity. The order is that of these modules, as
    said here, and not the mapping's: an ml-collections ConfigDict sorts its keys. The
    spatial ones together interpolate the image once.

    Raises:
      ConfigError: if a name or an argument cannot be used; the text names it.
    """
    modules = whole, spatial, rescaled, colour, intensity
    factories = {k: f for module in modules for k, f in _public(module).items()}
    unknown = [name for name in ops if name not in factories]
    if unknown:
        raise ConfigError(
            f"unknown view {unknown[0]!r}; known: {', '.join(sorted(factories))}"
        )
    built = [
        _build(name, factories[name], ops[name]) for name in factories if name in ops
    ]
    warps = [op for op in built if isinstance(op, SpatialOp)]
    stages: list[Op | SpatialOp] = [op for op in built if op not in warps[1:]]
    if warps:  # where the first of them is, all are
        stages[stages.index(warps[0])] = merge(warps)
    return View(tuple(stages))


def _public(module) -> dict[str, Callable]:
    """List the functions that `module` defines, in its order."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }


def _build(name: str, function: Callable, arguments: Mapping[str, Any]):
    if not isinstance(arguments, Mapping):
        raise ConfigError(
            f"view {name!r} is given {arguments!r}; use a mapping of its arguments"
        )
    signature = inspect.signature(function, eval_str=True)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        accepted = ", ".join(signature.parameters) or "no arguments"
        raise ConfigError(f"view {name!r}: {error}; it takes {accepted}") from None
    for argument, value in arguments.items():
        if wrong := misfit(value, signature.parameters[argument].annotation):
            raise ConfigError(f"{name}.{argument} is {value!r}: {wrong}")
    return function(**arguments)
