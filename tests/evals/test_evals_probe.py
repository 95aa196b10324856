"""What the probe says of encoders that tell their inputs apart, and that do not."""

import functools
import re
from types import SimpleNamespace

import numpy as np
import pytest

from medssl_jax.data.host import Draw
from medssl_jax.data.source import Examples, Source
from medssl_jax.evals import linear
from medssl_jax.evals import probe as module
from medssl_jax.evals.base import Context
from medssl_jax.evals.bootstrap import interval, paired_difference
from medssl_jax.evals.collapse import spread
from medssl_jax.evals.knn import weighted_knn
from medssl_jax.evals.linear import linear_probe
from medssl_jax.evals.metrics import auc
from medssl_jax.saved.encoder import Encoder

LABELS = np.arange(40) % 2


def read(name):
    noise = np.random.default_rng(int(name)).normal(size=(2, 3, 1))
    return {"image": (noise + LABELS[int(name)]).astype(np.float32)}


def flat(images):
    return np.asarray(images).reshape(len(images), -1)


def constant(images):
    return np.ones((len(images), 6), np.float32)


class Function(Encoder):
    """An encoder whose variables are a function of images, in place of a network."""

    def __init__(self, variables, spec):
        self.variables = variables

    def __call__(self, images):
        return self.variables(images)


def headline(tmp_path, monkeypatch, encoder, labels):
    monkeypatch.setattr(module, "Encoder", Function)
    names = [str(i) for i in range(len(LABELS))]
    sources = {role: Examples(names, read, labels) for role in ("train", "test")}
    method = SimpleNamespace(encoder=lambda params, aux: encoder)
    draw = Draw((2, 3), "all")
    context = Context(
        method, None, sources, None, draw, 16, {}, lambda: flat, tmp_path, seed=0
    )
    evaluator = module.probe(context, neighbours=5, temperature=0.1)
    return evaluator.final(None, None)["headline"]


@pytest.mark.parametrize(
    ("encoder", "labels", "beginnings"),
    [
        (flat, LABELS, ["linear probe AUC", "No sign of collapse"]),
        (constant, LABELS, ["Collapsed: all inputs", "linear probe AUC"]),
        (flat, None, ["No sign of collapse", "No probe"]),
        (constant, None, ["Collapsed: all inputs", "No probe"]),
    ],
)
def test_the_headline_tells_a_collapse_once_and_first(
    tmp_path, monkeypatch, encoder, labels, beginnings
):
    said = headline(tmp_path, monkeypatch, encoder, labels)
    first, second = beginnings
    assert said.startswith(first) and f". {second}" in said
    assert said.lower().count("collapse") == 1


def evaluator(tmp_path, train, test, patients=None, names=None):
    def source(labels):
        count = len(LABELS) if labels is None else len(labels)
        known = None if labels is None else np.asarray(labels)
        return Examples(
            [str(i) for i in range(count)], read, known, patients, None, names
        )

    sources = {"train": source(train)} | (
        {} if test is None else {"test": source(test)}
    )
    method = SimpleNamespace(encoder=lambda params, aux: flat)
    draw = Draw((2, 3), "all")
    context = Context(
        method, None, sources, None, draw, 16, {}, lambda: flat, tmp_path, seed=0
    )
    return module.probe(context, neighbours=5, temperature=0.1)


ONE = [0] * 39 + [1]
HALF = [0, 1] * 20
FINDINGS = [[0, 0], [1, 0], [0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (HALF, HALF, []),
        (None, None, []),
        (ONE, HALF, ["there will be no probe: .* class 0: 39, class 1: 1; give it"]),
        (HALF, ONE[:39], ["test has no example of class 1, so it has no AUC; label"]),
        ([0, 2] * 20, [0, 1, 2], ["no example of class 1, and test has: it cannot"]),
        ([-1, *ONE], HALF, ["class 0: 39, class 1: 1"]),
        (HALF, None, ["there will be no probe: it takes labelled examples of two"]),
        (HALF, [-1] * 3, ["there will be no probe: it takes labelled examples of two"]),
    ],
)
def test_what_classes_cannot_be_learnt_or_scored_is_told_before_training(
    tmp_path, train, test, said
):
    found = evaluator(tmp_path, train, test).lacking
    assert len(found) == len(said)
    for line, pattern in zip(found, said, strict=True):
        assert re.search(pattern, line) and "\n" not in line


def test_patients_not_examples_are_what_a_class_is_learnt_from(tmp_path):
    patients = ["p"] * 20 + [f"{i}" for i in range(20)]
    labels = [1] * 20 + [0] * 20
    (line,) = evaluator(tmp_path, labels, labels, patients).lacking
    assert "class 0: 20, class 1: 1" in line


def test_what_findings_cannot_be_learnt_or_scored_is_told_before_training(tmp_path):
    names = ("pus", "gap")
    found = evaluator(tmp_path, FINDINGS * 2, FINDINGS, names=names).lacking
    assert len(found) == 2
    assert "the probe leaves out gap: learning takes two patients with it" in found[0]
    assert "test has no positive, or no negative, of gap: no AUC of it" in found[1]
    assert evaluator(tmp_path, [[-1], [0], [0]], [[1], [0]]).lacking
    many = [[0, 1], [1, 0]] * 2
    assert evaluator(tmp_path, many, many, names=names).lacking == ()


def test_a_probe_that_cannot_learn_says_so_beside_the_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Encoder", Function)
    results = evaluator(tmp_path, ONE, HALF).final(None, None)
    assert "No probe: the linear probe learns from two classes" in results["headline"]
    assert "collapse" in results and "tables" not in results


class Many(Source):
    """A source without labels of ten million, whose images know their index."""

    labels = patients = label_names = None

    def __len__(self):
        return 10_000_000

    def __getitem__(self, i):
        noise = np.random.default_rng(i).normal(size=(2, 3, 1))
        return {"image": noise.astype(np.float32), "index": i}

    def name(self, i):
        return str(i)

    def stamp(self, i):
        return ""


def test_of_many_training_examples_some_are_embedded_evenly_apart(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "Encoder", Function)
    read_ones = []

    def draw(record, rng):
        read_ones.append(record["index"])
        return {"image": record["image"]}

    method = SimpleNamespace(encoder=lambda params, aux: flat)
    train = {"train": Many()}
    context = Context(
        method, None, train, None, draw, 64, {}, lambda: flat, tmp_path, seed=0
    )
    evaluator = module.probe(context, neighbours=5, temperature=0.1)
    results = evaluator.final(None, None)
    once = read_ones[: len(read_ones) // 2]  # both encoders see the same
    assert read_ones == once * 2 and len(once) == 2048 == results["embedded_examples"]
    assert once[0] == 0 and set(np.diff(once)) <= {4882, 4883}
    assert "Measured on 2048 of 10000000 training examples." in results["headline"]
    arrays = np.load(tmp_path / "embeddings.npz")
    assert arrays["pretrained"].shape == (2048, 6) and len(arrays["labels"]) == 2048


def test_of_few_training_examples_all_are_embedded_and_nothing_is_said(
    tmp_path, monkeypatch
):
    said = headline(tmp_path, monkeypatch, flat, None)
    assert "Measured on" not in said
    assert len(np.load(tmp_path / "embeddings.npz")["labels"]) == len(LABELS)


COUNTS = {"train": 40, "probe": 36, "validation": 30, "test": 32}
SEED = 7
QUICK = {
    "interval": functools.partial(interval, resamples=100),
    "paired_difference": functools.partial(paired_difference, resamples=100),
}


def role(name, patients_of=None, copies=1):
    """Return the examples of a role: no image and no order of labels is another's."""
    seed = list(COUNTS).index(name)
    rng, count = np.random.default_rng(seed), COUNTS[name]
    labels = rng.integers(0, 2, count)
    images = rng.normal(size=(count, 2, 3, 1)).astype(np.float32)
    images[:, 0, 0, 0] += 1.5 * labels
    owners = np.arange(count)
    if patients_of:  # scans of a patient are alike, and their label is the patient's
        owners = owners // patients_of
        images, labels = images[owners], labels[owners]
    names = [f"{name}-{i}" for i in range(count * copies)]
    return Examples(
        names,
        lambda n: {"image": images[int(n.partition("-")[2]) % count]},
        np.tile(labels, copies),
        [f"{name}-p{owner}" for owner in np.tile(owners, copies)],
    )


def encoders():
    """Return both by name: the pretrained one sees the signal, the other only noise."""
    return {"untrained": lambda x: flat(x)[:, 2:], "pretrained": flat}


def scored(folder, monkeypatch, **roles):
    monkeypatch.setattr(module, "Encoder", Function)
    monkeypatch.setattr(linear, "GRID", (1e-4, 100.0))
    for name, quick in QUICK.items():
        monkeypatch.setattr(module, name, quick)
    both = encoders()
    roles = {name: role(name) for name in COUNTS} | roles
    context = Context(
        SimpleNamespace(encoder=lambda params, aux: both["pretrained"]),
        None,
        roles,
        None,
        Draw((2, 3), "all"),
        16,
        {},
        lambda: both["untrained"],
        folder,
        seed=SEED,
        init_from="runs/a",
    )
    evaluator = module.probe(context, neighbours=5, temperature=0.1)
    return evaluator.final(None, None)


def pixels(source):
    return np.stack([source[i]["image"] for i in range(len(source))])


def expected_scores(probe, test, groups):
    """Return the probability of class 1 by classifier and encoder."""
    found = {}
    for name, encode in encoders().items():
        arrays = encode(pixels(probe)), probe.labels, encode(pixels(test))
        p = linear_probe(*arrays, groups=groups, classes=2, seed=SEED)
        found["linear probe", name] = p[:, 1]
        p = weighted_knn(*arrays, classes=2, k=5, temperature=0.1)
        found["kNN", name] = p[:, 1]
    return found


def by_column(table):
    """Return a table's rows by their first cell, each cell by its column's name."""
    return {
        row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]
    }


def test_each_number_is_its_encoders_learnt_on_the_probe_and_scored_on_the_test(
    tmp_path, monkeypatch
):
    probe, test = role("probe", patients_of=4), role("test")
    found = scored(tmp_path, monkeypatch, probe=probe)
    scores = expected_scores(probe, test, probe.patients)
    by_scan = expected_scores(probe, test, None)  # or patients would not matter
    assert np.ptp(scores["linear probe", "pretrained"]) < 0.5 * np.ptp(
        by_scan["linear probe", "pretrained"]
    )
    rows = by_column(found["tables"][0])
    drawn = {"groups": None, "seed": SEED, "resamples": 100}
    for classifier, row in rows.items():
        first, second = (scores[classifier, n] for n in ("pretrained", "untrained"))
        expected = {
            "pretrained": interval(auc, test.labels, first, **drawn).text(),
            "untrained": interval(auc, test.labels, second, **drawn).text(),
        }
        assert {name: row[name] for name in expected} == expected
        gain = paired_difference(auc, test.labels, first, second, **drawn)
        assert row["pretrained - untrained"] == gain.text(signed=True)
        assert (
            gain.value > 0.05 and f"AUC {gain.text(signed=True)}" in found["headline"]
        )
    curves = {curve["name"]: curve for curve in found["roc"]}
    assert len(curves) == 4
    for (classifier, name), p in scores.items():
        curve = curves[f"{classifier}, {name}"]
        assert curve["labels"] == test.labels.tolist()
        np.testing.assert_allclose(curve["scores"], p, rtol=1e-5)
    assert found["headline"].count("Untrained here is runs/a") == 1


def test_spreads_and_embeddings_are_of_the_test_and_called_by_their_encoder(
    tmp_path, monkeypatch
):
    found, test = scored(tmp_path, monkeypatch), role("test")
    arrays = np.load(tmp_path / "embeddings.npz")
    np.testing.assert_array_equal(arrays["labels"], test.labels)
    for name, encode in encoders().items():
        features = encode(pixels(test))
        np.testing.assert_array_equal(arrays[name], features)
        assert found["collapse"][name] == pytest.approx(spread(features))
    rank = found["collapse"]["pretrained"]["rank"]
    assert f"fill about {rank:.1f} of 6 directions" in found["headline"]


def test_copies_of_a_patients_scans_do_not_narrow_the_probes_intervals(
    tmp_path, monkeypatch
):
    once, copied = (
        scored(tmp_path, monkeypatch, test=role("test", copies=n)) for n in (1, 4)
    )
    assert copied["tables"][0]["rows"] == once["tables"][0]["rows"]
