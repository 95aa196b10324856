"""Colour views, in the order in which `compose` does them.

For images with one channel (grey) or three (RGB). Formulas are those of Pillow's
ImageEnhance and of Python's colorsys, which torchvision follows.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.views.arguments import Shape, chance
from medssl_jax.views.op import Op, between

Image = Float[Array, "*s c"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L


def color_jitter(*, strength: float = 0.0, probability: float = 1.0) -> Op:
    """Change brightness, contrast, saturation and hue, all or none: one draw decides.

    The factors of the first three lie within .8 * `strength` of 1, and not below 0; the
    hue moves by up to .2 * `strength` of the circle. On grey images saturation and hue
    are the identity. SimCLR has a probability of .8.

    Departure from SimCLR: the order is fixed, where it is drawn there; under vmap that
    would cost each of the four in every place.

    Source: SimCLR, arXiv:2002.05709, app. A.
    """
    if not (isinstance(strength, int | float) and strength >= 0):
        raise ConfigError(
            f"color_jitter.strength is {strength!r}; use a number, 0 or more: 1 is "
            "SimCLR's"
        )
    probability = chance("color_jitter.probability", probability)
    factor = (max(1 - 0.8 * strength, 0.0), 1 + 0.8 * strength)
    hue = (-0.2 * strength, 0.2 * strength)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, "4"]:
        del shape
        units = jax.random.uniform(key, (5,))
        drawn = jnp.append(between(units[1:4], factor), between(units[4], hue))
        return jnp.where(units[0] < probability, drawn, jnp.float32([1, 1, 1, 0]))

    def apply(drawn: Float[Array, "4"], image: Image) -> Image:
        brightness, contrast, saturation, hue = drawn
        _check_channels("color_jitter", image)
        image = _blend(jnp.zeros_like(image), image, brightness)
        mean = jnp.broadcast_to(_grey(image).mean(), image.shape)
        image = _blend(mean, image, contrast)
        if image.shape[-1] == 1:
            return image
        image = _blend(jnp.broadcast_to(_grey(image), image.shape), image, saturation)
        return jnp.where(hue == 0, image, _turn_hue(image, hue))

    return Op(sample, apply)


def greyscale(*, probability: float = 0.0) -> Op:
    """Give all three channels the luma at `probability`; grey images stay as they are.

    SimCLR has a probability of .2.
    """
    probability = chance("greyscale.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        del shape
        return jnp.where(jax.random.uniform(key) < probability, 1.0, 0.0)

    def apply(hit: Float[Array, ""], image: Image) -> Image:
        _check_channels("greyscale", image)
        return jnp.where(hit == 1, jnp.broadcast_to(_grey(image), image.shape), image)

    return Op(sample, apply)


def _check_channels(view: str, image: Image) -> None:
    if image.shape[-1] not in (1, 3):
        raise ConfigError(
            f"view {view!r} takes grey or RGB images, 1 or 3 channels; these have "
            f"{image.shape[-1]}"
        )


def _grey(image: Image) -> Float[Array, "*s 1"]:
    if image.shape[-1] == 1:
        return image
    weights = jnp.asarray(_LUMA, image.dtype)
    return jnp.sum(image * weights.reshape((1,) * (image.ndim - 1) + (3,)), -1)[
        ..., None
    ]


def _blend(base: Image, image: Image, factor: Float[Array, ""]) -> Image:
    # Not base + factor * (image - base): a factor of 1 has to give the same bits.
    return jnp.clip(factor * image + (1 - factor) * base, 0, 1)


def _turn_hue(image: Image, turn: Float[Array, ""]) -> Image:
    """Move the hue by `turn` of the circle; value and saturation stay."""
    red, green, blue = jnp.moveaxis(image, -1, 0)
    value, least = image.max(axis=-1), image.min(axis=-1)
    chroma = value - least
    safe = jnp.where(chroma == 0, 1, chroma)
    # compared with each other, not with the value: a compiler may compute a channel anew
    # for each of its readers, and round it otherwise
    sixths = jnp.where(  # of the circle, from red
        red >= jnp.maximum(green, blue),
        (green - blue) / safe,
        jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # Each channel falls from the value by the chroma times a trapezoid of the hue.
    place = jnp.stack([5 + sixths, 3 + sixths, 1 + sixths], axis=-1) + 6 * turn
    place = jnp.mod(place, 6)
    fall = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
    return value[..., None] - chroma[..., None] * fall
