"""Relative patch location: where around the middle of the image is this patch from?"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from medssl_jax.methods import base
from medssl_jax.methods.patches import shaken, size_of
from medssl_jax.methods.pretext import classification
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Natural
from medssl_jax.views.compose import View

_GRID = 3


def relative_patch_location(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    jitter: Natural,
    standardise: bool,
    hidden_sizes: tuple[Count, ...],
) -> base.Method:
    """Build the task of telling which neighbour of the middle patch another one is.

    Of the 26 in a volume, or the 8 in an image. One backbone sees both patches, the
    middle one first.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", what is cut into 3 cells along each axis.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which batch statistics are taken.
      dtype: of the head's computation.
      jitter, standardise: as `shaken` takes them.
      hidden_sizes: of layers between the two patches' features and the places. Without
        one, what each patch says of the place is added up, and never compared.

    Raises:
      ConfigError: from `views`, as `shaken`; from `init`, as `classification`.

    Source: Taleb et al. 2020, arXiv:2006.03829, section 3.2; in 2D arXiv:1505.05192.
    """
    del durations

    def make(key, example):
        view_key, patch_key, label_key = jax.random.split(key, 3)
        image = views["first"](view_key, example["image"])
        label = jax.random.randint(label_key, (), 0, _neighbours(image.ndim - 1))
        cut = shaken(
            patch_key, image, grid=_GRID, jitter=jitter, standardise=standardise
        )
        middle = len(cut) // 2
        # the middle one is no neighbour
        other = jnp.where(label >= middle, label + 1, label)
        return {"images": cut[jnp.stack([jnp.int32(middle), other])], "label": label}

    return classification(
        backbone,
        make,
        _neighbours,
        axis_name=axis_name,
        dtype=dtype,
        hidden_sizes=hidden_sizes,
        seen=size_of(_GRID, jitter),
    )


def _neighbours(ndim: int) -> int:
    return _GRID**ndim - 1
