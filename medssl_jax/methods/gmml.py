"""GMML: group masked model learning, hidden groups of patches are made up again."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.models import heads
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Part
from medssl_jax.views.compose import View
from medssl_jax.views.corrupt import rectangles

_FILLS = ("none", "zeros", "ones", "noise", "image")
_NOTHING = 0.98  # of what the image's own mean would cost


def gmml(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    fill: str,
    most: Part,
    side: Part,
    align: Count,
) -> base.Method:
    """Build the task of making up what rectangles of an image hide.

    The decoder takes the mean of the backbone's maps, which have to be of one grid: those
    of a ViT. The loss is the mean absolute error over an image's hidden pixels, then
    over all images: so accumulated micro-batches are one large batch, exactly. (The
    public code takes the mean over all hidden pixels of its batch, in which images of
    which more is hidden weigh more.)

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", what is corrupted and made up again.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which images are exchanged, where `fill` is "image".
      dtype: of the decoder's computation.
      fill: what stands in the rectangles: "zeros", "ones", "noise", uniform in [0, 1),
        or "image", the same place of the next image of the batch. "none" leaves the
        image as it is, and every pixel is made up: an autoencoder.
      most, side, align: see `views.corrupt.rectangles`.

    Raises:
      ConfigError: if `fill` is unknown; from `init`, if maps differ in their grid; from
        `loss`, if there is no other image to fill in.

    Source: SB-SSL, arXiv:2208.13923, section 2 and eq. 2, and GMML, arXiv:2205.14986.
    """
    del durations
    if fill not in _FILLS:
        raise ConfigError(
            f"config.method.fill: unknown fill {fill!r}; known: {', '.join(_FILLS)}"
        )

    def decoder(patch, channels):
        return heads.pixels(patch=patch, channels=channels, dtype=dtype)

    def make(key, example):
        view_key, mask_key, noise_key = jax.random.split(key, 3)
        image = views["first"](view_key, example["image"])
        mask = jnp.ones(image.shape[:-1], bool)
        if fill != "none":
            mask = rectangles(
                mask_key, image.shape[:-1], most=most, side=side, align=align
            )
        made = {"image": image, "hidden": mask}
        if fill != "image":  # that is of another example: see `fed`
            made["corrupted"] = _filled(noise_key, image, mask, fill)
        return made

    def init(key, batch):
        view_key, backbone_key, decoder_key = jax.random.split(key, 3)
        image = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, image)
        features, _ = backbone.apply(encoder, image, False)
        maps = _mean_map(features.maps)
        params = {
            "backbone": encoder["params"],
            "decoder": decoder(*_patches(image, maps)).init(decoder_key, maps)[
                "params"
            ],
        }
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def fed(views, axis_name):
        if fill != "image":
            return views["corrupted"]
        image = views["image"]
        return jnp.where(views["hidden"][..., None], _next(image, axis_name), image)

    def made_up(params, features, image):
        maps = _mean_map(features.maps)
        to_pixels = decoder(*_patches(image, maps))
        return to_pixels.apply({"params": params["decoder"]}, maps, True)[0]

    def loss(params, aux, views, key, update):
        del key, update
        image, hidden = views["image"], views["hidden"][..., None]
        features, stats = backbone.apply(
            base.backbone_variables(params, aux),
            fed(views, axis_name),
            True,
            views.get(base.KEYS),
        )
        made = made_up(params, features, image)
        per_example = _mean_where(jnp.abs(made - image), hidden)
        mean = _mean_where(image, hidden if fill == "none" else ~hidden)
        mean = mean.reshape(-1, *[1] * (image.ndim - 1))
        of_mean = _mean_where(jnp.abs(mean - image), hidden)
        both = jnp.stack([per_example.mean(), of_mean.mean()])
        if axis_name is not None:
            both = lax.pmean(both, axis_name)
        metrics = {
            "hidden": jnp.mean(hidden, dtype=jnp.float32),
            "loss_of_mean": both[0] / both[1],
            "spread": base.spread(features.pooled[None], axis_name),
        }
        new = {**aux, "batch_stats": {"backbone": stats}}
        return per_example.mean(), (new, metrics)

    def reconstruct(params, aux, views):
        corrupted = fed(views, None)
        features, _ = backbone.apply(
            base.backbone_variables(params, aux), corrupted, False
        )
        return {
            "image": views["image"],
            "hidden": views["hidden"],
            "corrupted": corrupted,
            "reconstruction": made_up(params, features, views["image"]),
        }

    return base.Method(
        init,
        make,
        loss,
        base.no_change,
        base.backbone_variables,
        in_batch="what is filled in" if fill == "image" else "",
        verdict=_verdict,
        reconstruct=reconstruct,
    )


def _filled(
    key: PRNGKeyArray,
    image: Float[Array, "*s c"],
    mask: Bool[Array, "*s"],
    fill: str,
) -> Float[Array, "*s c"]:
    """Return the image with its rectangles filled."""
    if fill == "none":
        return image
    others = {
        "zeros": jnp.zeros_like,
        "ones": jnp.ones_like,
        "noise": lambda x: jax.random.uniform(key, x.shape, x.dtype),
    }
    return jnp.where(mask[..., None], others[fill](image), image)


def _next(images: Float[Array, "b *s c"], axis_name: str | None):
    """Return for each image the one after it in the global batch."""
    base.check_negatives(len(images), axis_name)
    first = images[:1]
    if axis_name is not None:  # the first of the next device
        count = lax.axis_size(axis_name)
        around = [(i, (i - 1) % count) for i in range(count)]
        first = lax.ppermute(first, axis_name, around)
    return jnp.concatenate([images[1:], first])


def _mean_map(maps: tuple[Float[Array, "b *g d"], ...]) -> Float[Array, "b *g d"]:
    shapes = {one.shape for one in maps}
    if len(shapes) > 1:
        raise ConfigError(
            "method gmml takes the mean of the backbone's maps, and those of "
            "config.model are of several sizes: use a vit"
        )
    return sum(maps) / len(maps)


def _patches(image, maps) -> tuple[tuple[int, ...], int]:
    """Return how large an image's patches are, and its channels."""
    sides, grid = image.shape[1:-1], maps.shape[1:-1]
    patch = tuple(side // n for side, n in zip(sides, grid, strict=True))
    return patch, image.shape[-1]


def _mean_where(
    x: Float[Array, "b *s c"], where: Bool[Array, "b *s 1"]
) -> Float[Array, " b"]:
    """Return each image's mean over some of its pixels; at least one is hidden."""
    axes = range(1, x.ndim)
    weights = jnp.broadcast_to(where, x.shape).astype(x.dtype)
    return (x * weights).sum(axes) / jnp.maximum(weights.sum(axes), 1.0)


def _verdict(metrics: Mapping[str, float]) -> str:
    if metrics["loss_of_mean"] > _NOTHING:
        return (
            "nothing is learnt yet: what is hidden is made up no better than by the "
            "mean of what is seen"
        )
    return ""
