"""Classification with labels: fine-tuning, or training from random weights."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.models import heads
from medssl_jax.models.network import Network
from medssl_jax.views.compose import View


def supervised(
    backbone: Network,
    *,
    views: dict[str, View],
    updates: int,
    axis_name: str | None,
    dtype: DTypeLike,
    classes: int = 0,
    findings: int = 0,
) -> base.Method:
    """Build a backbone with a linear layer, both trained by cross-entropy.

    Either `classes`, of which an example has one: two share one logit (binary
    cross-entropy, as BYOLMed3D's downstream task), more have one each (softmax). Or
    `findings`, each present or absent on its own (sigmoid; `masked_cross_entropy`).

    Args:
      backbone: images (b, *s, c) -> features (b, d).
      views: "first", the random view to train on; "eval", the one to predict on.
      updates: unused; every method is told the length of its run.
      axis_name: unused; only the backbone takes statistics over devices.
      dtype: of the head's computation.
      classes: how many; labels (b,) are 0 to classes - 1.
      findings: how many; labels (b, findings) are 1, 0, or -1 where unknown.

    Raises:
      ConfigError: unless one of the two is given.
    """
    del updates, axis_name
    if (classes > 1) == (findings > 0):
        raise ConfigError(
            f"method.classes {classes} and method.findings {findings}: give the one "
            "that the labels are (classes 2 or more, findings 1 or more), the other 0"
        )
    outputs = findings or (1 if classes == 2 else classes)
    head = heads.linear(output_size=outputs, dtype=dtype)

    def one_view(key, example):
        return {
            "image": views["first"](key, example["image"]),
            "label": example["label"],
        }

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        classifier = head.init(head_key, features)
        params = {"backbone": encoder["params"], "head": classifier["params"]}
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def logits(params, aux, images, train):
        features, stats = backbone.apply(
            base.backbone_variables(params, aux), images, train
        )
        out, _ = head.apply({"params": params["head"]}, features, train)
        return out, {"backbone": stats}

    def loss(params, aux, views, key, update):
        del key, update
        out, stats = logits(params, aux, views["image"], True)
        measure = _of_findings if findings else _of_classes
        per_example, metrics = measure(out, views["label"])
        return per_example.mean(), ({**aux, "batch_stats": stats}, metrics)

    def predict(params, aux, images):
        no_key = jax.random.key(0)  # the view of evaluation draws nothing
        images = jax.vmap(lambda image: views["eval"](no_key, image))(images)
        out, _ = logits(params, aux, images, False)
        return jax.nn.sigmoid(out) if findings else jax.nn.softmax(_all_classes(out))

    return base.Method(
        init, one_view, loss, base.no_change, base.backbone_variables, predict
    )


def masked_cross_entropy(
    logits: Float[Array, "b k"], labels: Int[Array, "b k"]
) -> Float[Array, " b"]:
    """Sum binary cross-entropy over the known findings of each example, over k.

    An unknown one has no part in loss or gradient (U-Ignore, arXiv:1901.07031). The
    divisor is k and not the number known: every known label then weighs the same, in
    whatever example, and the mean over any examples is that of their parts, so that
    devices and accumulated micro-batches equal one large batch. It is the mean over
    known labels times their share, a constant of the data.
    """
    known = labels >= 0
    each = optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))
    return jnp.mean(jnp.where(known, each, jnp.zeros_like(each)), axis=-1)


def _of_findings(out, labels):
    known = jnp.mean(labels >= 0, dtype=jnp.float32)
    return masked_cross_entropy(out, labels), {"known_labels": known}


def _of_classes(out, labels):
    out = _all_classes(out)
    accuracy = jnp.mean(out.argmax(axis=-1) == labels, dtype=jnp.float32)
    loss = optax.softmax_cross_entropy_with_integer_labels(out, labels)
    return loss, {"accuracy": accuracy}


def _all_classes(out):
    """Give one logit its pair: softmax over (0, l) is the sigmoid of l."""
    return (
        jnp.concatenate([jnp.zeros_like(out), out], -1) if out.shape[-1] == 1 else out
    )
