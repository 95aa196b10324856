"""A 1 x 1 convolution before a network: what it computes, and what it starts from."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from medssl_jax.errors import ConfigError
from medssl_jax.models.adapter import adapter
from medssl_jax.models.network import starting_from
from medssl_jax.saved.encoder import (
    Encoder,
    backbone,
    check_start,
    initial_variables,
    load_encoder,
)

RESNET = {
    "name": "resnet",
    "ndim": 2,
    "layers": (1, 1),
    "block": "basic",
    "width": 4,
    "stem": "small",
}
MODEL = {"name": "adapter", "of": RESNET, "channels": 3}
HOST = {"shape": (8, 8), "spacing_mm": None, "window": "none", "frames": "all"}
SHAPE = (8, 8, 6)


def built(model):
    return backbone(model, dtype=jnp.float32, axis_name=None)


def images(channels=6):
    return np.random.default_rng(0).random((4, 8, 8, channels), np.float32)


def drawn(model, channels, seed):
    key = jax.random.key(seed)
    return jax.jit(built(model).init)(key, images(channels))


def saved(folder, model, channels):
    """Write an encoder of random weights; return them."""
    variables = drawn(model, channels, seed=3)
    spec = {"model": model, "view": {}, "host": HOST, "channels": channels}
    Encoder(variables, spec | {"provenance": {}}).save(folder)
    return variables


same = functools.partial(jax.tree.map, np.testing.assert_array_equal)


@pytest.mark.parametrize("train", [False, True])
def test_the_network_sees_a_weighted_sum_of_channels(train):
    x, variables = images(), drawn(MODEL, 6, seed=0)
    own = {
        "kernel": np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32),
        "bias": np.float32([0.1, -0.2, 0.3]),
    }
    params = variables["params"] | {"adapter": own}
    found, stats = built(MODEL).apply({**variables, "params": params}, x, train)
    compressed = np.zeros((4, 8, 8, 3), np.float32) + own["bias"]
    for before, after in itertools.product(range(6), range(3)):
        compressed[..., after] += x[..., before] * own["kernel"][before, after]
    inner = {**variables, "params": params["of"]}
    expected, of_inner = built(RESNET).apply(inner, compressed, train)
    np.testing.assert_allclose(found.pooled, expected.pooled, rtol=1e-4, atol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, stats, of_inner)


def test_it_starts_from_an_encoder_of_the_network_inside_with_a_kernel_of_its_own(
    tmp_path,
):
    inner = saved(tmp_path, RESNET, 3)
    check_start(str(tmp_path), MODEL)
    given = initial_variables(str(tmp_path), MODEL, SHAPE)
    network = starting_from(built(MODEL), given)
    first, second = (network.init(jax.random.key(i), images()) for i in (0, 1))
    same(first["params"]["of"], inner["params"])
    same(first["batch_stats"], inner["batch_stats"])
    own = drawn(MODEL, 6, seed=0)["params"]["adapter"]
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        first["params"]["adapter"],
        own,
    )
    kernels = (one["params"]["adapter"]["kernel"] for one in (first, second))
    assert not np.allclose(*kernels)  # a seed is one of the adapter too


def test_it_starts_from_another_adapter_whole(tmp_path):
    variables = saved(tmp_path, MODEL, 6)
    given = initial_variables(str(tmp_path), MODEL, SHAPE)
    same(
        starting_from(built(MODEL), given).init(jax.random.key(0), images()), variables
    )
    same(load_encoder(tmp_path).variables, variables)
    with pytest.raises(ConfigError, match=r"trained on images of 6 channel\(s\), and"):
        initial_variables(str(tmp_path), MODEL, (8, 8, 5))


def test_it_starts_from_torchvisions_weights_of_colours(tmp_path):
    with np.load("tests/reference/torch_resnet2d.npz") as file:
        tensors = {
            name.removeprefix("tensors/"): array
            for name, array in file.items()
            if name.startswith("tensors/")
        }
    path = tmp_path / "resnet.safetensors"
    save_file(tensors, path)
    of = {"name": "resnet", "ndim": 2, "layers": (1, 1), "block": "bottleneck"}
    model = {"name": "adapter", "of": of | {"width": 3, "stem": "imagenet"}}
    channels = tensors["conv1.weight"].shape[1]
    given = initial_variables(str(path), model | {"channels": channels}, SHAPE)
    stem = np.moveaxis(tensors["conv1.weight"], (0, 1), (-1, -2))
    np.testing.assert_array_equal(given["params"]["stem"]["kernel"], stem)


def test_an_encoder_of_other_channels_or_another_network_is_refused(tmp_path):
    saved(tmp_path / "grey", RESNET, 1)
    with pytest.raises(ConfigError, match=r"of 1 channel\(s\), and config.data has 3"):
        initial_variables(str(tmp_path / "grey"), MODEL, SHAPE)
    with pytest.raises(ConfigError, match="width is 4 there, 8 in config.model"):
        check_start(str(tmp_path / "grey"), MODEL | {"of": RESNET | {"width": 8}})
    with pytest.raises(ConfigError, match="config.model.of.name: unknown name 'resne'"):
        adapter(of={"name": "resne"}, channels=3)
