"""Frequency bands of an image, and their energies."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from medssl_jax.errors import ConfigError
from medssl_jax.views.arguments import check_axes
from medssl_jax.views.interpolate import along_axes, gaussian_matrix


def rising(argument: str, sigmas: Sequence[float]) -> tuple[float, ...]:
    """Read the sigmas that separate the bands, one less than there are bands.

    Raises:
      ConfigError: if they are no sequence of positive numbers that rise.
    """
    numbers = tuple(sigmas) if isinstance(sigmas, Sequence) else ()
    if not (
        numbers
        and all(isinstance(sigma, int | float) for sigma in numbers)
        and all(a < b for a, b in zip((0, *numbers), numbers, strict=False))
    ):
        raise ConfigError(
            f"{argument} is {sigmas!r}; use positive numbers of voxels that rise, such "
            "as (1, 2, 4, 8)"
        )
    return tuple(map(float, numbers))


def split(
    image: Float[Array, "*s c"], sigmas: Sequence[float], axes: Sequence[int]
) -> list[Float[Array, "*s c"]]:
    """Split an image into bands, finest first, whose sum it is.

    Each is what one blur along `axes` leaves and the next takes away; the last is the
    widest blur. Channels are blurred apart.

    Source: Philipsen et al. 2015, with sigmas that double.
    """
    check_axes("energy_bands", axes, image.shape[:-1])
    blurred = [
        along_axes({a: gaussian_matrix(sigma, image.shape[a - 1]) for a in axes}, image)
        for sigma in sigmas
    ]
    finer = [image, *blurred]
    return [a - b for a, b in zip(finer, blurred, strict=False)] + [finer[-1]]


def centred(band: Float[Array, "*s c"]) -> Float[Array, "*s c"]:
    """Subtract each channel's mean."""
    return band - band.mean(axis=tuple(range(band.ndim - 1)), keepdims=True)


def energy(band: Float[Array, "*s c"]) -> Float[Array, ""]:
    """Return the standard deviation over the image, about each channel's mean."""
    return jnp.sqrt(jnp.mean(centred(band) ** 2))
