"""What is learnt from labels: classes, or findings, as functions of logits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from medssl_jax.errors import ConfigError


class LabelLoss(NamedTuple):
    """A head's width, its loss and its probabilities.

    outputs: logits that the head has.
    loss: (logits (b, outputs), labels) -> (per example (b,), metrics); an example
      without a label counts with 0.
    probabilities: logits -> (b, classes) or (b, findings).
    """

    outputs: int
    loss: Callable[[Array, Array], tuple[Array, dict[str, Array]]]
    probabilities: Callable[[Array], Array]


def label_loss(*, classes: int, findings: int) -> LabelLoss:
    """Return cross-entropy over classes, or over findings, one of which is given.

    Args:
      classes: how many, of which an example has one; labels (b,) are 0 to classes - 1,
        or -1 where unknown. Two share one logit (binary cross-entropy), more have one
        each (softmax).
      findings: how many, each present or absent on its own; labels (b, findings) are
        1, 0, or -1 where unknown.

    Raises:
      ConfigError: unless one of the two is given.
    """
    if (classes > 1) == (findings > 0):
        raise ConfigError(
            f"method.classes {classes} and method.findings {findings}: give the one "
            "that the labels are (classes 2 or more, findings 1 or more), the other 0"
        )
    if findings:
        return LabelLoss(findings, _of_findings, jax.nn.sigmoid)
    outputs = 1 if classes == 2 else classes
    return LabelLoss(
        outputs, _of_classes, lambda out: jax.nn.softmax(_all_classes(out))
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
    known = labels >= 0
    accuracy = jnp.mean(out.argmax(axis=-1) == labels, dtype=jnp.float32)
    each = optax.softmax_cross_entropy_with_integer_labels(
        out, jnp.where(known, labels, 0)
    )
    return jnp.where(known, each, jnp.zeros_like(each)), {"accuracy": accuracy}


def _all_classes(out):
    """Give one logit its pair: softmax over (0, l) is the sigmoid of l."""
    return (
        jnp.concatenate([jnp.zeros_like(out), out], -1) if out.shape[-1] == 1 else out
    )
