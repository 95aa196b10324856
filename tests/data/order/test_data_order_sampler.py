"""Which examples meet in a batch: none twice, and MICLe's rules on bags."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from medssl_jax.data.host import HostTransform
from medssl_jax.data.order.bags import Bags
from medssl_jax.data.order.mixture import Mixture
from medssl_jax.data.order.roles import sources
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.pipeline import Rows, train_batches
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError, DataError

# seven patients, an odd number, with one to five images that do not lie together
PATIENTS = list("dabcbecdaefgbbeb")
SIZES = Counter(PATIENTS)


class Draw:
    """An image as it is, with the generator's next number added."""

    def __call__(self, record, rng):
        return {
            "image": record["image"] + rng.random(),
            "repeated_frames": 0,
            "padding": 0.0,
        }


def read(name):
    return {"image": np.full((2, 2, 1), float(name))}


def source(patients=PATIENTS, count=None):
    count = len(patients) if patients else count
    names = [str(i) for i in range(count)]
    return Examples(names, read, labels=np.arange(count) % 3, patients=patients)


def batches(name, examples, *, batch, count, seed=3):
    rows = sampler(name, examples, batch_size=batch, seed=seed)
    iterator = train_batches(
        examples, Draw(), sampler=rows, rows=Rows(batch, 0, 1), seed=seed, workers=0
    )
    return [next(iterator) for _ in range(count)]


def drawn(name, examples, *, batch, count):
    """Return the indices of the first `count` rows, without reading them."""
    rows = sampler(name, examples, batch_size=batch, seed=3)
    return [rows.row(i, np.random.default_rng([3, i])) for i in range(count)]


def of(patients, indices):
    return [patients[i] for i in indices]


def joined(found, name):
    return np.concatenate([batch[name] for batch in found])


@pytest.mark.parametrize("batch", [2, 3, 4, 7])
def test_no_patient_is_twice_in_a_batch_in_any_pass(batch):
    for found in batches("bags", source(), batch=batch, count=60):
        patients = of(PATIENTS, found["index"])
        assert len(set(patients)) == batch
        assert of(PATIENTS, found["partner_index"]) == patients


def test_a_pass_has_no_patient_twice_and_the_next_one_another_order():
    found = batches("bags", source(), batch=3, count=40)
    passes = [
        of(PATIENTS, np.concatenate([a["index"], b["index"]]))
        for a, b in zip(found[::2], found[1::2], strict=True)
    ]
    assert all(len(set(patients)) == 6 for patients in passes)  # the seventh left out
    assert len({tuple(patients) for patients in passes}) == 20
    assert len({frozenset(SIZES) - set(patients) for patients in passes}) > 3


def test_patients_come_equally_often_whatever_their_number_of_images():
    found = drawn("bags", source(), batch=4, count=560)
    counts = Counter(PATIENTS[first] for first, _ in found)
    assert stats.chisquare([counts[patient] for patient in SIZES]).pvalue > 1e-3


def test_a_bag_of_two_or_more_gives_two_distinct_images_of_it():
    pairs = drawn("bags", source(), batch=4, count=400)
    for first, second in pairs:
        assert PATIENTS[first] == PATIENTS[second]
        assert (first == second) == (SIZES[PATIENTS[first]] == 1)


def test_all_pairs_of_a_bag_come_alike_in_both_orders():
    bags, random = Bags(PATIENTS), np.random.default_rng(0)
    for bag in range(len(bags)):
        images = bags[bag].tolist()
        pairs = Counter(bags.pair(bag, random) for _ in range(600))
        if len(images) > 1:
            assert set(pairs) == {(a, b) for a in images for b in images if a != b}
            assert stats.chisquare(list(pairs.values())).pvalue > 1e-4


def test_a_bag_of_one_gives_its_image_twice_each_drawn_for_itself():
    found = batches("bags", source(), batch=4, count=100)
    alone = [p for p, size in SIZES.items() if size == 1]
    rows = np.isin(of(PATIENTS, joined(found, "index")), alone)
    assert rows.sum() > 50
    index, other = joined(found, "index")[rows], joined(found, "partner_index")[rows]
    np.testing.assert_array_equal(index, other)
    image, partner = joined(found, "image")[rows], joined(found, "partner")[rows]
    assert (image != partner).any(axis=(1, 2, 3)).all()


def test_image_and_partner_are_drawn_independently_and_belong_to_their_indices():
    found = batches("bags", source(), batch=4, count=100)
    noise = [
        joined(found, image)[:, 0, 0, 0] - joined(found, index)
        for image, index in (("image", "index"), ("partner", "partner_index"))
    ]
    assert len(np.unique(noise)) == 2 * 400
    assert all(0 <= n.min() and n.max() < 1 for n in noise)
    assert stats.pearsonr(*noise).pvalue > 1e-3
    np.testing.assert_array_equal(joined(found, "label"), joined(found, "index") % 3)
    # every pass draws other images of a patient
    pairs = set(
        zip(joined(found, "index"), joined(found, "partner_index"), strict=True)
    )
    assert len([pair for pair in pairs if PATIENTS[pair[0]] == "b"]) > 10
    assert "repeated_frames" in found[0]


def test_another_seed_draws_other_pairs():
    first, second = (
        batches("bags", source(), batch=7, count=3, seed=seed) for seed in (0, 1)
    )
    assert (joined(first, "partner_index") != joined(second, "partner_index")).any()


def test_bags_hold_each_example_once_in_the_order_of_their_first():
    bags = Bags(PATIENTS)
    members = [bags[i].tolist() for i in range(len(bags))]
    expected = {}
    for i, patient in enumerate(PATIENTS):
        expected.setdefault(patient, []).append(i)
    assert members == list(expected.values())


@pytest.mark.parametrize("count", [10, 11])
def test_no_example_is_twice_in_a_distinct_batch_and_all_come_equally_often(count):
    examples = source(None, count)
    found = np.array(drawn("distinct", examples, batch=4, count=440)).reshape(-1, 4)
    assert all(len(set(batch)) == 4 for batch in found)
    counts = np.bincount(found.ravel(), minlength=count)
    assert stats.chisquare(counts).pvalue > 1e-3
    shuffled = np.array(drawn("shuffled", examples, batch=4, count=440))
    assert any(len(set(batch)) < 4 for batch in shuffled.reshape(-1, 4))  # hence it


def test_distinct_is_shuffled_where_batches_fill_an_epoch():
    examples = source(None, 12)
    both = [batches(n, examples, batch=4, count=9) for n in ("shuffled", "distinct")]
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


@pytest.mark.parametrize("name", ["shuffled", "distinct", "bags"])
def test_an_epoch_counts_examples_or_patients_not_what_passes_leave_out(name):
    expected = {"shuffled": 16, "distinct": 16, "bags": 7}[name]
    assert len(sampler(name, source(), batch_size=5, seed=0)) == expected


def test_a_run_lasts_as_many_epochs_over_patients(tmp_path, monkeypatch):
    root = Path(__file__).parents[3]
    monkeypatch.syspath_prepend(str(root / "configs"))
    monkeypatch.delitem(sys.modules, "byol3d", raising=False)
    from byol3d import get_config

    from medssl_jax.run.task import build

    config = get_config("demo")
    config.data.count, config.data.knees_per_patient = 66, 3
    config.data.sampler, config.data.cache = "bags", ""
    config.batch_size = config.micro_batch_size = 4
    config.train_epochs = 6.0
    task = build(config, tmp_path)
    assert len(task.sampler) == task.durations.examples == 22
    assert task.durations.updates == 33


@pytest.mark.parametrize(
    ("name", "examples", "batch", "text"),
    [
        ("bag", source(), 4, "data.sampler 'bag'.*known: shuffled, distinct, bags"),
        ("bags", source(), 8, "micro_batch_size 8 .* 7, the patients"),
        ("bags", source(), 0, "micro_batch_size 0 "),
        ("distinct", source(), 17, "micro_batch_size 17 .* 16, the examples"),
        ("bags", source(None, 9), 4, "data.sampler 'bags' .*patient.*data.labels"),
    ],
)
def test_what_does_not_fit_is_named_with_both_numbers(name, examples, batch, text):
    with pytest.raises(ConfigError, match=text):
        sampler(name, examples, batch_size=batch, seed=0)


def opened(tmp_path, **feeding):
    """Open phantom slices, most of them intact, as a training run does."""
    settings = {"name": "phantom_slices", "count": 24, "seed": 0}
    settings |= {"size_pixels": (8, 8), "tear_fraction": 0.3}
    prepare = HostTransform((8, 8), None, "percentiles", "all").prepare
    chosen = {"cache": "", "on_error": "raise", "balance": "", "seed": 0} | feeding
    found = sources(settings, {}, prepare=prepare, folder=tmp_path, **chosen)
    return found["train"]


@pytest.mark.parametrize("name", ["distinct", "bags"])
@pytest.mark.parametrize(
    "feeding",
    [
        {"balance": "oversample"},
        {"balance": "oversample", "known_labels": 0.5},
        {"label_fraction": 0.5},
    ],
)
def test_repeated_examples_are_refused_where_none_may_be_twice(name, feeding, tmp_path):
    repeated = opened(tmp_path, **feeding)
    with pytest.raises(ConfigError, match="repeats examples: set data.balance"):
        sampler(name, repeated, batch_size=2, seed=0)
    mixed = Mixture([opened(tmp_path), repeated], ("a", "b"))
    with pytest.raises(ConfigError, match="repeats examples"):
        sampler(name, mixed, batch_size=2, seed=0)
    assert len(sampler("shuffled", repeated, batch_size=2, seed=0)) == len(repeated)


def test_labels_that_are_not_shown_repeat_nothing(tmp_path):
    shown = opened(tmp_path, known_labels=0.5)
    assert len(sampler("distinct", shown, batch_size=2, seed=0)) == 24


def test_an_example_without_a_patient_is_named():
    with pytest.raises(DataError, match="example 2: .* 2 in all"):
        Bags(["a", "b", "", "a", ""])
