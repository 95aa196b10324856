"""Which labelled examples a smaller label budget holds, and how often they are fed."""

import numpy as np
from jaxtyping import Bool, Int

from medssl_jax.data.source import UNLABELLED, Source
from medssl_jax.errors import ConfigError


def nested(
    source: Source, fraction: float, seed: int, *, field: str = "data.label_fraction"
) -> Int[np.ndarray, "_"]:
    """Choose about `fraction` of the labelled patients, with all their labels.

    Where there are masks, all are labelled; labels then only stratify.

    The choice depends on the labels, the patients and the seed alone: every
    initialisation gets the same. Of one seed, a smaller fraction's examples are all in
    a larger one's. A patient belongs to the rarest class that it shows (a finding that
    is present, where labels are (n, findings)): the fraction is taken of each class's
    patients, rounded, one at least. Rarest first is iterative stratification's rule
    (Sechidis et al. 2011, ECML PKDD, p. 145). Where patients are not known, each
    example is taken for one.

    Returns:
      Indices of the chosen examples, ascending; the unlabelled are not among them.

    Raises:
      ConfigError: naming `field`, if the fraction is not in (0, 1], or nothing has a
        label.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"{field} {fraction} is not in (0, 1]")
    labels, targets = source.labels, source.has_masks or source.has_boxes
    if labels is None:
        labels = np.zeros(len(source), int) if targets else [UNLABELLED]
    labels = np.asarray(labels)
    known = _known(labels)
    if not known.any():
        raise ConfigError(f"{field} needs labels; the training data has none")
    labelled = np.arange(len(source)) if targets else np.flatnonzero(known)
    ids = range(len(source)) if source.patients is None else source.patients
    _, patient = np.unique(np.asarray(ids)[labelled], return_inverse=True)
    stratum = _rarest(_shown(labels[labelled]), patient)
    chosen = np.zeros(len(stratum), bool)
    for members in (np.flatnonzero(stratum == s) for s in np.unique(stratum)):
        # a generator per class: its order holds whatever the other classes are
        rng = np.random.default_rng([seed, 1, 1 + int(stratum[members[0]])])
        count = max(1, round(fraction * len(members)))
        chosen[rng.permutation(members)[:count]] = True
    return labelled[chosen[patient]]


def repeated(
    indices: Int[np.ndarray, "_"], count: int, seed: int
) -> Int[np.ndarray, "_"]:
    """Repeat all as often until there are `count`, the last time as many at random."""
    rest = np.random.default_rng([seed, 0]).permutation(indices)
    times = count // len(indices)
    return np.concatenate([*[indices] * times, rest[: count % len(indices)]])


def _known(labels: np.ndarray) -> Bool[np.ndarray, "n"]:
    known = labels != UNLABELLED
    return known if labels.ndim == 1 else known.any(axis=1)


def _shown(labels: np.ndarray) -> Bool[np.ndarray, "n classes"]:
    if labels.ndim == 2:
        return labels == 1
    return labels[:, None] == np.unique(labels)


def _rarest(
    shown: Bool[np.ndarray, "n classes"], patient: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "patients"]:
    """Return the rarest class that each patient shows, -1 where it shows none."""
    of_patient = np.zeros((patient.max() + 1, shown.shape[1]), bool)
    np.logical_or.at(of_patient, patient, shown)
    by_rarity = np.argsort(of_patient.sum(axis=0), kind="stable")
    first = of_patient[:, by_rarity].argmax(axis=1)
    return np.where(of_patient.any(axis=1), by_rarity[first], -1)
