"""What a backbone returns: a vector, its maps, its attention."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, PyTree

from medssl_jax.errors import ConfigError
from medssl_jax.models.network import Network

_LARGE = 256  # voxels; no network halves more often than they can be


class Features(NamedTuple):
    """What a backbone makes of images (b, *s, c); what nobody reads costs nothing.

    pooled: a vector for each image, float32.
    maps: one for each resolution, finest first; the last are what was pooled.
    attention: of each block, first to last, for pictures, where the backbone has some.
    """

    pooled: Float[Array, "b d"]
    maps: tuple[Float[Array, "b *_"], ...]
    attention: tuple[Float[Array, "b h n n"], ...] | None = None


def pooled(backbone: Network) -> Network:
    """Return the backbone as a network of vectors: images (b, *s, c) -> (b, d)."""

    def apply(variables, x, train, keys=None):
        features, stats = backbone.apply(variables, x, train, keys)
        return features.pooled, stats

    return backbone._replace(apply=apply)


def vectors_alone(backbone: Network) -> Network:
    """Return the backbone as a network of Features without maps and attention.

    What a branch returns is computed, whoever reads it.
    """

    def apply(variables, x, train, keys=None):
        features, stats = backbone.apply(variables, x, train, keys)
        return Features(features.pooled, ()), stats

    return backbone._replace(apply=apply)


def check_halvings(
    backbone: Network, variables: PyTree, images: Float[Array, "b *s c"], of: str
) -> None:
    """Refuse images so small that a network's last halving finds one voxel.

    It would halve it to one voxel again: levels without any context, which cost time and
    hide that what is trained on is too small. `of` says what made them so, for the error.

    Raises:
      ConfigError: with the sizes that there are and have to be.
    """
    *sides, channels = images.shape[1:]
    large = jax.ShapeDtypeStruct((1, *(_LARGE,) * len(sides), channels), images.dtype)
    features, _ = jax.eval_shape(
        lambda variables, x: backbone.apply(variables, x, False), variables, large
    )
    strides = [_LARGE // n for n in features.maps[-1].shape[1:-1]]
    if any(1 < s >= 2 * n for n, s in zip(sides, strides, strict=True)):
        raise ConfigError(
            f"{of} makes patches of {_by(sides)} voxels, and config.model one voxel out "
            f"of {_by(strides)}: its last halving would have nothing to halve. More than "
            f"{_by(s // 2 for s in strides)} are needed: make config.data.shape larger, or "
            "config.model shallower"
        )


def _by(sides):
    return " x ".join(map(str, sides))
