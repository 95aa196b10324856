"""Auxiliary heads: more labels than a method's own, learnt from the same features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from pydantic import AfterValidator

from medssl_jax import resolve
from medssl_jax.errors import ConfigError
from medssl_jax.methods.base import Params
from medssl_jax.methods.label_losses import masked_cross_entropy
from medssl_jax.models import heads
from medssl_jax.models.features import Features
from medssl_jax.ranges import Natural, NotNegative
from medssl_jax.views.placed import planes_through

_FIELD = "method.heads"


class Head(NamedTuple):
    """What a head learns, and how much its loss weighs.

    A weight of 0 leaves it out; its columns stay counted, and labels are read alike.

    findings: columns of the labels; or
    planes: a label of each slice.
    """

    weight: float
    findings: tuple[int, ...] = ()
    planes: bool = False


def head(
    *, weight: NotNegative, findings: Sequence[Natural] = (), planes: bool = False
) -> Head:
    """Return what the settings of a head say.

    Raises:
      ConfigError: unless one of findings and planes is given.
    """
    if bool(findings) == planes:
        raise ConfigError(
            "a head learns findings, columns of the labels by their numbers, or planes, "
            "the labels of slices: give one of them"
        )
    return Head(weight, tuple(findings), planes)


def _fitting(settings):
    for name, of_one in settings.items():
        resolve.check(f"{_FIELD}.{name}", head, of_one)
    return settings


Heads = Annotated[Mapping[str, Mapping[str, Any]], AfterValidator(_fitting)]


class Auxiliary(NamedTuple):
    """Heads beside a method's own, as what they add to its functions.

    fields: (placed, example) -> views that they learn from.
    init: (key, features) -> parameters, by head, under "heads"; {} without any.
    loss: (params, features, views) -> (the weighted sum of their losses, each of these
      by "NAME_loss"); of params only "heads" is read.
    predict: (params, features, slices) -> by "NAME_probability" those of the findings
      (b, findings), or of so many slices (b, slices).
    of_method: what `base.Method` says of them: how many `columns` of labels they read,
      the highest and those before it, whether one reads labels of `planes`, and `heads`.
    """

    fields: Callable[..., Mapping[str, Array]]
    init: Callable[..., Params]
    loss: Callable[..., tuple[Array, dict[str, Array]]]
    predict: Callable[..., dict[str, Array]]
    of_method: Mapping[str, Any]

    @property
    def columns(self) -> int:
        return self.of_method["columns"]

    @property
    def planes(self) -> bool:
        return self.of_method["planes"]


def auxiliary_heads(settings: Heads, *, dtype: DTypeLike) -> Auxiliary:
    """Build linear heads: on the pooled features, or on each slice's of all maps.

    A label that is not known has no part in a loss, whose divisor is the number of
    findings or slices: every known label weighs the same, and devices and accumulated
    micro-batches equal one batch.

    Args:
      settings: by name, those of `head`.
      dtype: of the heads' computation.

    Raises:
      ConfigError: naming the head, if its settings say nothing; as `of_slices`.

    Source: arXiv:2201.01283, section IV-E, whose heads are the types of haemorrhage and
    a label of each slice; their weights and layers are not said.
    """
    stated = {name: _named(name, of_one) for name, of_one in settings.items()}
    known = {name: one for name, one in stated.items() if one.weight}
    layers = {
        name: heads.linear(output_size=len(one.findings) or 1, dtype=dtype)
        for name, one in known.items()
    }
    columns = [column for one in stated.values() for column in one.findings]
    planes = any(one.planes for one in known.values())

    def fields(placed, example):
        found = {"label": example["label"]} if columns else {}
        if planes:
            found["planes"] = planes_through(placed, example["planes"])
        return found

    def init(key, features):
        found = {}
        for i, name in enumerate(sorted(known)):
            read = of_slices(features, 1)[0] if known[name].planes else features.pooled
            own_key = jax.random.fold_in(key, i)
            found[name] = layers[name].init(own_key, read)["params"]
        return {"heads": found} if found else {}

    def logits_of(name, params, features, slices):
        variables = {"params": params["heads"][name]}

        def of_one(x):
            out, _ = layers[name].apply(variables, x, True)
            return out

        if not known[name].planes:
            return of_one(features.pooled)
        return jax.vmap(of_one)(of_slices(features, slices))[..., 0]

    def loss(params, features, views):
        total, metrics = jnp.float32(0), {}
        for name, one in known.items():
            if one.planes:
                wanted = views["planes"]
            else:
                wanted = views["label"][:, jnp.array(one.findings)]
            logits = logits_of(name, params, features, wanted.shape[1])
            mean = masked_cross_entropy(logits, wanted).mean()
            metrics[f"{name}_loss"] = mean
            total += one.weight * mean
        return total, metrics

    def predict(params, features, slices):
        return {
            f"{name}_probability": jax.nn.sigmoid(
                logits_of(name, params, features, slices)
            )
            for name in known
        }

    of_method = {
        "columns": max(columns, default=-1) + 1,
        "planes": planes,
        "heads": {name: one.findings for name, one in known.items()},
    }
    return Auxiliary(fields, init, loss, predict, of_method)


def _named(name: str, settings: Mapping[str, Any]) -> Head:
    try:
        return head(**settings)
    except ConfigError as error:
        raise ConfigError(f"config.{_FIELD}.{name}: {error}") from None


def of_slices(features: Features, slices: int) -> Float[Array, "b f d"]:
    """Return features of each slice: of every map its mean and maximum in the plane.

    Maps of fewer slices are interpolated to as many as the volume has.

    Raises:
      ConfigError: if the maps are of images, which have no slices.
    """
    found = []
    for x in features.maps:
        if x.ndim != 5:
            raise ConfigError(
                "a head of planes needs volumes: config.model.ndim 3, and an encoder "
                "that keeps their first axis"
            )
        x = x.astype(jnp.float32)
        pooled = jnp.concatenate([x.mean(axis=(2, 3)), x.max(axis=(2, 3))], axis=-1)
        shape = (len(x), slices, pooled.shape[-1])
        found.append(jax.image.resize(pooled, shape, "linear"))
    return jnp.concatenate(found, axis=-1)
