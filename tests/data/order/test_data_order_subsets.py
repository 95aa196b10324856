"""A smaller label budget: nested, by patient, alike in labels, everyone's the same."""

import itertools
from collections import Counter

import numpy as np
import pytest

from medssl_jax.data.host import Prepare
from medssl_jax.data.order import roles
from medssl_jax.data.order.subsets import nested, repeated
from medssl_jax.data.source import UNLABELLED, Examples
from medssl_jax.errors import ConfigError

FRACTIONS = (0.01, 0.1, 0.25, 0.5, 0.9, 1.0)


def source(labels, patients=None):
    names = [f"{i:04d}" for i in range(len(labels))]
    return Examples(names, lambda name: {}, np.asarray(labels), patients)


def scans(count=400, *, per_patient=2, rare=0.1, seed=0):
    """Return a source of patients with a few scans each, one class a patient."""
    rng = np.random.default_rng(seed)
    of_patient = (rng.random(count) < rare).astype(int)
    patient = np.repeat(np.arange(count), rng.integers(1, 2 * per_patient, count))
    return source(of_patient[patient], [f"p{p}" for p in patient])


@pytest.mark.parametrize("seed", [0, 1])
def test_smaller_fractions_lie_in_larger_ones(seed):
    chosen = [set(nested(scans(), fraction, seed)) for fraction in FRACTIONS]
    for smaller, larger in itertools.pairwise(chosen):
        assert smaller < larger
    assert chosen[-1] == set(range(len(scans())))


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_a_patient_is_chosen_with_all_scans_or_not_at_all(fraction):
    data = scans()
    chosen = {data.patients[i] for i in nested(data, fraction, 0)}
    left = {
        data.patients[i] for i in range(len(data)) if i not in nested(data, fraction, 0)
    }
    assert not chosen & left


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_each_class_keeps_its_share_of_patients(fraction):
    data = scans()
    classes = dict(zip(data.patients, data.labels.tolist(), strict=True))
    chosen = {data.patients[i] for i in nested(data, fraction, 0)}
    counts = Counter(classes.values())
    found = Counter(classes[p] for p in chosen)
    for label, count in counts.items():
        assert found[label] == max(1, round(fraction * count))


def test_the_choice_is_the_seeds_and_not_the_orders_of_examples():
    data = scans()
    order = np.random.default_rng(3).permutation(len(data))
    shuffled = Examples(
        [data.names[i] for i in order],
        data.read,
        data.labels[order],
        [data.patients[i] for i in order],
    )
    chosen = {data.names[i] for i in nested(data, 0.25, 0)}
    assert chosen == {shuffled.names[i] for i in nested(shuffled, 0.25, 0)}
    assert chosen != {data.names[i] for i in nested(data, 0.25, 1)}


def test_a_rare_finding_keeps_its_share_and_is_never_lost():
    rng = np.random.default_rng(0)
    labels = (rng.random((1000, 3)) < (0.004, 0.1, 0.4)).astype(int)
    labels[rng.random((1000, 3)) < 0.2] = UNLABELLED
    labels[:7] = 0, UNLABELLED, UNLABELLED  # nothing present
    labels[7] = UNLABELLED  # nothing known
    chosen = nested(source(labels), 0.1, 0)
    assert 7 not in chosen
    rarest = int((labels == 1).sum(axis=0)[0])
    assert (labels[chosen, 0] == 1).sum() == max(1, round(rarest * 0.1))
    for finding, margin in ((1, 2), (2, 10)):
        expected = (labels[:, finding] == 1).sum() / 10
        assert abs((labels[chosen, finding] == 1).sum() - expected) <= margin


@pytest.mark.parametrize("rare", [0, 1])
def test_a_patient_belongs_to_the_rarest_finding_that_it_shows(rare):
    """All of 40 show one finding and ten the other, too: a tenth of both groups."""
    labels = np.ones((40, 2), int)
    labels[10:, rare] = 0
    for seed in range(10):
        chosen = nested(source(labels), 0.1, seed)
        assert np.sum(chosen < 10) == 1 and len(chosen) == 4


def test_unlabelled_examples_are_no_labels():
    labels = np.array([0, 1] * 20 + [UNLABELLED] * 40)
    assert sorted(nested(source(labels), 1.0, 0)) == list(range(40))
    assert len(nested(source(labels), 0.5, 0)) == 20


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_fraction_outside_its_range_is_named(fraction):
    with pytest.raises(ConfigError, match=r"data\.label_fraction"):
        nested(scans(), fraction, 0)


@pytest.mark.parametrize("labels", [[UNLABELLED] * 4, None])
def test_a_source_without_labels_has_no_fraction_of_them(labels):
    data = Examples(
        list("abcd"), lambda n: {}, None if labels is None else np.array(labels)
    )
    with pytest.raises(ConfigError, match=r"data\.label_fraction needs labels"):
        nested(data, 0.5, 0)


def _roles(folder, **settings):
    phantom = {
        "name": "phantom",
        "count": 40,
        "seed": 3,
        "size_voxels": (4, 16, 16),
        "tear_fraction": 0.3,
    }
    splits = {"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}
    prepare = Prepare(3, None, "none")
    given = {"cache": "", "on_error": "raise", "balance": "", "seed": 0} | settings
    return roles.sources(phantom, splits, prepare=prepare, folder=folder, **given)


def names(source):
    return [source.name(i) for i in range(len(source))]


def test_a_run_uses_a_fraction_of_its_training_labels_alone(tmp_path):
    whole, half = _roles(tmp_path), _roles(tmp_path, label_fraction=0.5)
    for role in ("validation", "test"):
        assert names(whole[role]) == names(half[role])
    expected = [names(whole["train"])[i] for i in nested(whole["train"], 0.5, 0)]
    assert set(names(half["train"])) == set(expected)


@pytest.mark.parametrize("balance", ["", "oversample"])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.9])
def test_an_epoch_is_as_long_for_every_fraction(tmp_path, balance, fraction):
    whole = _roles(tmp_path, balance=balance)["train"]
    few = _roles(tmp_path, balance=balance, label_fraction=fraction)["train"]
    assert len(few) == len(whole)
    times = Counter(names(few)).values()
    if not balance:
        assert max(times) - min(times) <= 1


def test_what_is_left_of_an_epoch_is_drawn_and_not_the_first_examples():
    indices = np.arange(20) + 100
    found, again, other = (repeated(indices, 50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(found[:40], np.tile(indices, 2))
    rest = found[40:]
    assert len(set(rest)) == 10 and set(rest) <= set(indices)
    assert sorted(rest) != indices[:10].tolist()
    np.testing.assert_array_equal(found, again)
    assert set(rest) != set(other[40:])


def test_a_balanced_epoch_has_as_many_of_each_class(tmp_path):
    labels = _roles(tmp_path, balance="oversample")["train"].labels
    assert np.bincount(labels).tolist() == [len(labels) / 2] * 2


def test_rare_labels_are_repeated_after_the_fraction_is_taken(tmp_path):
    half = _roles(tmp_path, label_fraction=0.5)["train"]
    balanced = _roles(tmp_path, label_fraction=0.5, balance="oversample")["train"]
    assert set(names(balanced)) == set(names(half))
    for source, alike in ((half, False), (balanced, True)):
        zeros, ones = (int((source.labels == k).sum()) for k in (0, 1))
        assert (abs(zeros - ones) <= 3) == alike


def test_runs_with_one_split_seed_differ_in_their_subsets_alone(tmp_path):
    one = _roles(tmp_path, seed=1, split_seed=0, label_fraction=0.5)
    other = _roles(tmp_path, seed=2, split_seed=0, label_fraction=0.5)
    for role in ("validation", "test"):
        assert names(one[role]) == names(other[role])
    assert names(one["train"]) != names(other["train"])
    shown = [
        _roles(tmp_path, seed=seed, split_seed=0, known_labels=0.5)["train"]
        for seed in (1, 2)
    ]
    assert names(shown[0]) == names(shown[1])
    assert (shown[0].labels != shown[1].labels).any()
    assert names(_roles(tmp_path, seed=1)["test"]) != names(one["test"])


def masked(count=40, labels=None):
    names = [f"{i:04d}" for i in range(count)]
    patients = [f"p{i // 2}" for i in range(count)]
    return Examples(names, lambda name: {}, labels, patients, has_masks=True)


def test_masks_are_labels_of_every_case_and_patients_stay_whole():
    few, more = (nested(masked(), fraction, 3) for fraction in (0.1, 0.5))
    assert len(few) == 4 and len(more) == 20
    assert set(few) < set(more)
    assert set(few // 2 * 2) | set(few // 2 * 2 + 1) == set(few)


def test_of_cases_with_masks_labels_only_stratify():
    labels = np.repeat([0, 1, UNLABELLED, 0], 10)
    chosen = nested(masked(labels=labels), 0.4, 0)
    counts = Counter(labels[chosen].tolist())
    assert counts == {0: 8, 1: 4, UNLABELLED: 4}


def test_neither_masks_nor_labels_are_no_budget():
    nothing = Examples(["a"], lambda name: {})
    with pytest.raises(ConfigError, match="data.label_fraction needs labels"):
        nested(nothing, 0.5, 0)
