"""The linear probe: what a linear classifier reads from frozen features."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from medssl_jax.errors import UserError
from medssl_jax.evals.metrics import Groups

# Inverse strengths of the L2 penalty, the same for every encoder: a decade apart, from
# nearly the prior to nearly no penalty for standardised features. Kornblith et al. 2019
# (arXiv:1805.08974) sweep 45 penalties over eleven decades, for 1000 classes.
GRID = tuple(10.0**e for e in range(-5, 2))
FOLDS = 5

Split = tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]


class Unlearnable(UserError):
    """Training labels have too few patients of a class; the text counts them."""


def linear_probe(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, "n"],
    test_features: Float[np.ndarray, "m d"],
    *,
    groups: Groups | None,
    classes: int,
    seed: int,
) -> Float[np.ndarray, "m {classes}"]:
    """Return class probabilities of a logistic regression on standardised features.

    The penalty is the one of `GRID` with the least log loss in cross-validation on
    the training examples, no patient (`groups`; None: every example its own) on both
    sides of a fold. A class that the training examples lack has probability 0.

    Raises:
      Unlearnable: if no fold has every class of the training examples to fit.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    search = GridSearchCV(
        model,
        {"logisticregression__C": GRID},
        scoring=_negative_log_loss,
        cv=_folds(train_labels, groups, seed),
        error_score="raise",
    )
    with threadpool_limits(1):  # fits this small are 4 times slower on two threads
        search.fit(train_features, train_labels)
    probabilities = np.zeros((len(test_features), classes))
    probabilities[:, search.classes_] = search.predict_proba(test_features)
    return probabilities


def learnable(
    labels: Int[np.ndarray, "n"], groups: Groups | None, *, seed: int
) -> bool:
    """Say whether `linear_probe` can be fitted to these training labels."""
    try:
        _folds(labels, groups, seed)
    except Unlearnable:
        return False
    return True


def too_few(labels: Int[np.ndarray, "n"], groups: Groups | None) -> str:
    """Count patients where `linear_probe` finds too few of a class; "" where it does not.

    Without making folds, which takes minutes for many patients.
    """
    classes, counts = _patients_of(labels, _numbers(groups, len(labels)))
    return "" if len(classes) > 1 and counts.min() > 1 else _counted(classes, counts)


def _folds(labels: np.ndarray, groups: Groups | None, seed: int) -> list[Split]:
    """Split by patient, and keep the splits whose first part has every class."""
    if few := too_few(labels, groups):
        raise Unlearnable(few)
    patients = _numbers(groups, len(labels))
    present, counts = _patients_of(labels, patients)
    # no more folds than the rarest class has patients, or some fold would lack it
    count = min(FOLDS, counts.min())
    split = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = [
        (fit, check)
        for fit, check in split.split(labels, labels, patients)
        if len(np.unique(labels[fit])) == len(present) and len(check)
    ]
    if not folds:
        raise Unlearnable(_counted(present, counts))
    return folds


def _numbers(groups: Groups | None, count: int) -> Int[np.ndarray, "n"]:
    names = range(count) if groups is None else groups
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])


def _patients_of(labels: np.ndarray, patients: np.ndarray):
    """Return the classes that there are, and how many patients each has."""
    pairs = np.unique(np.stack([labels, patients]), axis=1)
    return np.unique(pairs[0], return_counts=True)


def _counted(classes: np.ndarray, counts: np.ndarray) -> str:
    pairs = zip(classes, counts, strict=True)
    said = ", ".join(f"class {c}: {count}" for c, count in pairs)
    return (
        "the linear probe learns from two classes or more, with two patients of each, and "
        f"here are patients of {said}; give it more labelled patients"
    )


def _negative_log_loss(model, features: np.ndarray, labels: np.ndarray) -> float:
    # the fold may lack a class that the model knows, so the classes are named
    probabilities = model.predict_proba(features)
    return -log_loss(labels, probabilities, labels=model.classes_)
