"""SimCLR: two views of an image are nearer to each other than to all other views."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from medssl_jax.losses import nt_xent_and_accuracy
from medssl_jax.methods import base
from medssl_jax.models import heads
from medssl_jax.models.features import pooled
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Positive
from medssl_jax.views.compose import View


def simclr(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    hidden_size: Count,
    output_size: Count,
    layers: Count,
    temperature: Positive,
) -> base.Method:
    """Build SimCLR over a backbone of any rank; MICLe where examples have a `partner`.

    A partner is another image of the same patient, of the image's shape. The second
    view is then made of it; without one, of the image itself.

    Negatives are the other examples of one micro-batch, over all devices: accumulation
    adds none.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first" and "second", random views of the same output shape.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which negatives and batch statistics are taken.
      dtype: of the head's computation.
      hidden_size, output_size: widths of the projection head; SimCLR's hidden layers
        are as wide as the backbone's features.
      layers: of the projection head; 2 is SimCLR, 3 SimCLR v2.
      temperature: divides cosines in the loss.

    Raises:
      ConfigError: from `loss`, if there is but one example.

    Source: SimCLR, arXiv:2002.05709; MICLe, arXiv:2101.05224, algorithm 1.
    """
    backbone = pooled(backbone)
    del durations
    projector = heads.mlp(
        hidden_sizes=(hidden_size,) * (layers - 1),
        output_size=output_size,
        hidden_bias=False,
        output_norm=True,
        dtype=dtype,
        axis_name=axis_name,
    )

    def two_views(key, example):
        first, second = jax.random.split(key)
        image = example["image"]
        return {
            "first": views["first"](first, image),
            "second": views["second"](second, example.get("partner", image)),
        }

    def init(key, batch):
        view_key, *part_keys = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        params, batch_stats = {}, {}
        parts = {"backbone": backbone, "projector": projector}
        for part_key, (name, part) in zip(part_keys, parts.items(), strict=True):
            new = part.init(part_key, x)
            params[name], batch_stats[name] = new["params"], new["batch_stats"]
            x, _ = part.apply(new, x, False)
        return params, {"batch_stats": batch_stats}

    def loss(params, aux, views, key, update):
        del key, update
        base.check_negatives(len(views["first"]), axis_name)
        # One batch of both views: SimCLR takes batch statistics over the two.
        x = jnp.concatenate([views["first"], views["second"]])
        keys = base.keys_of(views, 2)
        keys = None if keys is None else keys.reshape(-1)
        batch_stats = {}
        for name, part in (("backbone", backbone), ("projector", projector)):
            of_part = base.variables(params, aux["batch_stats"], name)
            x, batch_stats[name] = part.apply(of_part, x, True, keys)
        z = x.reshape(2, -1, x.shape[-1])
        per_example, accuracy = nt_xent_and_accuracy(
            *z, temperature=temperature, axis_name=axis_name
        )
        metrics = {
            "contrastive_accuracy": accuracy.mean(),
            "spread": base.spread(z, axis_name),
        }
        return per_example.mean(), ({**aux, "batch_stats": batch_stats}, metrics)

    return base.Method(
        init,
        two_views,
        loss,
        base.no_change,
        base.backbone_variables,
        in_batch="negatives",
    )
