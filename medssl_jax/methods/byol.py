"""BYOL: predict a slowly moving copy's projection of another view."""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import DTypeLike

from medssl_jax.losses import normalized_mse
from medssl_jax.methods import base
from medssl_jax.models import heads
from medssl_jax.models.features import pooled
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.schedules import byol_tau
from medssl_jax.ranges import Count, Share
from medssl_jax.views.compose import View

_VIEWS = 2


def byol(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    hidden_size: Count,
    output_size: Count,
    base_tau: Share,
) -> base.Method:
    """Build BYOL over a backbone of any rank.

    The loss decomposes over positive pairs, so accumulated micro-batches equal the
    large batch in it; batch statistics still see one micro-batch.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first" and "second", random views of the same output shape.
      durations: of the run, over whose updates tau rises to 1.
      axis_name: devices over which batch statistics are taken.
      dtype: of the heads' computation.
      hidden_size, output_size: widths of projector and predictor.
      base_tau: decay of the target at the first update.

    Source: arXiv:2006.07733; BYOLMed3D for the encoder and the accumulation.
    """
    backbone = pooled(backbone)
    head = heads.mlp(
        hidden_sizes=(hidden_size,),
        output_size=output_size,
        hidden_bias=True,
        output_norm=False,
        dtype=dtype,
        axis_name=axis_name,
    )
    projector = predictor = head  # alike, with parameters of their own
    tau = byol_tau(base_tau, durations.updates)

    def two_views(key, example):
        first, second = jax.random.split(key)
        return {
            "first": views["first"](first, example["image"]),
            "second": views["second"](second, example["image"]),
        }

    def init(key, batch):
        view_key, *part_keys = jax.random.split(key, 4)
        x = views["first"](view_key, batch["image"][0])[None]
        parts = {"backbone": backbone, "projector": projector, "predictor": predictor}
        params, batch_stats = {}, {}
        for part_key, (name, part) in zip(part_keys, parts.items(), strict=True):
            new = part.init(part_key, x)
            params[name], batch_stats[name] = new["params"], new["batch_stats"]
            x, _ = part.apply(new, x, False)
        # A copy: the state is donated, and one buffer cannot be donated twice.
        target = jax.tree.map(jnp.copy, _target_part(params))
        return params, {"batch_stats": batch_stats, "target": target}

    # Both views in one batch, with statistics per view, as BYOL takes them: on an axis of
    # their own each had a kernel gradient of its own.
    def project(params, batch_stats, images, keys):
        features, backbone_stats = backbone.apply(
            base.variables(params, batch_stats, "backbone"), images, _VIEWS, keys
        )
        z, projector_stats = projector.apply(
            base.variables(params, batch_stats, "projector"), features, _VIEWS
        )
        return z, {"backbone": backbone_stats, "projector": projector_stats}

    def predict(params, batch_stats, images, keys):
        z, new_stats = project(params, batch_stats, images, keys)
        p, predictor_stats = predictor.apply(
            base.variables(params, batch_stats, "predictor"), z, _VIEWS
        )
        return p, z, {**new_stats, "predictor": predictor_stats}

    def loss(params, aux, views, key, update):
        del key
        images = jnp.concatenate([views["first"], views["second"]])
        keys = base.keys_of(views, _VIEWS)
        keys = None if keys is None else keys.reshape(-1)
        given = aux["batch_stats"], images, keys
        p, z, stats = predict(params, *given)
        # The target, whose statistics are of training too, leaves out the same blocks.
        target, _ = project(aux["target"], *given)
        p, z, target = (x.reshape(_VIEWS, -1, x.shape[-1]) for x in (p, z, target))
        target = lax.stop_gradient(target)
        per_example = jax.vmap(normalized_mse)(p, target[::-1]).sum(axis=0)
        metrics = {"tau": tau(update), "spread": base.spread(z, axis_name)}
        return per_example.mean(), ({**aux, "batch_stats": stats}, metrics)

    def after_update(params, aux, update):
        target = optax.incremental_update(
            _target_part(params), aux["target"], 1.0 - tau(update)
        )
        return params, {**aux, "target": target}

    return base.Method(init, two_views, loss, after_update, base.backbone_variables)


def _target_part(params):
    return {"backbone": params["backbone"], "projector": params["projector"]}
