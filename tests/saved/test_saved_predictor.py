"""A fine-tuned model outlives its run, head and all."""

import jax
import numpy as np
import pytest
from reference.layers_numpy import randomised

from medssl_jax.errors import ConfigError, DataError
from medssl_jax.saved import predictor as module
from medssl_jax.saved.predictor import (
    Predictor,
    load_predictor,
    method_of,
    together,
)

MODEL = {
    "name": "resnet",
    "ndim": 2,
    "layers": [1, 1],
    "block": "basic",
    "width": 4,
    "stem": "small",
}

HOST = {"shape": [8, 8], "spacing_mm": None, "window": "none", "frames": "all"}


GRADES = {"ordered": True, "ordinal_head": True}


def spec(classes, **settings):
    return {
        "model": MODEL,
        "view": {"standardise": {}},
        "host": HOST,
        "provenance": {},
        "method": {"name": "supervised", "classes": classes, **settings},
        "evaluation": [{"name": "classify"}],
        "label_names": None,
    }


@pytest.mark.parametrize("classes, settings", [(2, {}), (3, {}), (3, GRADES)])
def test_a_saved_predictor_gives_the_same_probabilities(tmp_path, classes, settings):
    described = spec(classes, **settings)
    method = method_of(described)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    batch = {"image": images.astype(np.float32) / 255, "label": np.zeros(5, np.int32)}
    # or statistics that are lost would not be missed
    params, aux = randomised(jax.jit(method.init)(jax.random.key(0), batch))
    predictor = Predictor(params, aux, described)
    predictor.save(tmp_path / "predictor")
    for path in (tmp_path, tmp_path / "predictor"):
        loaded = load_predictor(path)
        p = np.asarray(loaded(images)["probability"])
        np.testing.assert_array_equal(p, predictor(images)["probability"])
        assert loaded.spec == described
    # the method itself, on the unit image
    expected = method.predict(params, aux, batch["image"])["probability"]
    np.testing.assert_allclose(p, expected, rtol=1e-4, atol=1e-6)
    assert p.shape == (5, classes) and np.ptp(p[:, 1]) > 1e-3
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


def test_an_ensemble_predicts_the_mean_and_outlives_its_members(tmp_path):
    described = spec(3)
    method = method_of(described)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    batch = {"image": images.astype(np.float32) / 255, "label": np.zeros(5, np.int32)}
    init = jax.jit(method.init)
    members = {
        str(seed): Predictor(*randomised(init(jax.random.key(seed), batch)), described)
        for seed in range(3)
    }
    each = [np.asarray(one(images)["probability"]) for one in members.values()]
    together(members).save(tmp_path / "predictor")
    loaded = load_predictor(tmp_path)
    found = np.asarray(loaded(images)["probability"])
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5)
    alone = loaded.of_record({"image": images[1]})["probability"]
    np.testing.assert_allclose(alone, found[1], rtol=1e-5)
    assert loaded.spec == described | {"members": 3}


def test_what_makes_no_ensemble_is_refused():
    one, other = Predictor({}, {}, spec(3)), Predictor({}, {}, spec(4))
    with pytest.raises(ConfigError, match="b has another method than a"):
        together({"a": one, "b": other})
    with pytest.raises(ConfigError, match="b is an ensemble"):
        together({"a": one, "b": Predictor({}, {}, spec(3) | {"members": 2})})


def test_a_folder_without_a_predictor_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no predictor \(no predictor\.json"):
        load_predictor(tmp_path)


def test_an_image_is_segmented_as_the_runs_own_test_was(monkeypatch):
    asked = {}

    def segmented(predict, record, image, prepare, **how):
        asked.update(how, image=image)
        return np.zeros(record["image"].shape[:-1], np.uint8)

    monkeypatch.setattr(module, "segmented", segmented)
    how = {"name": "segment", "step": 0.25, "mirror": [1], "tolerance_mm": 1.0}
    task = {"name": "segment", "regions": 2, "dice": 1.0, "cross_entropy": 1.0}
    task |= {"background": False, "over_batch": False, "deep_supervision": False}
    model = {"name": "unet", "ndim": 2, "width": 2, "levels": 2}
    given = spec(2) | {"model": model, "method": task, "evaluation": [how]}
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 1), np.uint8)
    found = Predictor({}, {}, given).of_record({"image": image})["mask"]
    assert found.shape == (9, 12)
    np.testing.assert_array_equal(asked.pop("image"), image)
    assert asked.pop("batch_size") > 0
    assert asked == {"tile": (8, 8), "step": 0.25, "mirror": [1], "overlapping": True}
