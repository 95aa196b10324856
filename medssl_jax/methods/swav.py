"""SwAV: predict from one crop of an image which prototypes another is assigned to."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.assignment import sinkhorn
from medssl_jax.errors import ConfigError
from medssl_jax.losses import l2_normalize, swapped_prediction
from medssl_jax.methods import base, ring, usage
from medssl_jax.methods.label_losses import label_loss
from medssl_jax.models import heads
from medssl_jax.models.features import pooled
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Natural, NotNegative, Positive
from medssl_jax.views.compose import View

ASSIGNED = "assigned"  # the crops that get codes
_POOLED = ("all",)  # one set of prototypes


def swav(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    hidden_size: Count,
    output_size: Count,
    crops: Mapping[str, Count],
    prototypes: Count,
    temperature: Positive,
    epsilon: Positive,
    iterations: Count,
    frozen_updates: Natural,
    queue_length: Natural,
    queue_from_epoch: NotNegative,
    modalities: Sequence[str] = (),
    alpha: NotNegative = 1.0,
    beta: NotNegative = 0.0,
    classes: Natural = 0,
    findings: Natural = 0,
) -> base.Method:
    """Build SwAV; each modality has prototypes, a Sinkhorn problem and a queue.

    The loss is alpha times the sum over modalities of the swapped prediction, and beta
    times the cross-entropy of a linear layer on the features of the assigned crops,
    in whose mean over all examples those without a label count with 0 (eq. 7).

    Assignments are of one micro-batch, over all devices, and of the queue:
    accumulation adds nothing to them.

    Args:
      backbone: images (b, *s, c) -> Features, for each size of crop.
      views: one for each name in `crops`.
      durations: of the run.
      axis_name: devices over which assignments and batch statistics are taken.
      dtype: of the heads' computation.
      hidden_size, output_size: widths of the projection head.
      crops: how many views of each name an image is given. Those called "assigned"
        get codes, the others predict them only. A name is one pass through the
        backbone, with batch statistics of its own.
      prototypes: K, of each modality.
      temperature: divides cosines in the predictions.
      epsilon, iterations: of `sinkhorn`.
      frozen_updates: so long the prototypes stay as they were drawn.
      queue_length: last embeddings of each modality and assigned crop, over all
        devices, that take part in the assignment, scored with today's prototypes;
        0 is none.
      queue_from_epoch: from then on, and once it is full.
      modalities: names, in the turns that a batch's rows take (data.sampler
        "modalities"); () puts all examples to one set of prototypes.
      alpha, beta: weights of self-supervision and of labels; beta 0 has no such layer.
      classes, findings: of the labels, as `label_loss` takes them.

    Raises:
      ConfigError: if a setting cannot be used; from `loss`, if a batch cannot be
        divided evenly.

    Source: SwAV, arXiv:2006.09882; arXiv:2201.01283, eq. 4 and 7 and table I.
    """
    backbone = pooled(backbone)
    _check(prototypes, crops, views)
    kinds = sorted(crops, key=lambda kind: (kind != ASSIGNED, kind))
    codes_of = crops[ASSIGNED]
    names = tuple(modalities) or _POOLED
    projector = heads.mlp(
        hidden_sizes=(hidden_size,),
        output_size=output_size,
        hidden_bias=True,
        output_norm=False,
        dtype=dtype,
        axis_name=axis_name,
    )
    labels = label_loss(classes=classes, findings=findings) if beta else None
    head = heads.linear(output_size=labels.outputs, dtype=dtype) if labels else None
    queue_from = durations.to_updates(queue_from_epoch)

    def make_views(key, example):
        made = {}
        for kind, kind_key in zip(
            kinds, jax.random.split(key, len(kinds)), strict=True
        ):
            keys = jax.random.split(kind_key, crops[kind])
            made[kind] = jax.vmap(views[kind], (0, None))(keys, example["image"])
        return made | ({"label": example["label"]} if labels else {})

    def init(key, batch):
        view_key, backbone_key, projector_key, head_key, c_key = jax.random.split(
            key, 5
        )
        x = views[ASSIGNED](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        projection = projector.init(projector_key, features)
        params = {"backbone": encoder["params"], "projector": projection["params"]}
        if labels:
            params["head"] = head.init(head_key, features)["params"]
        c = jax.random.normal(c_key, (len(names), prototypes, output_size))
        params["prototypes"] = dict(zip(names, l2_normalize(c), strict=True))
        batch_stats = {
            "backbone": encoder["batch_stats"],
            "projector": projection["batch_stats"],
        }
        aux = {"batch_stats": batch_stats}
        aux["idle"] = {name: usage.never(prototypes) for name in names}
        if queue_length:
            shape = codes_of, queue_length, output_size
            aux["queue"] = {name: ring.empty(shape) for name in names}
        return params, aux

    def embed(params, batch_stats, views):
        """Return features of assigned crops (a, b, f), embeddings of all (v, b, d)."""
        backbone_stats, features = batch_stats["backbone"], []
        keys, first = base.keys_of(views, sum(crops.values())), 0
        for kind in kinds:
            last = first + crops[kind]
            crop_first = jnp.moveaxis(views[kind], 1, 0)
            y, backbone_stats = backbone.apply(
                {"params": params["backbone"], "batch_stats": backbone_stats},
                crop_first.reshape(-1, *crop_first.shape[2:]),
                True,
                None if keys is None else keys[first:last].reshape(-1),
            )
            first = last
            features.append(y.reshape(*crop_first.shape[:2], -1))
        every = jnp.concatenate(features)
        z, projector_stats = projector.apply(
            base.variables(params, batch_stats, "projector"),
            every.reshape(-1, every.shape[-1]),
            True,
        )
        z = l2_normalize(z).reshape(*every.shape[:2], -1)
        stats = {"backbone": backbone_stats, "projector": projector_stats}
        return features[0], z, stats

    def assign(scores, kept, started):
        """Return the codes (a, n, k) of this device's rows, with the queue's help."""

        def solve(scores):
            return sinkhorn(
                scores, epsilon=epsilon, iterations=iterations, axis_name=axis_name
            )

        alone = jax.vmap(solve)
        if kept is None:
            return alone(scores)
        n = scores.shape[1]
        return lax.cond(
            started,
            lambda: alone(jnp.concatenate([scores, kept], axis=1))[:, :n],
            lambda: alone(scores),
        )

    def cluster(c, z, aux_of, update):
        """Return one modality's loss, metrics and new aux."""
        scores, kept, started = _scores(z, c), None, None
        if queue_length:
            queue = aux_of["queue"]
            kept = _scores(ring.local_rows(queue, axis_name), c)
            started = ring.is_full(queue) & (update >= queue_from)
            queue = ring.push(queue, z[:codes_of], axis_name)
            aux_of = aux_of | {"queue": queue}
        codes = assign(scores[:codes_of], kept, started)
        loss = swapped_prediction(scores, codes, temperature=temperature).mean()
        samples = z.shape[1] * _devices(axis_name)
        idle = usage.after(aux_of["idle"], scores[:codes_of], axis_name)
        metrics = {
            "cross_entropy": loss,
            "code_entropy": usage.entropy(codes),
            "prototypes_in_use": usage.share(idle, samples * codes_of),
        }
        return loss, metrics, aux_of | {"idle": idle}

    def loss(params, aux, views, key, update):
        del key
        features, z, batch_stats = embed(params, aux["batch_stats"], views)
        metrics = {"spread": base.spread(z[:codes_of], axis_name)}
        by_modality = {name: {} for name in names}
        total = jnp.float32(0)
        per_name = _divide(z, len(names), axis_name)
        for name, of_name in zip(names, per_name, strict=True):
            parts = {part: aux[part][name] for part in ("idle", "queue") if part in aux}
            c = params["prototypes"][name]
            one, measured, by_modality[name] = cluster(c, of_name, parts, update)
            total += one
            of = f"/{name}" if modalities else ""
            metrics |= {f"{what}{of}": value for what, value in measured.items()}
        total *= alpha
        if labels:
            metrics["label_loss"] = learn(params, features, views["label"])
            total += beta * metrics["label_loss"]
        new = {
            part: {name: by_modality[name][part] for name in names}
            for part in ("idle", "queue")
            if part in aux
        }
        return total, ({"batch_stats": batch_stats, **new}, metrics)

    def learn(params, features, label):
        flat = features.reshape(-1, features.shape[-1])
        out, _ = head.apply({"params": params["head"]}, flat, True)
        repeated = jnp.concatenate([label] * codes_of)
        per_example, _ = labels.loss(out, repeated)
        return per_example.mean()

    def after_update(params, aux, update):
        # to length 1, as before each forward pass in SwAV's code
        moved = update >= frozen_updates
        c = jax.tree.map(
            lambda c: jnp.where(moved, l2_normalize(c), c), params["prototypes"]
        )
        return {**params, "prototypes": c}, aux

    def verdict(metrics):
        of_names = (usage.verdict(metrics, m, prototypes) for m in modalities or [""])
        return "; ".join(filter(None, of_names))

    return base.Method(
        init,
        make_views,
        loss,
        after_update,
        base.backbone_variables,
        in_batch="assignments to prototypes",
        modalities=tuple(modalities),
        frozen={"prototypes": frozen_updates} if frozen_updates else {},
        learns=(classes, findings) if beta else (0, 0),
        verdict=verdict,
    )


def _check(prototypes, crops, views):
    if prototypes < 2:
        raise ConfigError(f"method.prototypes is {prototypes}; use 2 or more")
    if crops.get(ASSIGNED, 0) < 2:
        raise ConfigError(
            f"method.crops is {dict(crops)}; it takes two or more crops called "
            f"{ASSIGNED!r}, each predicts the codes of the other"
        )
    for kind in crops:
        if kind not in views:
            raise ConfigError(
                f"method.crops has {kind!r}, and config.views has no view of that name"
            )


def _devices(axis_name: str | None) -> int:
    return 1 if axis_name is None else lax.axis_size(axis_name)


def _divide(z: Float[Array, "v b d"], modalities: int, axis_name: str | None):
    """Give each modality its rows, (v, b / modalities, d); rows take turns."""
    rows, devices = z.shape[1], _devices(axis_name)
    if rows % modalities:
        raise ConfigError(
            f"micro_batch_size {rows * devices} over {devices} device(s) is {rows} "
            f"samples on each, not divisible by {modalities} modalities; use a "
            f"multiple of {modalities * devices}"
        )
    return jnp.moveaxis(z.reshape(len(z), -1, modalities, z.shape[-1]), 2, 0)


def _scores(z: Float[Array, "v n d"], c: Float[Array, "k d"]) -> Float[Array, "v n k"]:
    # A GPU's or TPU's default precision would round cosines to 10 or 7 bits, and
    # epsilon divides that by .03.
    return jnp.einsum("vnd,kd->vnk", z, c, precision=lax.Precision.HIGHEST)
