"""Jigsaw: in which of some hundred orders are an image's patches?"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Int

from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.methods.patches import shaken, size_of
from medssl_jax.methods.pretext import classification
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Natural, Several
from medssl_jax.views.compose import View

_GRID = 3  # whose permutations have a closed form


def jigsaw(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    orders: Several,
    seed: Natural,
    jitter: Natural,
    standardise: bool,
    hidden_sizes: tuple[Count, ...],
) -> base.Method:
    """Build the task of telling in which order 27 patches are, or 9 of an image.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", what is cut into 3 cells along each axis.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which batch statistics are taken.
      dtype: of the head's computation.
      orders: how many permutations there are to tell apart, `permutations` of `seed`.
      jitter, standardise: as `shaken` takes them.
      hidden_sizes: of layers between the patches' features and the orders.

    Raises:
      ConfigError: from `views`, as `shaken` and `permutations`; from `init`, as
        `classification`.

    Source: Taleb et al. 2020, arXiv:2006.03829, section 3.2; in 2D arXiv:1603.09246.
    """
    del durations

    def make(key, example):
        view_key, patch_key, order_key = jax.random.split(key, 3)
        image = views["first"](view_key, example["image"])
        cells = _GRID ** (image.ndim - 1)
        known = jnp.asarray(permutations(cells, orders, seed))
        label = jax.random.randint(order_key, (), 0, orders)
        cut = shaken(
            patch_key, image, grid=_GRID, jitter=jitter, standardise=standardise
        )
        return {"images": cut[known[label]], "label": label}

    return classification(
        backbone,
        make,
        lambda ndim: orders,
        axis_name=axis_name,
        dtype=dtype,
        hidden_sizes=hidden_sizes,
        seen=size_of(_GRID, jitter),
    )


def permutations(cells: int, count: int, seed: int) -> Int[np.ndarray, "count cells"]:
    """Return permutations that are as far apart as any that many could be.

    Any two differ in 26 of 27 cells, or in 7 of 9: no search, but all x -> a x + b of
    the field of 27 elements (702), of which two agree in one place at most; or the 504
    fractional linear maps of the projective line over the field of 8, of which two
    agree in two at most. `seed` chooses `count` of them, none twice.

    Raises:
      ConfigError: if there is no such set: of other cells, or of more permutations.
    """
    known = {27: _affine, 9: _projective}
    if cells not in known:
        raise ConfigError(f"{cells} cells have no permutations here; 27 and 9 have")
    every = known[cells]()
    if not 1 <= count <= len(every):
        raise ConfigError(
            f"method.orders is {count}; {cells} cells have {len(every)} permutations "
            "that are as far apart as can be"
        )
    return np.random.default_rng(seed).choice(every, count, replace=False)


@functools.cache
def _affine():
    add, multiply = _field(3, (2, 1, 0))  # x^3 = x + 2, for x^3 + 2 x + 1 is 0
    return np.array(
        [
            [add[multiply[a, x], b] for x in range(27)]
            for a, b in itertools.product(range(1, 27), range(27))
        ]
    )


@functools.cache
def _projective():
    add, multiply = _field(2, (1, 1, 0))  # x^3 = x + 1
    far, found = 8, []  # the point at infinity
    divide = {
        (multiply[x, y], y): x for x, y in itertools.product(range(8), range(1, 8))
    }
    for a, b, d in itertools.product(range(8), repeat=3):
        if d == 1 and a:  # a x + b
            found.append([add[multiply[a, x], b] for x in range(8)] + [far])
        if multiply[a, d] != b:  # (a x + b) / (x + d)
            above = [add[multiply[a, x], b] for x in range(8)]
            below = [add[x, d] for x in range(8)]
            pairs = zip(above, below, strict=True)
            found.append([divide[p] if p[1] else far for p in pairs] + [a])
    return np.array(found)


def _field(p: int, cube: tuple[int, int, int]):
    """Return the tables of + and * of polynomials over Z_p, where x^3 is `cube`.

    An element is its coefficients as the digits of a number, that of 1 first.
    """
    digits = [divmod(n, p) for n in range(p**3)]
    digits = np.array([(low, rest % p, rest // p) for rest, low in digits])
    place = p ** np.arange(3)
    add = (digits[:, None] + digits[None]) % p @ place
    product = np.zeros((p**3, p**3, 5), int)
    for i, j in itertools.product(range(3), repeat=2):
        product[..., i + j] += digits[:, None, i] * digits[None, :, j]
    for high in (4, 3):
        for k in range(3):
            product[..., high - 3 + k] += product[..., high] * cube[k]
    return add, product[..., :3] % p @ place
