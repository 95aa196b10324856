"""Losses of classes and findings against scikit-learn; what unknown labels do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from sklearn.metrics import log_loss

from medssl_jax.errors import ConfigError
from medssl_jax.methods.label_losses import masked_cross_entropy

LABELS = np.array([[1, 0, -1, 1], [-1, -1, -1, -1], [0, 0, 1, -1]], np.int32)
LOGITS = np.random.RandomState(0).randn(3, 4).astype(np.float32) * 3


def test_the_loss_of_findings_is_scikit_learns_over_the_known_ones():
    found = masked_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    p = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    for row, labels, scores in zip(found, LABELS, p, strict=True):
        known = labels >= 0
        expected = 0.0
        if known.any():
            summed = log_loss(
                labels[known], scores[known], labels=[0, 1], normalize=False
            )
            expected = summed / 4
        assert float(row) == pytest.approx(expected, rel=1e-5)


def test_of_the_gradient_an_unknown_finding_has_no_part_and_a_known_one_always_one():
    def gradient(logits, labels):
        return jax.grad(lambda x: masked_cross_entropy(x, labels).mean())(logits)

    found = np.asarray(gradient(jnp.asarray(LOGITS), jnp.asarray(LABELS)))
    p = 1 / (1 + np.exp(-LOGITS))
    # 1 / (b k) each, however many of its example or batch are known
    expected = np.where(LABELS >= 0, (p - LABELS) / 12, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_parts_of_a_batch_average_to_the_whole_whatever_is_known_in_each():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(-1, 2, (8, 4)), jnp.int32)
    labels = labels.at[:2].set(-1)  # a part without any label
    parts = [
        masked_cross_entropy(logits[i : i + 2], labels[i : i + 2]).mean()
        for i in range(0, 8, 2)
    ]
    whole = masked_cross_entropy(logits, labels).mean()
    assert float(np.mean(parts)) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "columns", "normalised"),
    [
        ({"classes": 2}, 2, True),
        ({"classes": 0, "findings": 1}, 1, False),
    ],
)
def test_predictions_are_probabilities_of_classes_or_of_each_finding(
    settings, columns, normalised
):
    method = tiny.method("supervised", axis_name=None, **settings)
    batch = jax.tree.map(jnp.asarray, tiny.batch(0, size=4))
    p = jax.jit(
        lambda: method.predict(*method.init(jax.random.key(0), batch), batch["image"])
    )()["probability"]
    assert p.shape == (4, columns)
    assert ((p > 0) & (p < 1)).all()
    sums_to_1 = np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert sums_to_1 == normalised


@pytest.mark.parametrize(
    "settings",
    [{"classes": 0}, {"classes": 1}, {"classes": 2, "findings": 3}],
)
def test_labels_are_classes_or_findings_and_never_both(settings):
    with pytest.raises(ConfigError, match="method.classes .*method.findings"):
        tiny.method("supervised", **settings)
