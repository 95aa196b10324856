"""Converted weights against what PyTorch computed with them."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import UserError
from medssl_jax.models.convert import from_torchvision
from medssl_jax.models.features import pooled
from medssl_jax.models.resnet import resnet

REFERENCE = Path(__file__).parents[1] / "reference"
NETWORKS = {
    # tests/reference/torch_networks.py makes these
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
        features, _ = pooled(NETWORKS[name]).apply(variables, x, True)
        return jnp.sum(jnp.sin(features)), features

    gradient, features = jax.jit(jax.grad(loss, has_aux=True))(arrays["x"])
    expected = arrays["train/features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    expected = arrays["train/gradient"]
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "layers, parameters", [((3, 4, 6, 3), 25_557_032), ((3, 8, 36, 3), 60_192_808)]
)
def test_takes_torchvisions_resnet50_and_152_under_their_names(layers, parameters):
    tensors = dict(torchvision_shapes(layers))
    weights = {
        name: np.broadcast_to(np.float32(0), shape) for name, shape in tensors.items()
    }
    learnt = [
        shape for name, shape in tensors.items() if "running" not in name and shape
    ]
    assert sum(int(np.prod(shape)) for shape in learnt) == parameters
    network = resnet(
        ndim=2, layers=layers, block="bottleneck", width=64, stem="imagenet"
    )
    image = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    convert = functools.partial(from_torchvision, like=shapes, sum_channels=False)
    found = jax.eval_shape(lambda: convert(weights))
    assert jax.tree.structure(found) == jax.tree.structure(shapes)


def torchvision_shapes(layers):
    """List the state dict of torchvision's resnet50 and its like (models/resnet.py)."""

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (channels,)
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate(layers):
        width = 64 * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            yield f"{name}.conv1.weight", (width, inputs, 1, 1)
            yield from norm(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width, 3, 3)
            yield from norm(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (4 * width, width, 1, 1)
            yield from norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * width, inputs, 1, 1)
                yield from norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    yield "fc.weight", (1000, inputs)
    yield "fc.bias", (1000,)


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
    return jax.jit(pooled(network).apply, static_argnums=2)(variables, x, False)


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
