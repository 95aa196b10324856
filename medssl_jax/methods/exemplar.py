"""Exemplar: an image is nearer to an altered view of itself than to another patient's."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, UInt

from medssl_jax.losses import triplet
from medssl_jax.methods import base
from medssl_jax.methods.pretext import solved, verdict
from medssl_jax.models import heads
from medssl_jax.models.features import pooled
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Positive
from medssl_jax.views.compose import View

_EASY = "the negatives are easy to tell: set method.hardest=True, and a larger batch"


def exemplar(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    output_size: Count,
    margin: Positive,
    hardest: bool,
) -> base.Method:
    """Build the triplet task on sigmoid codes, made by one head for all three images.

    The negative of an example is the anchor of another one of the micro-batch, over all
    devices, and never of the same patient: the next one in the batch, whose order is
    random, or the nearest. An example whose patient has the whole batch costs nothing.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", the anchor; "second", its altered view.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which negatives and batch statistics are taken.
      dtype: of the head's computation.
      output_size: of the codes; published 1024.
      margin: by how much farther the negative has to be, in mean squared distance.
        Codes are between 0 and 1, so that the published 1.0 never is reached, and the
        task has no end: .1 and less is.
      hardest: take the nearest negative.

    Raises:
      ConfigError: from `loss`, if there is but one example.

    Source: Taleb et al. 2020, arXiv:2006.03829, section 3.4; the hinge is that of
    arXiv:1503.03832.
    """
    del durations
    backbone = pooled(backbone)
    head = heads.linear(output_size=output_size, dtype=dtype)

    def two_views(key, example):
        first, second = jax.random.split(key)
        return {
            "first": views["first"](first, example["image"]),
            "second": views["second"](second, example["image"]),
            "patient": example["patient"],
        }

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        params = {
            "backbone": encoder["params"],
            "head": head.init(head_key, features)["params"],
        }
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def loss(params, aux, views, key, update):
        del key, update
        base.check_negatives(len(views["first"]), axis_name)
        keys = base.keys_of(views, 2)
        features, stats = backbone.apply(
            base.backbone_variables(params, aux),
            jnp.concatenate([views["first"], views["second"]]),
            True,
            None if keys is None else keys.reshape(-1),
        )
        out, _ = head.apply({"params": params["head"]}, features, True)
        codes = jax.nn.sigmoid(out).reshape(2, -1, output_size)
        negative, there = _negatives(codes[0], views["patient"], hardest, axis_name)
        per_example = triplet(*codes, negative, margin=margin)
        per_example = jnp.where(there, per_example, jnp.zeros_like(per_example))
        metrics = {
            "pretext_accuracy": jnp.mean(
                there & (per_example < margin), dtype=jnp.float32
            ),
            "active": jnp.mean(per_example > 0, dtype=jnp.float32),
            "loss_of_guessing": per_example.mean() / margin,
            "spread": base.spread(codes, axis_name),
        }
        new = {**aux, "batch_stats": {"backbone": stats}}
        return per_example.mean(), (new, metrics)

    return base.Method(
        init,
        two_views,
        loss,
        base.no_change,
        base.backbone_variables,
        in_batch="negatives",
        strangers=True,
        early=functools.partial(solved, why=_EASY),
        verdict=verdict,
    )


def _negatives(
    anchors: Float[Array, "b d"],
    patients: UInt[Array, " b"],
    hardest: bool,
    axis_name: str | None,
) -> tuple[Float[Array, "b d"], Bool[Array, " b"]]:
    """Return the code of another patient's anchor for each row, and whether there is one."""
    every, of_whom, start = anchors, patients, 0
    if axis_name is not None:
        every = lax.all_gather(anchors, axis_name, tiled=True)
        of_whom = lax.all_gather(patients, axis_name, tiled=True)
        start = lax.axis_index(axis_name) * len(anchors)
    strange = patients[:, None] != of_whom[None]
    if hardest:
        far = jax.vmap(
            lambda anchor: jnp.mean(jnp.square(every - anchor[None]), axis=-1)
        )(lax.stop_gradient(anchors))
    else:
        own = start + jnp.arange(len(anchors))
        far = (jnp.arange(len(every))[None] - own[:, None]) % len(every)
        far = far.astype(jnp.float32)
    chosen = jnp.where(strange, far, jnp.inf).argmin(axis=1)
    return every[chosen], strange.any(axis=1)
