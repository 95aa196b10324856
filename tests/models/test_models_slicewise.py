"""Volumes by slices: the encoder of slices, slice after slice, and no other weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.models.slicewise import slicewise
from medssl_jax.saved.encoder import Encoder, backbone, initial_variables, load_encoder

VIT = {
    "name": "vit",
    "ndim": 2,
    "patch": 4,
    "width": 8,
    "heads": 2,
    "depth": 2,
    "maps": (2,),
    "pooling": "class",
}
RESNET = {
    "name": "resnet",
    "ndim": 2,
    "layers": (1,),
    "block": "basic",
    "width": 4,
    "stem": "small",
}
HOST = {"shape": (16, 16), "spacing_mm": None, "window": "none", "frames": "all"}


def built(model):
    return backbone(model, dtype=jnp.float32, axis_name=None)


def volumes(b=2, f=3):
    return np.random.default_rng(0).random((b, f, 8, 8, 1), np.float32)


@pytest.mark.parametrize("of", [VIT, RESNET], ids=["vit", "resnet"])
def test_the_vector_is_that_of_each_slice_in_turn(of):
    x, network = volumes(), built({"name": "slicewise", "of": of})
    variables = jax.jit(network.init)(jax.random.key(0), x)
    of_slices = jax.jit(built(of).init)(jax.random.key(0), x[:, 0])
    jax.tree.map(np.testing.assert_array_equal, variables, of_slices)
    found, _ = network.apply(variables, x, False)
    each = [built(of).apply(variables, x[:, i], False)[0].pooled for i in range(3)]
    np.testing.assert_allclose(found.pooled, np.concatenate(each, axis=1), atol=1e-5)
    assert found.maps == ()


def test_attention_is_that_of_the_middle_slice():
    x, network = volumes(), built({"name": "slicewise", "of": VIT})
    variables = jax.jit(network.init)(jax.random.key(0), x)
    found, _ = network.apply(variables, x, False)
    middle, _ = built(VIT).apply(variables, x[:, 1], False)
    for ours, expected in zip(found.attention, middle.attention, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_slices_of_one_volume_leave_out_branches_of_their_own():
    x = np.repeat(volumes(b=4, f=1), 8, axis=1)  # alike, but for what is left out
    network = slicewise(of=VIT, drop_path=0.5)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    keys = jax.random.split(jax.random.key(1), 4)
    found, _ = network.apply(variables, x, True, keys)
    of_slices = np.asarray(found.pooled).reshape(4, 8, 8).round(5)
    assert min(len(np.unique(one, axis=0)) for one in of_slices) > 1
    alone, _ = network.apply(variables, x[1:2], True, keys[1:2])
    np.testing.assert_allclose(alone.pooled[0], found.pooled[1], atol=1e-5)


def test_it_starts_from_an_encoder_of_slices_read_out_in_any_way(tmp_path):
    pretrained = VIT | {"maps": (1, 2), "pooling": "mean"}
    variables = jax.jit(built(pretrained).init)(
        jax.random.key(3), np.zeros((1, 16, 16, 1), np.float32)
    )
    spec = {"model": pretrained, "view": {}, "host": HOST, "provenance": {}}
    Encoder(variables, spec).save(tmp_path)
    model = {"name": "slicewise", "of": VIT}
    found = initial_variables(str(tmp_path), model, (3, 8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    # positions of 4 x 4 patches, and slices of 2 x 2
    apply = jax.jit(lambda x: built(model).apply(found, x, False)[0].pooled)
    assert apply(volumes()).shape == (2, 24)
    with pytest.raises(ConfigError, match="depth is 2 there, 3 in config.model"):
        initial_variables(
            str(tmp_path), {**model, "of": VIT | {"depth": 3}}, (3, 8, 8, 1)
        )


def test_an_encoder_whose_positions_are_of_another_grid_is_loaded(tmp_path):
    variables = jax.jit(built(VIT).init)(
        jax.random.key(3), np.zeros((1, 16, 16, 1), np.float32)
    )
    host = HOST | {"shape": (24, 8)}
    Encoder(variables, {"model": VIT, "view": {}, "host": host, "provenance": {}}).save(
        tmp_path
    )
    found = load_encoder(tmp_path)(np.zeros((2, 24, 8, 1), np.float32))
    assert found.shape == (2, 8)


def test_what_it_is_made_of_has_to_be_known():
    with pytest.raises(
        ConfigError, match="config.model.of.name: unknown name 'vitt' in mod"
    ):
        slicewise(of={"name": "vitt"})
