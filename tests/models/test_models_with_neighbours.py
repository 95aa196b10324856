"""Networks in 2.5D: each slice with those beside it, and no further."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medssl_jax.errors import ConfigError
from medssl_jax.methods.segment import segment
from medssl_jax.models.unet_decoder import decoder
from medssl_jax.models.with_neighbours import of_slices, with_neighbours
from medssl_jax.saved.encoder import Encoder, backbone, initial_variables, load_encoder
from medssl_jax.views.compose import View

UNET = {"name": "unet", "ndim": 2, "width": 4, "levels": 3}
MODEL = {"name": "with_neighbours", "of": UNET, "neighbours": 2}
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


def built(model):
    return backbone(model, dtype=jnp.float32, axis_name=None)


def volumes(b=2, f=6):
    return np.random.default_rng(0).random((b, f, 8, 8, 1), np.float32)


def five(x, i):
    """Return slice i with two on each side, the last one again where there is none."""
    places = [min(max(i + k, 0), x.shape[1] - 1) for k in (-2, -1, 0, 1, 2)]
    return np.concatenate([x[:, place] for place in places], axis=-1)


def test_each_slice_is_seen_with_its_neighbours():
    x, network = volumes(), built(MODEL)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    found, _ = network.apply(variables, x, False)
    each = [built(UNET).apply(variables, five(x, i), False)[0] for i in range(6)]
    close(found.pooled, np.mean([one.pooled for one in each], axis=0))
    for level, ours in enumerate(found.maps):
        close(ours, np.stack([one.maps[level] for one in each], axis=1))


def test_training_takes_statistics_over_all_slices():
    x, network = volumes(), built(MODEL)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    _, stats = network.apply(variables, x, True)
    slices = np.concatenate([five(x[i : i + 1], j) for i in range(2) for j in range(6)])
    _, expected = built(UNET).apply(variables, slices, True)
    jax.tree.map(close, stats, expected)


def method():
    views = {"first": View(()), "eval": View(())}
    return segment(
        built(MODEL),
        views=views,
        durations=tiny.durations(),
        axis_name=None,
        dtype=jnp.float32,
        classes=2,
        dice=1.0,
        cross_entropy=1.0,
        background=False,
        over_batch=False,
        deep_supervision=True,
    )


def test_a_voxel_is_segmented_from_two_slices_on_each_side_and_no_further():
    x, segmenting = volumes(), method()
    params, aux = jax.jit(segmenting.init)(jax.random.key(0), {"image": x})
    predict = jax.jit(lambda x: segmenting.predict(params, aux, x)["mask"])
    mask = predict(x)
    assert mask.shape == (2, 6, 8, 8, 2)
    other = x.copy()
    other[:, 5] = 1 - other[:, 5]
    moved = np.abs(np.asarray(predict(other) - mask)).max(axis=(0, 2, 3, 4)) > 0
    assert moved.tolist() == [False, False, False, True, True, True]


def test_the_decoder_is_that_of_images():
    x = volumes()
    network, head = built(MODEL), decoder(outputs=2)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    features, _ = network.apply(variables, x, False)
    maps = [m.reshape(-1, *m.shape[2:]) for m in features.maps]
    inputs = x.reshape(-1, 8, 8, 1), tuple(maps)
    decoding = jax.jit(head.init)(jax.random.key(1), inputs)
    expected, _ = head.apply(decoding, inputs, False)
    found, _ = of_slices(head).apply(decoding, (x, features.maps), False)
    close(found.reshape(expected.shape), expected)


def test_it_starts_from_an_encoder_of_as_many_channels_and_is_one_itself(tmp_path):
    x = volumes()
    variables = jax.jit(built(MODEL).init)(jax.random.key(3), x)
    host = {"shape": (6, 8, 8), "spacing_mm": None, "window": "none", "frames": "all"}
    spec = {"model": MODEL, "view": {}, "host": host, "channels": 1, "provenance": {}}
    Encoder(variables, spec).save(tmp_path)
    assert load_encoder(tmp_path)(x).shape == (2, 16)
    found = initial_variables(str(tmp_path), MODEL, (6, 8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    spec |= {"model": UNET, "channels": 5, "host": host | {"shape": (8, 8)}}
    Encoder(variables, spec).save(tmp_path / "slices")
    found = initial_variables(str(tmp_path / "slices"), MODEL, (6, 8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    with pytest.raises(ConfigError, match=r"of 5 channel\(s\), and config.data has 3"):
        initial_variables(
            str(tmp_path / "slices"), MODEL | {"neighbours": 1}, (6, 8, 8, 1)
        )


def test_what_it_is_made_of_has_to_be_known():
    with pytest.raises(ConfigError, match="config.model.of.name: unknown name 'ume'"):
        with_neighbours(of={"name": "ume"}, neighbours=1)
