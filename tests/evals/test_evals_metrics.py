"""Metrics against scikit-learn's, pairs counted by hand, and their policy on NaN."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from medssl_jax.evals import metrics
from medssl_jax.methods.label_losses import masked_cross_entropy


def _draw(seed, n=60, ties=True):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = rng.random(n) * 0.6 + 0.3 * labels
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("seed", range(3))
def test_binary_metrics_equal_scikit_learns(seed):
    labels, scores = _draw(seed)
    predicted = scores >= 0.5
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "AUC": reference.roc_auc_score(labels, scores),
        "sensitivity": reference.recall_score(labels, predicted),
        "specificity": reference.recall_score(labels, predicted, pos_label=0),
    }
    found = {
        name: metric(labels, scores) for name, metric in metrics.metrics(scores).items()
    }
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_and_what_is_called_at_a_point_equal_scikit_learns(
    seed, ties
):
    labels, scores = _draw(seed, ties=ties)
    called = scores >= 0.6
    expected = {
        "AUC": reference.roc_auc_score(labels, scores),
        "AP": reference.average_precision_score(labels, scores),
        "accuracy_at_0.6": reference.accuracy_score(labels, called),
        "sensitivity_at_0.6": reference.recall_score(labels, called),
        "specificity_at_0.6": reference.recall_score(labels, called, pos_label=0),
    }
    of_scores = metrics.metrics(scores, threshold=0.6)
    found = {name: metric(labels, scores) for name, metric in of_scores.items()}
    assert found == pytest.approx(expected, abs=1e-12)
    assert (called != (scores >= 0.5)).any()


@pytest.mark.filterwarnings("error")
def test_average_precision_is_the_share_of_positives_where_all_score_alike():
    labels = np.array([1, 0, 0, 1, 0])
    assert metrics.average_precision(labels, np.full(5, 0.3)) == pytest.approx(0.4)
    assert math.isnan(metrics.average_precision(np.zeros(3, int), np.arange(3.0)))
    assert math.isnan(metrics.average_precision(labels[:0], np.zeros(0)))


def test_auc_is_the_share_of_pairs_in_order_with_ties_counting_half():
    labels, scores = _draw(5, n=25)
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p in scores[labels == 1]
        for n in scores[labels == 0]
    ]
    assert metrics.auc(labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_multiclass_metrics_equal_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 80)
    scores = rng.random((80, 4)) + np.eye(4)[labels] * 0.4
    scores /= scores.sum(axis=1, keepdims=True)
    found = metrics.metrics(scores)
    assert found["accuracy"](labels, scores) == pytest.approx(
        reference.accuracy_score(labels, scores.argmax(1)), abs=1e-12
    )
    assert found["AUC"](labels, scores) == pytest.approx(
        reference.roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-12
    )


def kappa(labels, predicted, classes):
    """Return scikit-learn's, which has to be told of classes that are absent."""
    return reference.cohen_kappa_score(
        labels, predicted, labels=range(classes), weights="quadratic"
    )


def test_kappa_has_quadratic_weights_of_all_grades():
    random = np.random.RandomState(0)
    labels = random.randint(0, 5, 50)
    predicted = np.clip(labels + random.randint(-2, 3, 50), 0, 4)
    found = metrics.quadratic_kappa(labels, predicted, 5)
    assert found == pytest.approx(0.7437901685, abs=1e-10)  # scikit-learn 1.9.1
    assert found == pytest.approx(kappa(labels, predicted, 5), abs=1e-12)


@pytest.mark.parametrize("absent", [0, 2, 4])
def test_kappa_of_a_grade_that_neither_has_weighs_the_others_as_far_apart(absent):
    random = np.random.RandomState(1)
    there = np.array([grade for grade in range(5) if grade != absent])
    labels, predicted = there[random.randint(0, 4, (2, 60))]
    found = metrics.quadratic_kappa(labels, predicted, 5)
    assert found == pytest.approx(kappa(labels, predicted, 5), abs=1e-12)
    closed_up = reference.cohen_kappa_score(labels, predicted, weights="quadratic")
    assert (absent == 2) == (abs(found - closed_up) > 1e-3)


@pytest.mark.filterwarnings("error")
def test_kappa_is_0_by_chance_1_throughout_and_nan_where_nothing_differs():
    labels = np.arange(50) % 5
    assert metrics.quadratic_kappa(labels, labels, 5) == 1
    assert metrics.quadratic_kappa(labels, np.full(50, 3), 5) == 0
    assert math.isnan(metrics.quadratic_kappa(np.full(4, 3), np.full(4, 3), 5))


def test_ordered_classes_are_scored_by_the_kappa_of_their_first_guess_first():
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 4, 80), random.random((80, 4))
    found = metrics.metrics(scores, ordered=True)
    assert list(found) == ["kappa", "accuracy", "AUC"]
    expected = kappa(labels, scores.argmax(axis=1), 4)
    assert found["kappa"](labels, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_metric_without_its_class_is_nan_and_accuracy_is_not():
    positives, scores = np.ones(4, int), np.array([0.2, 0.6, 0.7, 0.9])
    assert math.isnan(metrics.auc(positives, scores))
    assert math.isnan(metrics.specificity(positives, scores))
    assert math.isnan(metrics.sensitivity(1 - positives, scores))
    assert metrics.sensitivity(positives, scores) == 0.75
    assert metrics.accuracy(positives, scores) == 0.75


def test_macro_auc_is_nan_where_a_class_is_missing():
    labels, scores = np.array([0, 1, 0, 1]), np.full((4, 3), 1 / 3)
    assert math.isnan(metrics.macro_auc(labels, scores))


def test_two_classes_are_scored_by_the_probability_of_class_1():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7]])
    np.testing.assert_array_equal(metrics.binary_scores(probabilities), [0.1, 0.7])
    three = np.full((2, 3), 1 / 3)
    np.testing.assert_array_equal(metrics.binary_scores(three), three)


def _findings(seed=0, n=80, k=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 2, (n, k))
    return labels, (rng.random((n, k)) * 0.6 + 0.3 * (labels == 1)).round(1)


def test_aucs_of_findings_are_scikit_learns_over_the_known_labels():
    labels, scores = _findings()
    expected = [
        reference.roc_auc_score(y[y >= 0], p[y >= 0])
        for y, p in zip(labels.T, scores.T, strict=True)
    ]
    found = [metrics.auc_of(j)(labels, scores) for j in range(3)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert metrics.mean_auc([0, 2])(labels, scores) == pytest.approx(
        (expected[0] + expected[2]) / 2, abs=1e-12
    )


@pytest.mark.filterwarnings("error")
def test_a_finding_without_a_positive_or_a_negative_is_not_scorable():
    labels, scores = _findings()
    labels[labels[:, 0] == 1, 0] = 0
    labels[labels[:, 2] == 0, 2] = -1
    assert metrics.scorable(labels) == [1]
    assert math.isnan(metrics.auc_of(0)(labels, scores))
    assert math.isnan(metrics.mean_auc([0, 1])(labels, scores))
    assert math.isnan(metrics.mean_auc([])(labels, scores))
    none = np.full((4, 1), -1)
    assert math.isnan(metrics.auc_of(0)(none, np.full((4, 1), 0.5)))


def test_the_loss_of_validation_is_that_of_training():
    labels, _ = _findings()
    logits = np.random.default_rng(1).normal(size=labels.shape).astype(np.float32)
    found = metrics.masked_log_loss(labels, np.asarray(jax.nn.sigmoid(logits)))
    trained = masked_cross_entropy(jnp.asarray(logits), jnp.asarray(labels, jnp.int32))
    assert found == pytest.approx(float(trained.mean()), rel=1e-5)
    known = labels >= 0
    each = reference.log_loss(labels[known], jax.nn.sigmoid(logits)[known])
    assert found == pytest.approx(each * known.mean(), rel=1e-5)


def test_a_certain_and_wrong_prediction_has_a_finite_loss():
    certain = np.ones((1, 1), np.float32)
    assert 80 < metrics.masked_log_loss(np.zeros((1, 1), int), certain) < 100
