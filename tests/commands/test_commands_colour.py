"""Commands that train nothing follow the channels that a model was trained on."""

import csv
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from medssl_jax.commands import evaluate, features, predict
from medssl_jax.data import settings
from medssl_jax.errors import DataError
from medssl_jax.protocols import transfer
from medssl_jax.saved.encoder import Encoder
from medssl_jax.saved.predictor import Predictor, method_of

CONFIGS = Path(__file__).parents[2] / "configs"
HOST = {"shape": [8, 8], "spacing_mm": None, "window": "none", "frames": "all"}
SPEC = {
    "model": {
        "name": "resnet",
        "ndim": 2,
        "layers": [1],
        "block": "basic",
        "width": 4,
        "stem": "small",
    },
    "view": {},
    "host": HOST,
    "channels": 3,
    "provenance": {},
    "method": {"name": "supervised", "classes": 2},
    "evaluation": [{"name": "classify"}],
    "label_names": None,
}
COLOURS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a run's folder with a predictor and its encoder, of colour images."""
    folder = tmp_path_factory.mktemp("model")
    batch = {"image": COLOURS.astype(np.float32) / 255}
    params, aux = jax.jit(method_of(SPEC).init)(jax.random.key(0), batch)
    Predictor(params, aux, SPEC).save(folder / "predictor")
    statistics = aux["batch_stats"]["backbone"]
    variables = {"params": params["backbone"], "batch_stats": statistics}
    Encoder(variables, SPEC).save(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i, image in enumerate(COLOURS):
        Image.fromarray(image).save(folder / f"{i}.png")
    table = "path,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(len(COLOURS)))
    (folder / "labels.csv").write_text(table)
    return folder


def config(name, model, data):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.get_config("images").lock()
    found.init_from, found.data.root = str(model), str(data)
    found.data.labels = str(data / "labels.csv")
    return found


def probabilities(path):
    with path.open(newline="") as file:
        return [float(row["probability_1"]) for row in csv.DictReader(file)]


def test_features_of_colour_images_are_the_encoders(model, data, tmp_path):
    features.run(config("features", model, data), tmp_path)
    expected = features.load_encoder(model)(COLOURS)
    with np.load(tmp_path / "features.npz") as found:
        np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-6)


def test_predictions_of_colour_images_are_the_models(model, data, tmp_path):
    predict.run(config("predict", model, data), tmp_path / "predict")
    transfer.run(config("transfer", model, data), tmp_path / "transfer")
    expected = predict.load_predictor(model)(COLOURS)["probability"][:, 1]
    for name in ("predict", "transfer"):
        found = probabilities(tmp_path / name / "predictions.csv")
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_channels_that_are_set_are_kept(model, data, tmp_path):
    stated = config("features", model, data)
    stated.data.channels = "grey"
    with pytest.raises(DataError, match="is in colour, where data.channels is 'grey'"):
        features.run(stated, tmp_path)


def test_a_run_is_evaluated_on_as_many_channels_as_it_was_trained_on(model):
    theirs = ConfigDict({"splits": {"test": {"fraction": 0.2}}})
    new = ConfigDict({"evaluation": (), "data": {"name": "nifti", "channels": 0}})
    changed = evaluate._changed(theirs, new, model)
    assert changed.splits.test.to_dict() == {"name": "nifti", "channels": 3}


@pytest.mark.parametrize(
    ("stated", "spec", "expected"),
    [
        ({"channels": ""}, {"channels": 3}, {"channels": 3}),
        ({"channels": 0}, {"channels": 4}, {"channels": 4}),
        ({"channels": 0}, {}, {"channels": 1}),  # of before they were saved
        ({"channels": 2}, {"channels": 4}, {"channels": 2}),
        ({"root": ""}, {"channels": 4}, {"root": ""}),
    ],
)
def test_only_channels_that_are_left_open_follow(stated, spec, expected):
    assert settings.following(stated, spec) == expected
