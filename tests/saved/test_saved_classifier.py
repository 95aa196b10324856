"""A classifier outlives its run, head and all."""

import jax
import numpy as np
import pytest

from medssl_jax.errors import DataError
from medssl_jax.saved.classifier import Classifier, load_classifier, method_of

MODEL = {
    "name": "resnet",
    "ndim": 2,
    "layers": [1, 1],
    "block": "basic",
    "width": 4,
    "stem": "small",
}


def spec(classes):
    return {
        "model": MODEL,
        "view": {"standardise": {}},
        "host": {},
        "provenance": {},
        "method": {"name": "supervised", "classes": classes},
        "evaluation": {"name": "classify", "classes": classes},
        "label_names": None,
    }


@pytest.mark.parametrize("classes", [2, 3])
def test_a_saved_classifier_gives_the_same_probabilities(tmp_path, classes):
    method = method_of(spec(classes))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    batch = {"image": images.astype(np.float32) / 255, "label": np.zeros(5, np.int32)}
    params, aux = jax.jit(method.init)(jax.random.key(0), batch)
    classifier = Classifier(params, aux, spec(classes))
    classifier.save(tmp_path / "classifier")
    for path in (tmp_path, tmp_path / "classifier"):
        loaded = load_classifier(path)
        p = np.asarray(loaded(images))
        np.testing.assert_array_equal(p, classifier(images))
        assert loaded.spec == spec(classes)
    # the method itself, on the unit image
    expected = method.predict(params, aux, batch["image"])
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-6)
    assert p.shape == (5, classes) and np.ptp(p[:, 1]) > 1e-3
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


def test_a_folder_without_a_classifier_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no classifier \(no classifier\.json"):
        load_classifier(tmp_path)
