"""The floor: what plain pixels tell, against scikit-learn by hand and as a table."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from medssl_jax.data.draw import Draw
from medssl_jax.data.source import Examples, Subset
from medssl_jax.evals import floor as module
from medssl_jax.evals.linear import linear_probe

SHAPE = (8, 8)
DRAW = Draw(SHAPE, "all")


def images(n, seed):
    """Return noise, and a faint bright corner in every second image."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    pixels = rng.random((n, *SHAPE, 1)).astype(np.float32)
    pixels[labels == 1, :3, :3] += 0.15
    return pixels / 2, labels


def source(n, seed, labels=None):
    pixels, classes = images(n, seed)
    names = [f"{seed}/{i}" for i in range(n)]
    kept = dict(zip(names, pixels, strict=True))
    labels = classes if labels is None else labels
    return Examples(names, lambda name: {"image": kept[name]}, labels)


def floor(train, test):
    return module.pixel_floor(train, test, DRAW, batch_size=16, seed=0)


def test_it_is_a_logistic_regression_on_the_first_principal_components():
    found = floor(source(120, 1), source(80, 2))
    (learnt, labels), (tested, truth) = images(120, 1), images(80, 2)
    flat = [x.reshape(len(x), -1) for x in (learnt, tested)]
    reduce = PCA(64, random_state=0).fit(flat[0])
    features = [reduce.transform(x) for x in flat]
    p = linear_probe(features[0], labels, features[1], groups=None, classes=2, seed=0)
    np.testing.assert_allclose(found.scores, p[:, 1], atol=1e-3)
    assert roc_auc_score(truth, found.scores) > 0.6


def test_examples_that_are_fed_again_are_learnt_once():
    train = source(60, 1)
    again = Subset(train, np.r_[np.arange(60), np.arange(30)])
    np.testing.assert_array_equal(
        floor(again, source(20, 2)).scores, floor(train, source(20, 2)).scores
    )


def test_of_many_examples_some_are_learnt_evenly_apart(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 30)
    few = Subset(source(60, 1), np.arange(0, 60, 2) + np.arange(30) % 2)
    monkeypatch.setattr(module, "_MOST", 30)
    assert len(module._some(source(61, 1))) == 30
    assert len(module._some(few)) == 30


def test_blocks_are_means_and_small_images_stay_as_they_are():
    image = np.random.default_rng(0).random((2, 96, 64, 1)).astype(np.float32)
    found = module.blocks(image)
    assert found.shape == (2, 32, 32, 1)
    means = uniform_filter(image[0, :, :, 0], (3, 2), origin=(0, -1))[1::3, ::2]
    np.testing.assert_allclose(found[0, ..., 0], means, rtol=1e-5)
    small = image[:, :20, :20]
    np.testing.assert_array_equal(module.blocks(small), small)
    assert module.blocks(np.ones((1, 50, 33, 17, 2))).shape == (1, 16, 16, 16, 2)
    np.testing.assert_allclose(module.blocks(np.ones((1, 50, 33, 1))), 1)


def test_findings_are_learnt_where_they_are_known_and_the_mean_is_over_these():
    train, test = images(90, 1)[1], images(60, 2)[1]
    gaps = np.where(np.arange(90) < 10, -1, train)
    labels = np.stack([gaps, np.ones(90, int)], axis=1)  # one that all have
    tested = np.stack([test, np.arange(60) % 3 == 0], axis=1).astype(int)
    found = floor(source(90, 1, labels), source(60, 2, tested))
    assert found.scores.shape == (60, 2) and not found.lacking
    expected = roc_auc_score(test, found.scores[:, 0])
    assert found.metric(tested, found.scores) == pytest.approx(expected)


def test_a_table_tells_how_far_a_model_is_above_it():
    test = source(80, 2)
    found = floor(source(120, 1), test)
    perfect = np.asarray(test.labels, float)
    table = module.table(found, test, {"the model": perfect}, seed=0)
    area = roc_auc_score(test.labels, found.scores)
    (_, here, _), (name, there, above) = table["rows"]
    assert here.startswith(f"{area:.3f} (") and there.startswith("1.000")
    assert name == "the model" and above.startswith(f"{1 - area:+.3f} (")


def test_labels_that_teach_nothing_give_no_floor_and_say_why():
    found = floor(source(20, 1, np.zeros(20, int)), source(20, 2))
    table = module.table(found, source(20, 2), {}, seed=0)
    assert table["rows"] == [] and table["note"].startswith("None: ")


def test_on_real_radiographs_it_is_near_the_floor_that_is_known(real_data):
    """Measured elsewhere: .921."""
    archive = np.load(real_data / "pneumoniamnist/pneumoniamnist.npz")

    def of(split):
        pixels = archive[f"{split}_images"][..., np.newaxis] / np.float32(255)
        names = [f"{split}/{i}" for i in range(len(pixels))]
        kept = dict(zip(names, pixels, strict=True))
        labels = archive[f"{split}_labels"].ravel().astype(int)
        return Examples(names, lambda name: {"image": kept[name]}, labels)

    draw = Draw((28, 28), "all")
    test = of("test")
    found = module.pixel_floor(of("train"), test, draw, batch_size=256, seed=0)
    assert roc_auc_score(test.labels, found.scores) == pytest.approx(0.921, abs=0.005)
