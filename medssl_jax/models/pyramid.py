"""A detector's head: a feature pyramid on a backbone's maps, and towers it shares."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from medssl_jax.errors import ConfigError
from medssl_jax.models.activation import relu
from medssl_jax.models.conv import convolve
from medssl_jax.models.initializers import lecun_normal, normal
from medssl_jax.models.network import Network, pure

Maps = tuple[Float[Array, "b *_"], ...]

_GROUPS = 32  # of channels that are normalised together, where they can be so many
_RARE = 0.01  # how likely a detection is at first: points are many, boxes few
_HALVED = 512  # voxels; no level halves more often than they can be


class Found(NamedTuple):
    """What each point p of each level says, the finest level first; float32.

    kinds: logits, of each kind on its own.
    distances: to a box's lower faces, then its upper ones, in strides of the level; 0
      at least.
    middle: a logit, how near to the middle of a box.
    """

    kinds: Float[Array, "b p k"]
    distances: Float[Array, "b p corners"]
    middle: Float[Array, "b p"]


def detector(
    *,
    kinds: int,
    levels: int,
    coarser: int,
    width: int,
    depth: int,
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """Map a backbone's maps to `Found`, with points of the coarsest `levels` and beyond.

    A map becomes `width` channels, gets the next coarser level's added, each voxel
    repeated, and is convolved. `coarser` levels more are each the one before, convolved
    at stride 2. Then two towers of `depth` convolutions, group normalisation and ReLU,
    the same of all levels: one for kinds, one for faces and middle. Batch statistics
    have no part in it.

    Args:
      kinds: of boxes.
      dtype: of the computation; parameters and what comes out are float32.

    Source: FCOS, arXiv:1904.01355, on FPN, arXiv:1612.03144, as torchvision has both.
    """
    return pure(_Detector(kinds, levels, coarser, width, depth, dtype))


def levels_of(shapes: tuple[tuple[int, ...], ...], levels: int, coarser: int):
    """Return the spatial shapes of the head's levels, given those of all maps.

    Raises:
      ConfigError: if there are fewer maps.
    """
    if levels > len(shapes):
        raise ConfigError(
            f"config.method.levels is {levels}, and config.model has {len(shapes)} maps"
        )
    found = list(shapes[-levels:])
    for _ in range(coarser):
        found.append(tuple(-(-n // 2) for n in found[-1]))
    return found


def strides_of(
    backbone: Network,
    variables: PyTree,
    image: tuple[int, ...],
    levels: int,
    coarser: int,
) -> list[tuple[int, ...]]:
    """Return how many voxels of an image (*s, c) lie between a level's points.

    They are told of a larger image, which every level divides without a rest, as patches
    divide this one.
    """
    *sides, channels = image
    sides = [math.lcm(side, _HALVED) for side in sides]
    large = jax.ShapeDtypeStruct((1, *sides, channels), jnp.float32)
    features, _ = jax.eval_shape(
        lambda variables, x: backbone.apply(variables, x, False), variables, large
    )
    shapes = tuple(m.shape[1:-1] for m in features.maps)
    found = levels_of(shapes, levels, coarser)
    return [tuple(s // n for s, n in zip(sides, shape, strict=True)) for shape in found]


class _Detector(nn.Module):
    kinds: int
    levels: int
    coarser: int
    width: int
    depth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Maps, train: int) -> Found:
        del train
        pyramid = self._pyramid(maps)
        ndim = maps[-1].ndim - 2
        of_kinds = _Tower(self.width, self.depth, self.dtype, name="kinds_tower")
        of_faces = _Tower(self.width, self.depth, self.dtype, name="faces_tower")
        last = (3,) * ndim
        rare = -math.log((1 - _RARE) / _RARE)
        kinds = _Conv(self.kinds, last, self.dtype, normal(0.01), rare, name="kinds")
        # all boxes reach a stride at first: a face that relu holds at 0 learns nothing
        faces = _Conv(2 * ndim, last, self.dtype, normal(0.01), 1.0, name="faces")
        middle = _Conv(1, last, self.dtype, normal(0.01), name="middle")
        found = []
        for x in pyramid:
            y = of_faces(x)
            outputs = kinds(of_kinds(x)), relu(faces(y)), middle(y)
            found.append([_flat(out) for out in outputs])
        of_each = (jnp.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        kinds, faces, middle = of_each
        return Found(kinds, faces, middle[..., 0])

    def _pyramid(self, maps):
        ndim = maps[-1].ndim - 2
        size = (3,) * ndim
        finer, x = [], None
        for i, skip in enumerate(reversed(maps[-self.levels :])):
            y = _Conv(self.width, (1,) * ndim, self.dtype, name=f"lateral{i}")(skip)
            x = y if x is None else y + _repeated(x, y.shape[1:-1])
            finer.append(_Conv(self.width, size, self.dtype, name=f"level{i}")(x))
        pyramid = finer[::-1]
        for i in range(self.coarser):
            x = relu(pyramid[-1]) if i else pyramid[-1]
            halves = {"strides": (2,) * ndim, "name": f"coarser{i}"}
            pyramid.append(_Conv(self.width, size, self.dtype, **halves)(x))
        return pyramid


class _Tower(nn.Module):
    """Convolutions 3 wide, each with group normalisation and ReLU."""

    width: int
    depth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s c"]:
        size = (3,) * (x.ndim - 2)
        for i in range(self.depth):
            x = _Conv(self.width, size, self.dtype, normal(0.01), name=f"conv{i}")(x)
            groups = math.gcd(self.width, _GROUPS)
            norm = nn.GroupNorm(groups, epsilon=1e-5, dtype=self.dtype, name=f"norm{i}")
            x = relu(norm(x))
        return x


class _Conv(nn.Module):
    """A convolution with a bias."""

    features: int
    size: tuple[int, ...]
    dtype: DTypeLike
    draw: nn.initializers.Initializer = lecun_normal
    start: float = 0.0  # the bias
    strides: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *t d"]:
        shape = (*self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.draw, shape, jnp.float32)
        constant = nn.initializers.constant(self.start)
        bias = self.param("bias", constant, (self.features,), jnp.float32)
        strides = self.strides or (1,) * len(self.size)
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), strides)
        return y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + bias.shape)


def _repeated(x, shape):
    """Repeat each voxel as often as fills `shape`; what a stride has rounded is cut."""
    for axis, size in enumerate(shape, start=1):
        times = -(-size // x.shape[axis])
        x = jnp.repeat(x, times, axis=axis)
        x = jax.lax.slice_in_dim(x, 0, size, axis=axis)
    return x


def _flat(x):
    return x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32)
