"""Contrastive predictive coding: rows of patches tell the rows that follow."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from medssl_jax.errors import ConfigError
from medssl_jax.losses import info_nce_and_accuracy
from medssl_jax.methods import base
from medssl_jax.methods.patches import overlapping
from medssl_jax.methods.pretext import solved, verdict
from medssl_jax.models import heads
from medssl_jax.models.features import check_halvings, pooled
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Positive
from medssl_jax.views.compose import View

_NEGATIVES = ("positions", "images")


def cpc(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    patch: Count,
    stride: Count,
    standardise: bool,
    code_size: Count,
    context_size: Count,
    steps: Count,
    temperature: Positive,
    negatives: str,
) -> base.Method:
    """Build the prediction of patches from those of the rows before them, by InfoNCE.

    Overlapping patches lie on a grid. Rows are its first axis: down every column a GRU
    goes over the codes, and from what it has seen down to a row, one linear layer for
    each step predicts the codes 1 to `steps` rows further on.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", what is cut into patches.
      durations: unused; every method is told the length of its run.
      axis_name: devices over which negatives and batch statistics are taken.
      dtype: of the heads' computation.
      patch, stride: sides of a patch, and from one to the next; voxels.
      standardise: as `shaken` takes it.
      code_size, context_size: widths of a patch's code and of the GRU.
      steps: rows ahead; fewer than there are rows.
      temperature: divides cosines in the loss.
      negatives: among which a prediction has to find its code: "positions", those of
        the same step at all places of all images of the micro-batch, over all devices;
        "images", those at the same place.

    Raises:
      ConfigError: if `negatives` is unknown; from `views`, if there are too few rows
        of patches; from `init`, if these are too small for the backbone; from `loss`, if
        there is but one to find a prediction among.

    Source: CPC, arXiv:1807.03748; Taleb et al. 2020, arXiv:2006.03829, section 3.1,
    whose public code has sigmoid cross-entropy on single pairs in InfoNCE's place.
    """
    del durations
    if negatives not in _NEGATIVES:
        known = ", ".join(_NEGATIVES)
        raise ConfigError(f"method.negatives is {negatives!r}; known: {known}")
    vectors = pooled(backbone)
    coder = heads.linear(output_size=code_size, dtype=dtype)
    reader = heads.gru(output_size=context_size, dtype=dtype)

    def make(key, example):
        image = views["first"](key, example["image"])
        cut = overlapping(image, size=patch, stride=stride, standardise=standardise)
        if len(cut) <= steps:
            raise ConfigError(
                f"method.steps is {steps}, and patches of {patch} voxels, {stride} "
                f"apart, make {len(cut)} rows of an image of {image.shape[:-1]}: there "
                f"have to be more; make config.data.shape larger, or patches smaller"
            )
        return {"images": cut}  # (rows, places, *t, c)

    def init(key, batch):
        view_key, *keys = jax.random.split(key, 4 + steps)
        rows = make(view_key, {"image": batch["image"][0]})["images"]
        x = rows[:, 0]
        encoder = vectors.init(keys[0], x)
        check_halvings(backbone, encoder, x, f"method.patch {patch}")
        features, _ = vectors.apply(encoder, x, False)
        params = {"backbone": encoder["params"]}
        params["coder"] = coder.init(keys[1], features)["params"]
        codes, _ = coder.apply({"params": params["coder"]}, features, False)
        params["reader"] = reader.init(keys[2], codes[None])["params"]
        context, _ = reader.apply({"params": params["reader"]}, codes[None], False)
        for step in range(1, steps + 1):
            new = coder.init(keys[2 + step], context[0])["params"]
            params[f"predictor_{step}"] = new
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def found(said, codes):
        """Return losses (b, rows, places), the share that is right, and among how many."""
        find = functools.partial(
            info_nce_and_accuracy, temperature=temperature, axis_name=axis_name
        )
        devices = 1 if axis_name is None else lax.axis_size(axis_name)
        if negatives == "images":
            at_each = jax.vmap(jax.vmap(find, 1, 1), 1, 1)
            losses, right = at_each(said, codes)
            return losses, right.mean(), len(codes) * devices
        flat = [x.reshape(-1, x.shape[-1]) for x in (said, codes)]
        losses, right = find(*flat)
        return losses.reshape(codes.shape[:-1]), right.mean(), len(losses) * devices

    def loss(params, aux, views, key, update):
        del key, update
        images = views["images"]
        count, rows, places = images.shape[:3]
        of_each = 1 if negatives == "images" else (rows - steps) * places
        base.check_negatives(count * of_each, axis_name)
        features, stats = base.apply_to_each(
            vectors,
            base.backbone_variables(params, aux),
            images.reshape(count, rows * places, *images.shape[3:]),
            views,
        )
        flat = features.reshape(-1, features.shape[-1])
        codes, _ = coder.apply({"params": params["coder"]}, flat, True)
        codes = codes.reshape(count, rows, places, -1)
        down = codes.swapaxes(1, 2).reshape(count * places, rows, -1)
        context, _ = reader.apply({"params": params["reader"]}, down, True)
        context = context.reshape(count, places, rows, -1).swapaxes(1, 2)
        each, rights, of_guessing = [], [], []
        for step in range(1, steps + 1):
            seen = context[:, :-step]
            layer = {"params": params[f"predictor_{step}"]}
            said, _ = coder.apply(layer, seen.reshape(-1, seen.shape[-1]), True)
            said = said.reshape(*seen.shape[:-1], -1)
            losses, right, among = found(said, codes[:, step:])
            each.append(losses.mean(axis=(1, 2)))
            rights.append(right)
            of_guessing.append(losses.mean() / math.log(among))
        per_example = jnp.stack(each).mean(axis=0)
        metrics = {
            "pretext_accuracy": jnp.stack(rights).mean(),
            "loss_of_guessing": jnp.stack(of_guessing).mean(),
            "spread": base.spread(
                codes.reshape(count, rows * places, -1).swapaxes(0, 1), axis_name
            ),
        }
        new = {**aux, "batch_stats": {"backbone": stats}}
        return per_example.mean(), (new, metrics)

    return base.Method(
        init,
        make,
        loss,
        base.no_change,
        base.backbone_variables,
        in_batch="negatives",
        patches=True,
        early=solved,
        verdict=verdict,
    )
