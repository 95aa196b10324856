"""Converted weights against what PyTorch computed with them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import UserError
from medssl_jax.models.convert import from_torchvision
from medssl_jax.models.resnet import resnet

REFERENCE = Path(__file__).parents[1] / "reference"
NETWORKS = {
    # tests/reference/torch_resnets.py makes these
    "torch_r3d18.npz": resnet(
        ndim=3, layers=(2, 2, 2, 2), block="basic", width=2, stem="r3d"
    ),
    "torch_resnet2d.npz": resnet(
        ndim=2, layers=(1, 1), block="bottleneck", width=3, stem="imagenet"
    ),
}


def load(name):
    with np.load(REFERENCE / name, allow_pickle=False) as file:
        arrays = dict(file)
    tensors = {
        key.removeprefix("tensors/"): value
        for key, value in arrays.items()
        if key.startswith("tensors/")
    }
    shapes = jax.eval_shape(NETWORKS[name].init, jax.random.key(0), arrays["x"])
    return arrays, tensors, shapes


@pytest.mark.parametrize("name", NETWORKS)
def test_gives_the_features_of_pytorch(name):
    arrays, tensors, shapes = load(name)
    variables = from_torchvision(tensors, shapes, sum_channels=False)
    features, _ = evaluate(NETWORKS[name], variables, arrays["x"])
    np.testing.assert_allclose(features, arrays["eval/features"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_as_pytorch_does_in_features_and_gradients(name):
    arrays, tensors, shapes = load(name)
    variables = from_torchvision(tensors, shapes, sum_channels=False)

    def loss(x):
        features, _ = NETWORKS[name].apply(variables, x, True)
        return jnp.sum(jnp.sin(features)), features

    gradient, features = jax.jit(jax.grad(loss, has_aux=True))(arrays["x"])
    expected = arrays["train/features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    expected = arrays["train/gradient"]
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


def test_a_summed_stem_sees_grey_as_rgb_saw_it():
    name = "torch_resnet2d.npz"
    arrays, tensors, shapes = load(name)
    grey = arrays["x"][..., :1]
    rgb = from_torchvision(tensors, shapes, sum_channels=False)
    expected, _ = evaluate(NETWORKS[name], rgb, np.repeat(grey, 3, axis=-1))
    shapes = jax.eval_shape(NETWORKS[name].init, jax.random.key(0), grey)
    summed = from_torchvision(tensors, shapes, sum_channels=True)
    actual, _ = evaluate(NETWORKS[name], summed, grey)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def evaluate(network, variables, x):
    return jax.jit(network.apply, static_argnums=2)(variables, x, False)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("layer2.0.downsample.1.running_mean"), "missing: layer2.0.do"),
        (lambda t: t.update({"layer5.0.conv1.weight": t["bn1.bias"]}), "unknown: lay"),
        (lambda t: t.update({"bn1.bias": t["bn1.bias"][:2]}), r"bn1.bias gives \(2,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message):
    _, tensors, shapes = load("torch_resnet2d.npz")
    change(tensors)
    with pytest.raises(UserError, match=message):
        from_torchvision(tensors, shapes, sum_channels=False)
