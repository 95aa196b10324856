"""Which examples are held out, and which are repeated."""

import math
import warnings
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, StratifiedGroupKFold

from medssl_jax.data.order.mixture import known_patients
from medssl_jax.data.source import PRESENT, UNLABELLED, Labels, Source, is_labelled
from medssl_jax.errors import ConfigError, DataError, UserError

_FOLDS = 20  # at most, unless the fraction or its rest is less than one of these


def by_patient(
    source: Source, fraction: float, seed: int, field: str = "fraction"
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out about `fraction` of a source, no patient on both sides.

    Where there are labels, their shares are kept alike (the unlabelled are a class
    then), of findings by the rarest that a patient has (`strata`). Where patients are
    not known, each example is taken for one.

    Returns:
      Indices of the rest and of the held out, each ascending.

    Raises:
      ConfigError: naming `field`, if the fraction is not between 0 and 1.
      UserError: if there are too few patients.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"{field} {fraction}, to hold out, is not between 0 and 1")
    ids = range(len(source)) if source.patients is None else source.patients
    _, groups = np.unique(np.asarray(ids), return_inverse=True)
    patients = len(np.unique(groups))
    if patients < 2:
        raise UserError(f"nothing can be held out of {patients} patient(s)")
    if source.labels is None:
        split = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
        held_out = next(split.split(groups, groups=groups))[1]
    else:
        classes = strata(np.asarray(source.labels), groups)
        held_out = _stratified(classes, groups, fraction, seed)
    rest = np.setdiff1d(np.arange(len(source)), held_out)
    if not len(rest) or not len(held_out):
        raise UserError(
            f"fraction {fraction} of {patients} patients cannot be held out: one side "
            "would be empty"
        )
    return rest, np.sort(held_out)


def fold_of(source: Source, count: int, seed: int) -> Int[np.ndarray, "n"]:
    """Return which of `count` folds each example is in, a patient's all in one.

    Folds are about as large, and alike in labels, as far as `by_patient` makes them so.

    Raises:
      UserError: if there are too few patients, or examples of every class.
    """
    ids = range(len(source)) if source.patients is None else source.patients
    _, groups = np.unique(np.asarray(ids), return_inverse=True)
    if (patients := groups.max() + 1) < count:
        raise UserError(f"{patients} patient(s) make no {count} folds: use fewer")
    try:
        if source.labels is None:
            folds = GroupKFold(count, shuffle=True, random_state=seed)
            parts = [test for _, test in folds.split(groups, groups=groups)]
        else:
            classes = strata(np.asarray(source.labels), groups)
            parts = _stratified_folds(classes, groups, count, seed)
    except ValueError as error:
        raise UserError(f"{count} folds cannot be alike in labels: {error}") from error
    found = np.empty(len(source), np.int64)
    for number, part in enumerate(parts):
        found[part] = number
    return found


def strata(labels: Labels, groups: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return what to stratify by: classes as they are, findings as one class each.

    Of findings, all examples of a patient (`groups`, from 0) get the finding that
    fewest patients have, of those that the patient has in any; k where there is none,
    k + 1 where none is known. So a rare finding is divided first, and is on both sides
    where enough patients have it; the more common ones follow by chance.
    """
    if labels.ndim == 1:
        return labels
    k, patients = labels.shape[1], groups.max() + 1
    has = np.zeros((patients, k), bool)
    known = np.zeros(patients, bool)
    np.logical_or.at(has, groups, labels == PRESENT)
    np.logical_or.at(known, groups, is_labelled(labels))
    rarest_first = np.argsort(has.sum(axis=0), kind="stable")
    first = rarest_first[has[:, rarest_first].argmax(axis=1)]
    of_patient = np.where(has.any(axis=1), first, np.where(known, k, k + 1))
    return of_patient[groups]


def check_disjoint(sources: Mapping[str, Source]) -> None:
    """Refuse splits that share a patient; sources without patients are not compared.

    Raises:
      DataError: naming the first patient found in two.
    """
    if len(sources) < 2:
        return
    known = [(name, known_patients(source)) for name, source in sources.items()]
    known = [(name, patients) for name, patients in known if patients is not None]
    for i, (name, patients) in enumerate(known):
        for other, others in known[:i]:
            if shared := sorted(patients & others):
                text = f"is in both {other} and {name} ({len(shared)} patient(s) are)"
                raise DataError(f"patient {shared[0]}", f"{text}; keep each in one")


def check_apart(train: Source, other: Source, role: str, only: str) -> None:
    """Refuse rows of a table that are in a role and in training: `only` chose the role's.

    Patients may be unknown there, and then tell nothing.

    Raises:
      ConfigError: naming the first row that both have, and what to set.
    """
    names = {train.name(i) for i in range(len(train))}
    shared = [name for i in range(len(other)) if (name := other.name(i)) in names]
    if shared:
        raise ConfigError(
            f"{shared[0]} is in both train and {role} ({len(shared)} are): "
            f"config.splits.{role}.only is {only!r}, so set config.data.only to the "
            "rows to train on, such as split=train"
        )


def oversample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Repeat examples of rare classes at random until classes are equally frequent.

    Every example is there once, the repeats follow. `UNLABELLED` is no class.

    Returns:
      (m,) indices into `labels`.

    Raises:
      ConfigError: if the labels are findings: one example has several, and repeating
        it for one changes the shares of the others.
    """
    if labels.ndim != 1:
        raise ConfigError(
            "data.balance 'oversample' repeats classes, and the training data has "
            f"{labels.shape[1]} findings for each example; set data.balance to ''"
        )
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels[labels != UNLABELLED], return_counts=True)
    repeats = [
        rng.choice(np.flatnonzero(labels == label), counts.max() - count)
        for label, count in zip(classes, counts, strict=True)
    ]
    return np.concatenate([np.arange(len(labels)), *repeats])


def _stratified(labels, groups, fraction, seed):
    """Return the union of as many of equal folds as make up the fraction."""
    most = max(_FOLDS, math.ceil(1 / min(fraction, 1 - fraction)))
    most = min(most, np.unique(labels, return_counts=True)[1].max())  # of few examples
    share = Fraction(fraction).limit_denominator(int(most))
    try:
        parts = _stratified_folds(labels, groups, share.denominator, seed)
    except ValueError as error:
        text = f"fraction {fraction} cannot be held out of {len(labels)} examples"
        raise UserError(f"{text}, alike in labels: {error}") from error
    return np.concatenate(parts[: share.numerator])


def _stratified_folds(labels, groups, count, seed):
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # that a class is too rare for every fold
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return [test for _, test in folds.split(groups, labels, groups)]
