"""No patient on both sides, labels in like shares, rare classes repeated."""

import numpy as np
import pytest

from medssl_jax.data.order.mixture import Mixture
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.order.splits import by_patient, check_disjoint, oversample, strata
from medssl_jax.data.relabel import partly_labelled
from medssl_jax.data.source import UNLABELLED, Examples, Subset
from medssl_jax.errors import ConfigError, DataError, UserError


def source(labels=None, patients=None, count=None):
    known = labels if labels is not None else patients
    count = len(known) if count is None else count
    names = [str(i) for i in range(count)]
    return Examples(names, dict, labels, patients)


def clinic():
    """Return labels and patients: one to five exams each, a fifth with a tear."""
    rng = np.random.RandomState(0)
    patients = np.repeat(np.arange(200), rng.randint(1, 6, 200))
    labels = (rng.rand(len(patients)) < 0.2).astype(np.int64)
    return labels, [f"p{patient}" for patient in rng.permutation(patients)]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("fraction", [0.04, 0.1, 0.3, 0.5, 0.9])
def test_no_patient_is_on_both_sides_and_every_example_on_one(labelled, fraction):
    labels, patients = clinic()
    rest, held_out = by_patient(
        source(labels if labelled else None, patients), fraction, 0
    )
    both = np.sort(np.concatenate([rest, held_out]))
    np.testing.assert_array_equal(both, np.arange(len(patients)))
    assert not {patients[i] for i in rest} & {patients[i] for i in held_out}
    assert len(held_out) / len(patients) == pytest.approx(fraction, abs=0.03)
    assert np.all(np.diff(rest) > 0) and np.all(np.diff(held_out) > 0)


def test_labels_are_held_out_in_like_shares():
    # MRNet's 1,130 exams with 208 tears, one patient each, 90:10
    labels = np.random.RandomState(0).permutation(np.arange(1130) < 208).astype(int)
    _, held_out = by_patient(source(labels), 0.1, 0)
    assert len(held_out) == 113
    assert labels[held_out].sum() in (20, 21)


def test_the_split_depends_on_the_seed_alone():
    labels, patients = clinic()
    for given in (source(labels, patients), source(None, patients)):
        first, again, other = (by_patient(given, 0.2, seed)[1] for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_unknown_patients_are_one_for_each_example():
    rest, held_out = by_patient(source(count=10), 0.2, 0)
    assert len(rest) == 8 and len(held_out) == 2


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(ConfigError, match=str(fraction)):
        by_patient(source(count=10), fraction, 0)


def test_too_few_patients_are_refused():
    with pytest.raises(UserError, match="1 patient"):
        by_patient(source(patients=["a", "a", "a"]), 0.1, 0)
    with pytest.raises(UserError, match="fraction 0.1 .* 3 examples"):
        by_patient(source(np.array([0, 1, 1])), 0.1, 0)


def test_a_patient_in_two_splits_is_named():
    train = source(patients=["a", "b", "b"])
    valid = source(patients=["c", "d"])
    test = source(patients=["e", "b", "a"])
    check_disjoint({"train": train, "valid": valid, "unknown": source(count=3)})
    with pytest.raises(DataError, match="patient a: .*train and test.*2 patient"):
        check_disjoint({"train": train, "valid": valid, "test": test})


def test_oversampling_keeps_every_example_and_evens_the_classes():
    labels = np.array([0] * 50 + [1] * 7 + [2] * 20)
    indices = oversample(labels, 0)
    np.testing.assert_array_equal(indices[: len(labels)], np.arange(len(labels)))
    np.testing.assert_array_equal(np.bincount(labels[indices]), [50, 50, 50])
    # repeats are drawn, not cycled: 43 draws from 7 are not even
    repeats = np.bincount(indices[len(labels) :], minlength=77)[50:57]
    assert repeats.min() > 0 and repeats.max() > repeats.min() + 1
    np.testing.assert_array_equal(indices, oversample(labels, 0))
    assert not np.array_equal(indices, oversample(labels, 1))


def test_oversampling_repeats_nothing_that_has_no_label():
    labels = np.array([UNLABELLED] * 9 + [0] * 4 + [1])
    indices = oversample(labels, 0)
    counts = {int(label): int(np.sum(labels[indices] == label)) for label in (-1, 0, 1)}
    assert counts == {-1: 9, 0: 4, 1: 4}


def findings_clinic(patients=150):
    """Return findings of one to five exams a patient: common, rarer, rare."""
    rng = np.random.RandomState(1)
    patient = np.repeat(np.arange(patients), rng.randint(1, 6, patients))
    labels = (rng.rand(len(patient), 3) < (0.5, 0.15, 0.04)).astype(np.int64)
    labels[rng.rand(*labels.shape) < 0.2] = UNLABELLED
    return labels, [f"p{i}" for i in rng.permutation(patient)]


def test_a_patient_is_divided_by_the_rarest_finding_of_its_exams():
    # common in three patients, rare in two; the last patient is not labelled
    labels = [[1, 0], [0, 0], [1, 1], [1, -1], [0, 0], [0, 1], [-1, -1]]
    patients = np.array([0, 0, 1, 2, 3, 4, 5])
    expected = [0, 0, 1, 0, 2, 1, 3]
    assert strata(np.array(labels), patients).tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_findings_are_held_out_in_like_shares_with_the_rare_ones(seed):
    labels, patients = findings_clinic()
    given = Examples([str(i) for i in range(len(labels))], dict, labels, patients)
    rest, held_out = by_patient(given, 0.25, seed)
    assert not {patients[i] for i in rest} & {patients[i] for i in held_out}

    def having(indices, j):
        return len({patients[i] for i in indices if labels[i, j] == 1})

    everyone = range(len(labels))
    for j, slack in ((0, 0.08), (1, 0.1), (2, 0.07)):
        share = having(held_out, j) / having(everyone, j)
        assert share == pytest.approx(0.25, abs=slack)


def test_oversampling_findings_is_refused():
    with pytest.raises(ConfigError, match="data.balance .*2 findings"):
        oversample(np.array([[0, 1], [1, 1]]), 0)


def test_sixteen_rows_can_be_divided_and_nobody_is_warned_of_it(recwarn):
    """Eight of each class and .3: ten folds of scikit-learn would be too many."""
    given = source(np.arange(16) % 2)
    rest, held_out = by_patient(given, 0.3, 0)
    assert sorted([*rest, *held_out]) == list(range(16))
    assert 3 <= len(held_out) <= 6 and set(np.asarray(given.labels)[held_out]) == {0, 1}
    by_patient(source(np.array([0] * 30 + [1] * 3)), 0.1, 0)
    assert not recwarn.list


@pytest.mark.parametrize("wrap", [lambda s: partly_labelled(s, 0.5, 0), lambda s: s])
def test_repeats_are_counted_through_every_wrapper(wrap):
    labels = np.array([0] * 9 + [1] * 3)
    repeated = wrap(Subset(source(labels), oversample(labels, 0)))
    for given in (repeated, Mixture([repeated], ("ct",))):
        assert len(given) == 18 and given.distinct == 12
        with pytest.raises(ConfigError, match="'distinct' excludes repeats"):
            sampler("distinct", given, batch_size=4, seed=0)
