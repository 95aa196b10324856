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


def label_loss(*, classes: int, findings: int, ordinal_head: bool = False) -> LabelLoss:
    """Return cross-entropy over classes, or over findings, one of which is given.

    Args:
      classes: how many, of which an example has one; labels (b,) are 0 to classes - 1,
        or -1 where unknown. Two share one logit (binary cross-entropy), more have one
        each (softmax).
      findings: how many, each present or absent on its own; labels (b, findings) are
        1, 0, or -1 where unknown.
      ordinal_head: classes are ordered, and their logits as in `log_grades`.

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
    outputs = classes - 1 if ordinal_head or classes == 2 else classes
    scores = log_grades if ordinal_head else _all_classes
    return LabelLoss(
        outputs,
        lambda out, labels: _of_classes(scores(out), labels),
        lambda out: jax.nn.softmax(scores(out)),
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


def log_grades(logits: Float[Array, "b j"]) -> Float[Array, "b k"]:
    """Return log probabilities of k grades from the answers to k - 1 questions.

    Logit j asks whether an example above grade j - 1 is above grade j too. Grade y then
    has the probability of "yes" y times and "no" once: none is negative, their sum is 1,
    and P(above j) falls with j, whatever the logits are.

    Questions that are asked of all examples (Frank and Hall 2001; Cheng et al. 2008,
    arXiv:0704.1028) can have answers that contradict each other, and differences of them
    be negative. Source: arXiv:2111.08851 (CORN), whose loss over the questions is the
    cross-entropy of these probabilities, but divided by the number of questions that
    came up in the batch: the parts of a batch would then not add up to the whole.
    """
    yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    above = jnp.cumsum(yes, axis=-1)  # log P(above j)
    first = jnp.zeros_like(logits[..., :1])
    reached = jnp.concatenate([first, above], axis=-1)
    return reached + jnp.concatenate([no, first], axis=-1)


def _of_findings(out, labels):
    known = jnp.mean(labels >= 0, dtype=jnp.float32)
    return masked_cross_entropy(out, labels), {"known_labels": known}


def _of_classes(out, labels):
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
