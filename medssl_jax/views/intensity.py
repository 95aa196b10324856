"""Intensity views, in the order in which `compose` does them.

Each is alike in all voxels of a volume: one draw, and statistics over the whole of it.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

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
from medssl_jax.views.op import Op, between, between_or
from medssl_jax.views.resample import along_axes

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


def gamma(*, log_gamma: Range = 0.0, probability: float = 1.0) -> Op:
    """Raise intensities to exp(log_gamma); negative ones keep their sign (TorchIO)."""
    log_gamma = limits("gamma.log_gamma", log_gamma)
    probability = chance("gamma.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        del shape
        units = jax.random.uniform(key, (2,))
        return between_or(0, units, log_gamma, probability)

    def apply(log_gamma: Float[Array, ""], image: Image) -> Image:
        return jnp.sign(image) * jnp.abs(image) ** jnp.exp(log_gamma)

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


def gaussian_blur(
    *, sigma: Range = 0.0, axes: Axes = (-2, -1), probability: float = 1.0
) -> Op:
    """Blur along `axes` (in-plane unless said) with a Gaussian of `sigma` voxels.

    One matrix per axis costs the same at every radius, so the kernel is not cut off; at
    the border its weights are those inside, made to sum to 1.
    """
    sigma = limits("gaussian_blur.sigma", sigma, 0)
    axes = axes_from_right("gaussian_blur.axes", axes)
    probability = chance("gaussian_blur.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> Float[Array, ""]:
        check_axes("gaussian_blur", axes, shape)
        units = jax.random.uniform(key, (2,))
        return between_or(0, units, sigma, probability)

    def apply(sigma: Float[Array, ""], image: Image) -> Image:
        kernels = {axis: _gaussian(sigma, image.shape[axis - 1]) for axis in axes}
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


def _gaussian(sigma: Float[Array, ""], n: int) -> Float[Array, "n n"]:
    index = jnp.arange(n, dtype=jnp.float32)
    distance = index[:, None] - index[None]
    # the floor makes sigma 0 the identity: exp(-5000) is 0, exp(0) is 1
    weights = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 0.01)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)
