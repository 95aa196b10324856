"""Segmentation: a class, or overlapping regions, of every voxel."""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.errors import ConfigError
from medssl_jax.losses import dice_loss, supervision_weights, voxel_cross_entropy
from medssl_jax.methods import base
from medssl_jax.methods.auxiliary import Heads, auxiliary_heads
from medssl_jax.models.network import Network
from medssl_jax.models.unet_decoder import decoder
from medssl_jax.models.with_neighbours import of_slices
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Natural, NotNegative
from medssl_jax.views.compose import View
from medssl_jax.views.placed import mask_through


def segment(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    classes: Natural = 0,
    regions: Natural = 0,
    dice: NotNegative,
    cross_entropy: NotNegative,
    background: bool,
    over_batch: bool,
    deep_supervision: bool,
    frozen_epochs: NotNegative = 0.0,
    frozen_statistics: bool = True,
    heads: Heads = MappingProxyType({}),
) -> base.Method:
    """Build a backbone with a U-Net's decoder, trained by Dice and cross-entropy.

    The mask follows the spatial operations of the view. Every example's loss is its
    own, so that devices and accumulated micro-batches equal one batch, unless Dice sums
    over the batch: then devices do.

    Args:
      backbone: images (b, *s, c) -> Features, whose maps the decoder reads; slice by
        slice, if they are so.
      views: "first", the random view to train on; "eval", the one to predict on, which
        must leave the image in its place.
      durations: of the run.
      axis_name: devices over which batch statistics are taken.
      dtype: of the decoder's computation.
      classes: how many, the background, 0, included; masks are (b, *s).
      regions: how many that may overlap; masks are (b, *s, regions) of 0 and 1.
      dice, cross_entropy: weights of the two losses.
      background, over_batch: of `dice_loss`.
      deep_supervision: add the losses of the decoder's coarser outputs, each half as
        heavy as the next finer one, on masks of their size (nnU-Net, arXiv:1904.08128).
      frozen_epochs: so long the decoder learns alone, on a backbone whose weights and
        batch statistics stay as they are.
      frozen_statistics: as of `supervised`.
      heads: beside the decoder, as `auxiliary.auxiliary_heads` has them.

    Raises:
      ConfigError: unless one of classes and regions is given; or if both weights are 0.

    Source: Taleb et al. 2020, arXiv:2006.03829: Dice, the encoder frozen at first.
    """
    target = _target(classes, regions)
    if dice + cross_entropy == 0:
        raise ConfigError(
            "config.method.dice and config.method.cross_entropy are weights of losses, "
            "and both are 0"
        )
    frozen = durations.to_updates(frozen_epochs)
    beside = auxiliary_heads(heads, dtype=dtype)
    head = decoder(
        outputs=target.outputs,
        deep=deep_supervision,
        dtype=dtype,
        axis_name=axis_name,
        recompute=backbone.recompute,
    )
    head = of_slices(head) if backbone.by_slice else head

    def one_view(key, example):
        placed = views["first"].placed(key, example["image"])
        made = {"image": placed.image, "mask": mask_through(placed, example["mask"])}
        return made | beside.fields(placed, example)

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        decoding = head.init(head_key, (x, features.maps))
        params = {"backbone": encoder["params"], "head": decoding["params"]}
        params |= beside.init(jax.random.fold_in(head_key, 1), features)
        batch_stats = {
            "backbone": encoder["batch_stats"],
            "head": decoding["batch_stats"],
        }
        return params, {"batch_stats": batch_stats}

    def of_one_size(logits, mask):
        """Return the loss of each example (b,)."""
        total = jnp.zeros(len(logits), jnp.float32)
        if dice:
            settings = {"background": background, "over_batch": over_batch}
            overlap = dice_loss(logits, mask, **settings, axis_name=axis_name)
            total += dice * overlap
        if cross_entropy:
            total += cross_entropy * voxel_cross_entropy(logits, mask)
        return total

    def loss(params, aux, views, key, update):
        del key
        images, mask = views["image"], views["mask"]
        encoder = base.backbone_variables(params, aux)
        keys = views.get(base.KEYS)
        features, stats = base.train_from(
            frozen, backbone, encoder, images, update, keys, frozen_statistics
        )
        decoding = base.variables(params, aux["batch_stats"], "head")
        out, head_stats = head.apply(decoding, (images, features.maps), True)
        outputs = out if deep_supervision else (out,)
        per_example = sum(
            weight * of_one_size(logits, _as_large_as(logits, mask))
            for weight, logits in zip(
                supervision_weights(len(outputs)), outputs, strict=True
            )
            if weight
        )
        new = {"batch_stats": {"backbone": stats, "head": head_stats}}
        metrics = {"dice": target.hard_dice(outputs[0], mask).mean()}
        others, told = beside.loss(params, features, views)
        return per_example.mean() + others, ({**aux, **new}, metrics | told)

    def predict(params, aux, images):
        no_key = jax.random.key(0)  # the view of evaluation draws nothing
        images = jax.vmap(lambda image: views["eval"](no_key, image))(images)
        encoder = base.backbone_variables(params, aux)
        features, _ = backbone.apply(encoder, images, False)
        decoding = base.variables(params, aux["batch_stats"], "head")
        out, _ = head.apply(decoding, (images, features.maps), False)
        return {"mask": target.probabilities(out[0] if deep_supervision else out)}

    return base.Method(
        init,
        one_view,
        loss,
        base.no_change,
        base.backbone_variables,
        predict,
        in_batch="the sums of Dice" if over_batch and dice else "",
        frozen={"backbone": frozen} if frozen else {},
        columns=beside.columns,
        planes=beside.planes,
        voxels=base.Voxels(classes, regions),
    )


class _Target(NamedTuple):
    """What voxels are told apart into.

    outputs: logits of a voxel.
    probabilities: logits (b, *s, k) -> (b, *s, k).
    hard_dice: (logits, mask) -> (b,), of what is predicted, mean over the classes but
      the background that an example or its prediction has; 1 where there are none.
    """

    outputs: int
    probabilities: Callable[[Array], Array]
    hard_dice: Callable[[Array, Array], Float[Array, " b"]]


def _target(classes: int, regions: int) -> _Target:
    if (classes > 1) == (regions > 0):
        raise ConfigError(
            f"method.classes {classes} and method.regions {regions}: give the one that "
            "masks hold (classes 2 or more, the background included; regions 1 or "
            "more), the other 0"
        )
    if regions:
        return _Target(
            regions, jax.nn.sigmoid, lambda out, mask: _dice(out > 0, mask == 1)
        )

    def of_classes(out, mask):
        every = jnp.arange(1, classes)
        every = every.reshape((1,) * mask.ndim + every.shape)
        found = out.argmax(axis=-1)[..., None] == every
        return _dice(found, mask[..., None].astype(every.dtype) == every)

    return _Target(classes, jax.nn.softmax, of_classes)


def _dice(found, truth):
    space = tuple(range(1, found.ndim - 1))
    shared = jnp.sum(found & truth, axis=space, dtype=jnp.float32)
    whole = jnp.sum(found, axis=space, dtype=jnp.float32)
    whole += jnp.sum(truth, axis=space, dtype=jnp.float32)
    there = whole > 0
    each = jnp.where(there, 2 * shared / jnp.where(there, whole, 1), 0)
    count = jnp.sum(there, axis=-1, dtype=jnp.float32)
    return jnp.where(count > 0, each.sum(axis=-1) / jnp.maximum(count, 1), 1)


def _as_large_as(logits, mask):
    """Return the mask (b, *t) of the logits' size (b, *t, k), by nearest voxels."""
    for axis, (new, old) in enumerate(
        zip(logits.shape[1:-1], mask.shape[1:], strict=False), start=1
    ):
        if new != old:
            places = (2 * np.arange(new) + 1) * old // (2 * new)  # under the centres
            mask = jnp.take(mask, places, axis=axis)
    return mask
