"""Losses and predictions as they run, on a linear backbone, in NumPy; unknown labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from linear import linear
from scipy.special import erf, softmax
from sklearn.metrics import log_loss

from medssl_jax.errors import ConfigError
from medssl_jax.methods.label_losses import log_grades, masked_cross_entropy
from medssl_jax.methods.supervised import supervised
from medssl_jax.optim.durations import Durations
from medssl_jax.views.compose import View
from medssl_jax.views.op import Op

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


def grades_in_numpy(logits):
    """Return probabilities of grades, question by question."""
    asked = 1 / (1 + np.exp(-np.float64(logits)))  # above j, if above j - 1
    rows = []
    for yes in asked:
        reached, row = 1.0, []
        for above in yes:
            row.append(reached * (1 - above))
            reached *= above
        rows.append([*row, reached])
    return np.array(rows)


def test_grades_have_the_probabilities_of_the_questions_that_lead_to_them():
    found = np.exp(jax.jit(log_grades)(jnp.asarray(LOGITS)))
    expected = grades_in_numpy(LOGITS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    above = 1 - np.cumsum(found, axis=1)
    assert (np.diff(above, axis=1) < 0).all()


def test_the_loss_of_grades_is_that_of_the_questions_that_came_up():
    """CORN's loss of an example, arXiv:2111.08851: question j if its grade is j or more."""
    grades = np.array([0, 2, 4])
    found = -np.asarray(log_grades(jnp.asarray(LOGITS)))[np.arange(3), grades]
    for loss, grade, logits in zip(found, grades, LOGITS, strict=True):
        asked = range(min(grade + 1, 4))
        answers, p = [grade > j for j in asked], 1 / (1 + np.exp(-np.float64(logits)))
        expected = log_loss(answers, p[: len(asked)], labels=[0, 1], normalize=False)
        assert float(loss) == pytest.approx(expected, rel=1e-5)


def scaled(by):
    return View((Op(lambda key, shape: (), lambda drawn, x: x * by),))


VIEWS = {"first": scaled(0.5), "eval": scaled(3.0)}
RUN = Durations(examples=64, batch_size=16, micro_batch_size=8, epochs=4)
KINDS = {
    "two classes": {"classes": 2},
    "three classes": {"classes": 3},
    "findings": {"findings": 3},
    "grades": {"classes": 3, "ordered": True, "ordinal_head": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def started(kind, **settings):
    made = supervised(
        linear(),
        views=VIEWS,
        durations=RUN,
        axis_name=None,
        dtype=jnp.float32,
        **KINDS[kind] | settings,
    )
    random = np.random.default_rng(0)
    labels = random.integers(-1, 2, (8, 3)) if kind == "findings" else np.arange(8) % 3
    labels = labels - 1 if kind == "two classes" else labels  # some are unknown
    image = random.standard_normal((8, 4, 4, 1)).astype(np.float32) / 10
    batch = {"image": jnp.asarray(image), "label": jnp.asarray(labels, jnp.int32)}
    params, aux = made.init(jax.random.key(0), batch)
    params["head"]["output"]["bias"] += jnp.float32(random.standard_normal(3))[
        : len(params["head"]["output"]["bias"])
    ]
    return made, params, aux, batch


def logits(params, image, by):
    params = jax.tree.map(np.float64, params)
    x = by * np.float64(image).reshape(8, -1) @ params["backbone"]["matrix"]
    return x @ params["head"]["output"]["kernel"] + params["head"]["output"]["bias"]


def test_hidden_layers_of_the_head_are_gelus():
    made, params, aux, batch = started("three classes", hidden_sizes=(5,))
    x = 3.0 * 2 * np.float64(batch["image"]).reshape(8, -1)  # as in evaluation
    x = x @ np.float64(params["backbone"]["matrix"])
    head = jax.tree.map(np.float64, params["head"])
    x = x @ head["hidden_1"]["kernel"] + head["hidden_1"]["bias"]
    x = x * (1 + erf(x / np.sqrt(2))) / 2
    z = x @ head["output"]["kernel"] + head["output"]["bias"]
    found = made.predict(params, aux, batch["image"])["probability"]
    np.testing.assert_allclose(found, softmax(z, axis=1), rtol=1e-4)


def probabilities(z, kind):
    if kind == "three classes":
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    if kind == "grades":
        return grades_in_numpy(z)
    p = 1 / (1 + np.exp(-z))
    return p if kind == "findings" else np.concatenate([1 - p, p], axis=1)


@every_kind
def test_the_loss_as_it_runs_is_the_cross_entropy_of_the_training_view(kind):
    made, params, aux, batch = started(kind)
    views = jax.vmap(made.views)(jax.random.split(jax.random.key(1), 8), batch)
    loss, (after, _) = jax.jit(made.loss)(params, aux, views, None, jnp.int32(0))
    p, y = probabilities(logits(params, batch["image"], 0.5), kind), batch["label"]
    y = np.asarray(y)
    if kind == "findings":
        each = np.where(y == 1, -np.log(p), -np.log(1 - p))
        expected = np.where(y >= 0, each, 0).mean()
    else:
        expected = np.where(y >= 0, -np.log(p[np.arange(8), y]), 0).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert after["batch_stats"]["backbone"]["passes"] == 1


@every_kind
def test_predictions_are_probabilities_of_the_view_of_evaluation(kind):
    made, params, aux, batch = started(kind)
    found = jax.jit(made.predict)(params, aux, batch["image"])["probability"]
    # which `linear` makes twice as long
    expected = probabilities(logits(params, batch["image"], 3.0 * 2), kind)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.shape == (8, 2 if kind == "two classes" else 3)


def test_epochs_of_freezing_are_counted_in_updates():
    made, *_ = started("findings", frozen_epochs=1.5)
    assert made.frozen == {"backbone": 6}  # of 4 updates an epoch, 8 micro-batches


@pytest.mark.parametrize(
    "settings",
    [{"classes": 0}, {"classes": 1}, {"classes": 2, "findings": 3}],
)
def test_labels_are_classes_or_findings_and_never_both(settings):
    with pytest.raises(ConfigError, match="method.classes .*method.findings"):
        tiny.method("supervised", **settings)


@pytest.mark.parametrize(
    "settings, said",
    [
        (
            {"classes": 2, "ordered": True},
            "method.ordered is on, and method.classes 2: ",
        ),
        (
            {"classes": 0, "findings": 3, "ordered": True},
            "an order takes three classes",
        ),
        ({"classes": 3, "ordinal_head": True}, "method.ordinal_head takes grades: set"),
    ],
)
def test_an_order_takes_classes_and_its_head_an_order(settings, said):
    with pytest.raises(ConfigError, match=said):
        tiny.method("supervised", **settings)
