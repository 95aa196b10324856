"""An encoder outlives its run."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.layers_numpy import randomised
from safetensors.numpy import load_file, save_file

import medssl_jax
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.models.features import pooled
from medssl_jax.saved import export
from medssl_jax.saved.encoder import Encoder, backbone, initial_variables

MODEL = {
    "name": "resnet",
    "ndim": 2,
    "layers": [1, 1],
    "block": "basic",
    "width": 4,
    "stem": "small",
}
HOST = {"shape": [8, 8], "spacing_mm": None, "window": "none", "frames": "all"}
SPEC = {"model": MODEL, "view": {"standardise": {}}, "host": HOST, "provenance": {}}


@pytest.fixture(scope="module")
def variables():
    network = backbone(MODEL, dtype=jnp.float32, axis_name=None)
    initial = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    return randomised(initial)  # or statistics that are lost would not be missed


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)


def test_a_saved_encoder_gives_the_same_features(tmp_path, variables, images):
    encoder = Encoder(variables, SPEC)
    encoder.save(tmp_path / "encoder")
    for path in (tmp_path, tmp_path / "encoder"):
        loaded = medssl_jax.load_encoder(path)
        np.testing.assert_array_equal(loaded(images), encoder(images))
        assert loaded.spec == SPEC


def test_features_are_the_network_on_the_standardised_unit_image(variables, images):
    x = images.astype(np.float64) / 255
    axes = (1, 2, 3)
    x = (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)
    network = pooled(backbone(MODEL, dtype=jnp.float32, axis_name=None))
    expected, _ = network.apply(variables, x.astype(np.float32), False)
    found = Encoder(variables, SPEC)(images)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_an_encoder_of_another_architecture_is_refused_by_field(tmp_path, variables):
    Encoder(variables, SPEC).save(tmp_path)
    with pytest.raises(ConfigError, match=r"width is 4 there, 8 in config\.model"):
        initial_variables(str(tmp_path), MODEL | {"width": 8}, (8, 8, 1))
    with pytest.raises(ConfigError, match=r"groups is None there, 2 in config\.model"):
        initial_variables(str(tmp_path), MODEL | {"groups": 2}, (8, 8, 1))
    given = initial_variables(str(tmp_path), MODEL, (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, given, variables)


def test_an_encoder_of_grey_images_is_no_start_for_colours(tmp_path, variables):
    Encoder(variables, SPEC | {"channels": 1}).save(tmp_path)
    with pytest.raises(ConfigError, match=r"images of 1 channel\(s\), .* has 3: see"):
        initial_variables(str(tmp_path), MODEL, (8, 8, 3))


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no encoder"):
        medssl_jax.load_encoder(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "encoder.json"])
def test_a_truncated_file_is_an_error_that_names_the_folder(tmp_path, variables, name):
    Encoder(variables, SPEC).save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=str(tmp_path)):
        medssl_jax.load_encoder(tmp_path)


def test_another_format_is_refused(tmp_path, variables):
    Encoder(variables, SPEC).save(tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(DataError, match="format"):
        medssl_jax.load_encoder(tmp_path)


def test_a_dense_network_of_before_its_name_is_read_and_can_be_started_from(tmp_path):
    model = {
        "name": "in_plane_densenet",
        "ndim": 2,
        "blocks": [1],
        "in_plane_blocks": 1,
        "initial_features": 2,
        "growth": 2,
        "features": 4,
    }
    network = backbone(model, dtype=jnp.float32, axis_name=None)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    old = SPEC | {"model": model | {"name": "densenet"}}
    export.write(tmp_path, "encoder", variables, old)
    given = initial_variables(str(tmp_path), model, (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, given, variables)


def test_a_run_can_start_from_torchs_weights(tmp_path):
    reference = Path(__file__).parents[1] / "reference" / "torch_r3d18.npz"
    with np.load(reference, allow_pickle=False) as arrays:
        tensors = {
            name.removeprefix("tensors/"): np.ascontiguousarray(arrays[name])
            for name in arrays
            if name.startswith("tensors/")
        }
        x, features = arrays["x"], arrays["eval/features"]
    path = tmp_path / "r3d_18.safetensors"
    save_file(tensors, path)
    model = MODEL | {"ndim": 3, "layers": [2, 2, 2, 2], "width": 2, "stem": "r3d"}
    variables = initial_variables(str(path), model, x.shape[1:])
    network = pooled(backbone(model, dtype=jnp.float32, axis_name=None))
    found, _ = network.apply(variables, x, False)
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="r3d_18.safetensors.*width"):
        initial_variables(str(path), model | {"width": 4}, x.shape[1:])


def test_how_a_network_is_run_is_no_part_of_what_it_is():
    """`init_from` compares `config.model` alone, which says nothing of running."""
    parts = {"dtype": jnp.float32, "axis_name": None}
    off = {"recompute": False, "drop_path": 0.0}
    x = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    found = [
        jax.eval_shape(backbone(MODEL, **parts, running=how).init, jax.random.key(0), x)
        for how in ({}, off)
    ]
    assert found[0] == found[1]


def test_a_way_of_running_that_a_model_lacks_is_refused():
    network = {"name": "unet", "ndim": 2, "width": 2, "levels": 2}
    with pytest.raises(ConfigError, match="config.running.drop_path is 0.1, which"):
        backbone(network, dtype=jnp.float32, axis_name=None, running={"drop_path": 0.1})


def renamed(tensors, name):
    tensors["params/another"] = tensors.pop(name)


def misshaped(tensors, name):
    tensors[name] = tensors[name][..., :1].copy()


def not_finite(tensors, name):
    tensors[name] = np.full_like(tensors[name], np.nan)


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda t, name: t.pop(name), "lacks {name}"),
        (renamed, "lacks {name}; has params/another, which the model has not"),
        (misshaped, "has {name} of shape (3, 3, 1, 1), not (3, 3, 1, 4)"),
        (not_finite, "has numbers that are not finite in {name}"),
    ],
)
def test_weights_of_another_network_are_refused_by_tensor(
    tmp_path, variables, damage, said
):
    Encoder(variables, SPEC).save(tmp_path)
    path = tmp_path / "weights.safetensors"
    tensors = load_file(path)
    name = next(n for n, x in tensors.items() if x.shape == (3, 3, 1, 4))
    damage(tensors, name)
    save_file(tensors, path)
    with pytest.raises(DataError) as error:
        medssl_jax.load_encoder(tmp_path)
    assert str(path) in str(error.value)
    assert said.format(name=name) in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: [],
        lambda spec: spec.pop("model"),
        lambda spec: spec.pop("host"),
        lambda spec: spec["model"].update(widht=4),
        lambda spec: spec["model"].update(width="4"),
        lambda spec: spec["view"].update(sharpen={}),
        lambda spec: spec["host"].update(shape=None),
        lambda spec: spec.update(channels="RGB"),
    ],
)
def test_a_description_of_no_network_is_refused_with_its_file(
    tmp_path, variables, change
):
    Encoder(variables, SPEC).save(tmp_path)
    path = tmp_path / "encoder.json"
    spec = json.loads(path.read_text())
    changed = change(spec)
    path.write_text(json.dumps([] if changed == [] else spec))
    with pytest.raises(DataError, match=re.escape(str(path))):
        medssl_jax.load_encoder(tmp_path)


def test_images_that_it_was_not_trained_on_are_refused(variables, images):
    encoder = Encoder(variables, SPEC | {"channels": 1})
    with pytest.raises(ConfigError, match=r"3 channel\(s\), .* trained on 1"):
        encoder(np.repeat(images, 3, axis=-1))
    for low, high in ((0, 2), (-1, 1)):
        beyond = np.linspace(low, high, 64, dtype=np.float32).reshape(1, 8, 8, 1)
        with pytest.raises(ConfigError, match=f"reach from {low} to {high}.*of_record"):
            encoder(beyond)


def test_a_record_is_brought_to_what_training_fed(variables):
    """A raw exam of more frames and another range: frames evenly spaced, windowed."""
    model = MODEL | {"ndim": 3}
    network = backbone(model, dtype=jnp.float32, axis_name=None)
    deep = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 1)))
    host = {
        "shape": [4, 8, 8],
        "spacing_mm": None,
        "window": "percentiles",
        "percentiles": [0, 100],
        "frames": "random",
    }
    encoder = Encoder(deep, SPEC | {"model": model, "host": host, "channels": 1})
    exam = np.random.default_rng(0).integers(-500, 900, (9, 10, 12, 1)).astype(float)
    unit = (exam - exam.min()) / (exam.max() - exam.min())
    middles = [1, 3, 5, 7]  # of four equal parts
    evenly = unit[middles, 1:9, 2:10].astype(np.float16)
    found = encoder.of_record({"image": exam})
    np.testing.assert_allclose(found, encoder(evenly[None])[0], rtol=1e-3, atol=1e-3)
    with pytest.raises(DataError, match="exam 7: is constant"):
        encoder.of_record({"image": np.zeros((9, 10, 12, 1))}, "exam 7")
