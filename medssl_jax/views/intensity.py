"""Intensity views, in the order in which `compose` does them.

Each is alike in all voxels of a volume: one draw, and statistics over the whole of it.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.views.arguments import (
    Axes,
    Range,
    Shape,
    axes_from_right,
    chance,
    check_axes,
    limits,
    size_voxels,
)
from medssl_jax.views.interpolate import along_axes, gaussian_matrix
from medssl_jax.views.op import Op, between, between_or

Image = Float[Array, "*s c"]


def bias_field(
    *, coefficients: Range = 0.0, order: int = 3, probability: float = 1.0
) -> Op:
    """Multiply by exp of a polynomial of the position, as a receive coil does.

    `coefficients` are drawn one for each monomial of degree 1 to `order` in coordinates
    that go from -1 to 1 along every axis. TorchIO's RandomBiasField, less its constant
    term, which `brightness` is.

    Source: Van Leemput et al. 1999 for the model.
    """
    coefficients = limits("bias_field.coefficients", coefficients)
    probability = chance("bias_field.probability", probability)
    (order,) = size_voxels("bias_field.order", (order,), 1)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, "_"]:
        units = jax.random.uniform(key, (1 + len(_monomials(order, len(shape))),))
        drawn = between(units[1:], coefficients)
        return jnp.where(units[0] < probability, drawn, 0)

    def apply(drawn: Float[Array, "_"], image: Image) -> Image:
        shape = image.shape[:-1]
        lines = [jnp.linspace(-1.0, 1.0, n) for n in shape]
        axes = jnp.meshgrid(*lines, indexing="ij", sparse=True)
        log_field = jnp.zeros(shape)
        for coefficient, powers in zip(
            drawn, _monomials(order, len(shape)), strict=True
        ):
            term = math.prod(x**n for x, n in zip(axes, powers, strict=True))
            log_field += coefficient * term
        return image * jnp.exp(log_field)[..., None]

    return Op(sample, apply)


def gamma(
    *,
    log_gamma: Range = 0.0,
    exponent: Range | None = None,
    probability: float = 1.0,
) -> Op:
    """Raise intensities to a power; negative ones keep their sign (TorchIO).

    The power is exp(log_gamma), or `exponent`, whichever is given: of a pair, the first
    has a uniform logarithm, the second is uniform itself. 1.8 to 2.6 is arXiv:2201.01283.

    Raises:
      ConfigError: if both are given.
    """
    if exponent is not None and log_gamma != 0:
        raise ConfigError(
            f"gamma.log_gamma {log_gamma!r} and gamma.exponent {exponent!r} are both "
            "given, two laws of one number; leave one out"
        )
    logs = limits("gamma.log_gamma", log_gamma)
    powers = None if exponent is None else limits("gamma.exponent", exponent, 0.01, 100)
    probability = chance("gamma.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        del shape
        units = jax.random.uniform(key, (2,))
        if powers is not None:
            return between_or(1, units, powers, probability)
        return jnp.exp(between_or(0, units, logs, probability))

    def apply(power: Float[Array, ""], image: Image) -> Image:
        return jnp.sign(image) * jnp.abs(image) ** power

    return Op(sample, apply)


def linear(*, factor: Range = 1.0, offset: Range = 0.0, probability: float = 1.0) -> Op:
    """Multiply by `factor`, then add `offset` times the image's range, max - min.

    The range is that of what comes in: of the crop, where there is one. The result is
    not clipped, so that neither end of the image is lost. The paper, which has (0.9,
    1.1) and (-0.2, 0.2), is silent on both.

    Source: arXiv:2201.01283, section III-C.
    """
    factor = limits("linear.factor", factor)
    offset = limits("linear.offset", offset)
    probability = chance("linear.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, "2"]:
        del shape
        units = jax.random.uniform(key, (3,))
        drawn = [between(units[1], factor), between(units[2], offset)]
        return jnp.where(units[0] < probability, jnp.stack(drawn), jnp.float32([1, 0]))

    def apply(drawn: Float[Array, "2"], image: Image) -> Image:
        return drawn[0] * image + drawn[1] * (image.max() - image.min())

    return Op(sample, apply)


def brightness(*, factor: Range = 1.0, probability: float = 1.0) -> Op:
    """Multiply by `factor`, then clip to [0, 1] (torchvision's adjust_brightness)."""
    factor = limits("brightness.factor", factor, 0)
    probability = chance("brightness.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        del shape
        units = jax.random.uniform(key, (2,))
        return between_or(1, units, factor, probability)

    return Op(sample, _brighten)


def contrast(*, factor: Range = 1.0, probability: float = 1.0) -> Op:
    """Multiply the distance to the mean, then clip to [0, 1].

    As torchvision's adjust_contrast, but about the mean of the volume and its channels,
    where torchvision takes each frame's: slices keep their relation to each other.
    """
    factor = limits("contrast.factor", factor, 0)
    probability = chance("contrast.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        del shape
        units = jax.random.uniform(key, (2,))
        return between_or(1, units, factor, probability)

    return Op(sample, _stretch)


def jitter(
    *,
    brightness: Range = 1.0,
    contrast: Range = 1.0,
    probability: float = 1.0,
) -> Op:
    """Do `brightness`, then `contrast`, both or neither: one draw decides.

    torchvision's ColorJitter inside RandomApply, as SimCLR and BYOL have it, on grey
    images; its jitter of 0.4 is the factor (0.6, 1.4). There the order is random too.
    `color_jitter` is SimCLR's by its strength, for RGB too.
    """
    factors = (
        limits("jitter.brightness", brightness, 0),
        limits("jitter.contrast", contrast, 0),
    )
    probability = chance("jitter.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, "2"]:
        del shape
        units = jax.random.uniform(key, (3,))
        drawn = [between(u, f) for u, f in zip(units[1:], factors, strict=True)]
        return jnp.where(units[0] < probability, jnp.stack(drawn), 1)

    def apply(factors: Float[Array, "2"], image: Image) -> Image:
        return _stretch(factors[1], _brighten(factors[0], image))

    return Op(sample, apply)


def sharpness(*, factor: Range = 1.0, probability: float = 1.0) -> Op:
    """Multiply the distance to a smoothed image by `factor`, then clip to [0, 1].

    Smoothed in-plane, over 3 x 3 pixels of which the middle weighs 5; at the border
    the image stays as it is. As torchvision's adjust_sharpness and Pillow's.
    """
    factor = limits("sharpness.factor", factor, 0)
    probability = chance("sharpness.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        del shape
        units = jax.random.uniform(key, (2,))
        return between_or(1, units, factor, probability)

    def apply(factor: Float[Array, ""], image: Image) -> Image:
        *_, rows, columns, _ = image.shape
        around = sum(
            image[..., i : rows - 2 + i, j : columns - 2 + j, :]
            for i in range(3)
            for j in range(3)
        )
        inner = (..., slice(1, -1), slice(1, -1), slice(None))
        smooth = image.at[inner].set((around + 4 * image[inner]) / 13)
        return jnp.clip(factor * image + (1 - factor) * smooth, 0, 1)

    return Op(sample, apply)


def gaussian_blur(
    *, sigma: Range = 0.0, axes: Axes = (-2, -1), probability: float = 1.0
) -> Op:
    """Blur along `axes` (in-plane unless said) with a Gaussian of `sigma` voxels.

    The kernel is not cut off; at the border its weights are those inside, made to sum
    to 1.
    """
    sigma = limits("gaussian_blur.sigma", sigma, 0)
    axes = axes_from_right("gaussian_blur.axes", axes)
    probability = chance("gaussian_blur.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        check_axes("gaussian_blur", axes, shape)
        units = jax.random.uniform(key, (2,))
        return between_or(0, units, sigma, probability)

    def apply(sigma: Float[Array, ""], image: Image) -> Image:
        kernels = {axis: gaussian_matrix(sigma, image.shape[axis - 1]) for axis in axes}
        return along_axes(kernels, image)

    return Op(sample, apply)


def gaussian_noise(*, std: Range = 0.0, probability: float = 1.0) -> Op:
    """Add white noise of standard deviation `std`; the sum is not clipped (MONAI)."""
    std = limits("gaussian_noise.std", std, 0)
    probability = chance("gaussian_noise.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape):
        del shape
        std_key, noise_key = jax.random.split(key)
        units = jax.random.uniform(std_key, (2,))
        return between_or(0, units, std, probability), noise_key

    def apply(parameters, image: Image) -> Image:
        std, key = parameters
        # drawn flat: XLA's CPU compiler takes seconds over a draw of several axes
        noise = jax.random.normal(key, (image.size,), image.dtype)
        return image + std * noise.reshape(image.shape)

    return Op(sample, apply)


def standardise() -> Op:
    """Bring the clip to mean 0 and standard deviation 1; a constant one becomes 0."""

    def sample(key: PRNGKeyArray, shape: Shape) -> tuple[()]:
        del key, shape
        return ()

    def apply(parameters: tuple[()], image: Image) -> Image:
        del parameters
        centred = image - image.mean()
        # 1e-4 is a fortieth of one step of 8 bits: below, there is only rounding
        return centred / jnp.maximum(jnp.sqrt(jnp.mean(centred**2)), 1e-4)

    return Op(sample, apply)


def _monomials(order: int, axes: int) -> list[tuple[int, ...]]:
    """List the powers of each axis in the monomials of degree 1 to `order`."""
    every = itertools.product(range(order + 1), repeat=axes)
    return [powers for powers in every if 1 <= sum(powers) <= order]


def _brighten(factor: Float[Array, ""], image: Image) -> Image:
    return jnp.clip(image * factor, 0, 1)


def _stretch(factor: Float[Array, ""], image: Image) -> Image:
    mean = image.mean()
    # Not mean + factor * (image - mean): a factor of 1 has to give the same bits.
    return jnp.clip(factor * image + (1 - factor) * mean, 0, 1)
