"""What a backbone returns: a vector, its maps, its attention."""

from typing import NamedTuple

from jaxtyping import Array, Float

from medssl_jax.models.network import Network


class Features(NamedTuple):
    """What a backbone makes of images (b, *s, c); what nobody reads costs nothing.

    pooled: a vector for each image, float32.
    maps: one for each resolution, finest first; the last are what was pooled.
    attention: for pictures, where the backbone has some.
    """

    pooled: Float[Array, "b d"]
    maps: tuple[Float[Array, "b *_"], ...]
    attention: Float[Array, "b h n n"] | None = None


def pooled(backbone: Network) -> Network:
    """Return the backbone as a network of vectors: images (b, *s, c) -> (b, d)."""

    def apply(variables, x, train, keys=None):
        features, stats = backbone.apply(variables, x, train, keys)
        return features.pooled, stats

    return Network(backbone.init, apply)
