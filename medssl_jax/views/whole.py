"""Views of the whole image, which `compose` does before anything is cut out of it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.views import bands
from medssl_jax.views.arguments import Axes, Shape, axes_from_right, chance
from medssl_jax.views.op import Op

Image = Float[Array, "*s c"]


def energy_bands(
    *,
    sigmas: Sequence[float],
    mean: Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    axes: Axes = (-2, -1),
    probability: float = 1.0,
) -> Op:
    """Bring the energy of each frequency band near that of reference images.

    The image is split by Gaussian filters of `sigmas` voxels along `axes` (in-plane
    unless said) into bands whose sum it is, one more than sigmas. The deviation of band
    i from its mean is multiplied by reference energy over own energy, which is the
    standard deviation over the whole image. Reference energies are drawn, each on its
    own, uniformly within `std[i]` of `mean[i]`; a `std` of 0 normalises, without
    randomness. A factor is of all channels alike, so that colours keep their relation.

    `mean` and `std` have one number for each band, finest first;
    `medssl_jax.data.energies` measures those that are None over the training images.
    They are of all modalities together: a view sees an image, and not what it is of.

    Departures from the publication: the image is split before it is rescaled, because
    energies are of the whole image, and rescaling and cropping are one interpolation;
    so the views of an image share one split, too. And the mean stays: scaled with the
    widest band, as eq. 8 has it, that of a flat image would leave the window (.5 +- .015
    in [0, 1], a chest CT of MedNIST, comes to 8.8 at the references of all its kinds).

    The result is not clipped.

    Raises:
      ConfigError: if `mean` or `std` is None, or does not fit `sigmas`.

    Source: arXiv:2201.01283, eq. 8; Philipsen et al. 2015 (TMI 34 (9)).
    """
    sigmas = bands.rising("energy_bands.sigmas", sigmas)
    axes = axes_from_right("energy_bands.axes", axes)
    probability = chance("energy_bands.probability", probability)
    mean = _per_band("energy_bands.mean", mean, sigmas)
    if isinstance(std, int | float):
        std = (std,) * len(mean)
    std = _per_band("energy_bands.std", std, sigmas)

    def sample(key: PRNGKeyArray, shape: Shape):
        del shape
        units = jax.random.uniform(key, (1 + len(mean),))
        drawn = jnp.float32(mean) + (2 * units[1:] - 1) * jnp.float32(std)
        # mixed modalities may spread by more than their mean
        return units[0] < probability, jnp.maximum(drawn, 0)

    def apply(drawn: tuple[Bool[Array, ""], Float[Array, "_"]], image: Image) -> Image:
        hit, references = drawn
        for band, reference in zip(
            bands.split(image, sigmas, axes), references, strict=True
        ):
            # below 1e-4, a fortieth of one step of 8 bits, there is only rounding
            factor = reference / jnp.maximum(bands.energy(band), 1e-4)
            # as a change: a factor of 1 has to give the same bits
            image += jnp.where(hit, factor - 1, 0) * bands.centred(band)
        return image

    return Op(sample, apply)


def _per_band(argument, value, sigmas):
    """Read one number for each band, 0 or more."""
    if value is None or (isinstance(value, Sequence) and not value):
        raise ConfigError(
            f"{argument} is not given: medssl_jax.data.energies.fill measures it for a "
            f"run; else use {len(sigmas) + 1} numbers, one for each band"
        )
    numbers = tuple(value) if isinstance(value, Sequence) else ()
    usable = all(isinstance(x, int | float) and 0 <= x < float("inf") for x in numbers)
    if not (usable and len(numbers) == len(sigmas) + 1):
        raise ConfigError(
            f"{argument} is {value!r}; use {len(sigmas) + 1} numbers, 0 or more, one for "
            f"each band that energy_bands.sigmas {sigmas} separate"
        )
    return numbers
