"""Rotation: by how many right angles, and about which axis, was the image turned?"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.methods.pretext import classification
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count
from medssl_jax.views.compose import View

# of spatial axes, from the first to the second; each has three turns
_PLANES = {2: ((0, 1),), 3: ((0, 1), (2, 1), (2, 0))}


def rotation(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    hidden_sizes: tuple[Count, ...] = (),
) -> base.Method:
    """Build the task of telling 10 rotations of a cube apart, or 4 of a square.

    Where all images are filled up along the same axis (see `data.longest_side`), the
    filling tells quarter turns from half ones: cut it off, or the task is easier than
    anatomy is.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", what is turned: s equal sides.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which batch statistics are taken.
      dtype: of the head's computation.
      hidden_sizes: of layers between the features and the classes.

    Raises:
      ConfigError: from `views`, if the sides differ: only equal ones can be turned
        about each axis.

    Source: Taleb et al. 2020, arXiv:2006.03829, section 3.3; in 2D arXiv:1803.07728.
    """

    del durations

    def make(key, example):
        view_key, label_key = jax.random.split(key)
        image = views["first"](view_key, example["image"])
        label = jax.random.randint(label_key, (), 0, _classes(image.ndim - 1))
        return {"images": rotate(image, label)[None], "label": label}

    return classification(
        backbone,
        make,
        _classes,
        axis_name=axis_name,
        dtype=dtype,
        hidden_sizes=hidden_sizes,
    )


def rotate(
    volume: Float[Array, "*s c"], label: Int[Array, ""] | int
) -> Float[Array, "*s c"]:
    """Turn a volume (s, s, s, c) by class 0 to 9, an image (s, s, c) by 0 to 3.

    0 leaves it; 1, 2, 3 turn by 90, 180 and 270 degrees in the plane of the first two
    axes, as `numpy.rot90` does; 4, 5, 6 from the third axis to the second; 7, 8, 9 from
    the third to the first. Voxels are moved, not interpolated.

    Raises:
      ConfigError: if the sides are not equal, or there are neither two nor three.
    """
    *sides, _ = volume.shape
    if len(sides) not in _PLANES or len(set(sides)) > 1:
        text = f"an image of {' x '.join(map(str, sides))} cannot be turned"
        raise ConfigError(
            f"method rotation: {text} about each axis: make the sides of "
            "config.data.shape, or of what config.views.first cuts out of it, equal"
        )
    plane, turns = jnp.divmod(jnp.asarray(label) - 1, 3)
    turns = jnp.where(plane < 0, 0, turns + 1)
    for number, (first, second) in enumerate(_PLANES[len(sides)]):
        here = plane == number
        # numpy.rot90: an odd number of turns exchanges the axes, then one is reversed
        volume = _if(here & (turns % 2 == 1), volume.swapaxes(first, second), volume)
        reverse_first = here & ((turns == 1) | (turns == 2))
        reverse_second = here & ((turns == 2) | (turns == 3))
        volume = _if(reverse_first, jnp.flip(volume, first), volume)
        volume = _if(reverse_second, jnp.flip(volume, second), volume)
    return volume


def _if(condition, yes, no):
    return jax.lax.select_n(condition, no, yes)


def _classes(ndim: int) -> int:
    return 1 + 3 * len(_PLANES.get(ndim, ()))
