"""Which examples are held out, and which are repeated."""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from medssl_jax.data.source import UNLABELLED, Source
from medssl_jax.errors import ConfigError, DataError, UserError

_FOLDS = 20  # at most, unless the fraction or its rest is less than one of these


def by_patient(
    source: Source, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out about `fraction` of a source, no patient on both sides.

    Where there are labels, their shares are kept alike (the unlabelled are a class
    then). Where patients are not known, each example is taken for one.

    Returns:
      Indices of the rest and of the held out, each ascending.

    Raises:
      ConfigError: if the fraction is not between 0 and 1.
      UserError: if there are too few patients.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction {fraction} to hold out is not between 0 and 1")
    ids = range(len(source)) if source.patients is None else source.patients
    _, groups = np.unique(np.asarray(ids), return_inverse=True)
    patients = len(np.unique(groups))
    if patients < 2:
        raise UserError(f"nothing can be held out of {patients} patient(s)")
    if source.labels is None:
        split = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
        held_out = next(split.split(groups, groups=groups))[1]
    else:
        held_out = _stratified(source.labels, groups, fraction, seed)
    rest = np.setdiff1d(np.arange(len(source)), held_out)
    if not len(rest) or not len(held_out):
        raise UserError(
            f"fraction {fraction} of {patients} patients cannot be held out: one side "
            "would be empty"
        )
    return rest, np.sort(held_out)


def check_disjoint(sources: Mapping[str, Source]) -> None:
    """Refuse splits that share a patient; sources without patients are not compared.

    Raises:
      DataError: naming the first patient found in two.
    """
    known = [(n, set(s.patients)) for n, s in sources.items() if s.patients is not None]
    for i, (name, patients) in enumerate(known):
        for other, others in known[:i]:
            if shared := sorted(patients & others):
                text = f"is in both {other} and {name} ({len(shared)} patient(s) are)"
                raise DataError(f"patient {shared[0]}", f"{text}; keep each in one")


def oversample(labels: np.ndarray, seed: int) -> np.ndarray:
    """Repeat examples of rare classes at random until classes are equally frequent.

    Every example is there once, the repeats follow. `UNLABELLED` is no class.

    Returns:
      (m,) indices into `labels`.
    """
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
    share = Fraction(fraction).limit_denominator(most)
    folds = StratifiedGroupKFold(share.denominator, shuffle=True, random_state=seed)
    try:
        parts = [test for _, test in folds.split(groups, labels, groups)]
    except ValueError as error:
        text = f"fraction {fraction} cannot be held out of {len(labels)} examples"
        raise UserError(f"{text}, alike in labels: {error}") from error
    return np.concatenate(parts[: share.numerator])
