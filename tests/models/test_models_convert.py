"""Converted weights against what PyTorch computed with them."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import UserError
from medssl_jax.models.convert import from_torch, to_torch
from medssl_jax.models.densenet import densenet
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
    "torch_densenet.npz": densenet(
        ndim=2, blocks=(2, 1), initial_features=4, growth=3, stem="imagenet"
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
    variables = from_torch(tensors, shapes, sum_channels=False)
    features, _ = evaluate(NETWORKS[name], variables, arrays["x"])
    np.testing.assert_allclose(features, arrays["eval/features"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_as_pytorch_does_in_features_and_gradients(name):
    arrays, tensors, shapes = load(name)
    variables = from_torch(tensors, shapes, sum_channels=False)

    def loss(x):
        features, _ = pooled(NETWORKS[name]).apply(variables, x, True)
        return jnp.sum(jnp.sin(features)), features

    gradient, features = jax.jit(jax.grad(loss, has_aux=True))(arrays["x"])
    expected = arrays["train/features"]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    expected = arrays["train/gradient"]
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


KINDS = {
    "torch_r3d18.npz": ("resnet", 3),
    "torch_resnet2d.npz": ("resnet", 2),
    "torch_densenet.npz": ("densenet", 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_came_from_pytorch_goes_back_to_the_same_state_dict(name):
    _, tensors, shapes = load(name)
    variables = from_torch(tensors, shapes, sum_channels=False)
    model, ndim = KINDS[name]
    found = to_torch(variables, model=model, ndim=ndim)
    head = {n for n in tensors if n.startswith(("fc.", "classifier."))}
    assert found.keys() == tensors.keys() - head  # counts of batches among them
    for n, array in found.items():
        if not n.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(array, tensors[n])
        assert array.dtype == tensors[n].dtype and array.shape == tensors[n].shape


def resnet_shapes(layers):
    """List the state dict of torchvision's resnet50 and its like (models/resnet.py)."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm_shapes("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate(layers):
        width = 64 * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            yield f"{name}.conv1.weight", (width, inputs, 1, 1)
            yield from norm_shapes(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width, 3, 3)
            yield from norm_shapes(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (4 * width, width, 1, 1)
            yield from norm_shapes(f"{name}.bn3", 4 * width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * width, inputs, 1, 1)
                yield from norm_shapes(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    yield "fc.weight", (1000, inputs)
    yield "fc.bias", (1000,)


def densenet_shapes(growth, blocks, inputs, classes, dot=""):
    """List the state dict of torchvision's densenet (models/densenet.py).

    `dot` is "." in the names of the released files.
    """
    yield "features.conv0.weight", (inputs, 3, 7, 7)
    yield from norm_shapes("features.norm0", inputs)
    for i, layers in enumerate(blocks, 1):
        for j in range(1, layers + 1):
            name = f"features.denseblock{i}.denselayer{j}"
            yield from norm_shapes(f"{name}.norm{dot}1", inputs)
            yield f"{name}.conv{dot}1.weight", (4 * growth, inputs, 1, 1)
            yield from norm_shapes(f"{name}.norm{dot}2", 4 * growth)
            yield f"{name}.conv{dot}2.weight", (growth, 4 * growth, 3, 3)
            inputs += growth
        if i < len(blocks):
            yield from norm_shapes(f"features.transition{i}.norm", inputs)
            name = f"features.transition{i}.conv.weight"
            yield name, (inputs // 2, inputs, 1, 1)
            inputs //= 2
    yield from norm_shapes("features.norm5", inputs)
    yield "classifier.weight", (classes, inputs)
    yield "classifier.bias", (classes,)


def norm_shapes(name, channels):
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


R = {"ndim": 2, "block": "bottleneck", "width": 64, "stem": "imagenet"}
D = {"ndim": 2, "initial_features": 64, "growth": 32, "stem": "imagenet"}


@pytest.mark.parametrize(
    "network, shapes, parameters",
    [
        (resnet(layers=(3, 4, 6, 3), **R), resnet_shapes((3, 4, 6, 3)), 25_557_032),
        (resnet(layers=(3, 8, 36, 3), **R), resnet_shapes((3, 8, 36, 3)), 60_192_808),
        (
            densenet(blocks=(6, 12, 24, 16), **D),
            densenet_shapes(32, (6, 12, 24, 16), 64, 1000),
            7_978_856,
        ),
    ],
    ids=["resnet50", "resnet152", "densenet121"],
)
def test_takes_torchvisions_networks_under_their_names(network, shapes, parameters):
    tensors = dict(shapes)
    weights = {
        name: np.broadcast_to(np.float32(0), shape) for name, shape in tensors.items()
    }
    learnt = [
        shape for name, shape in tensors.items() if "running" not in name and shape
    ]
    assert sum(int(np.prod(shape)) for shape in learnt) == parameters
    image = jnp.zeros((1, 32, 32, 3))
    like = jax.eval_shape(network.init, jax.random.key(0), image)
    convert = functools.partial(from_torch, like=like, sum_channels=False)
    found = jax.eval_shape(lambda: convert(weights))
    assert jax.tree.structure(found) == jax.tree.structure(like)


@pytest.mark.parametrize("dot", ["", "."], ids=["", "as released"])
def test_a_densenet_gives_the_logits_of_torchvision(dot):
    """Values of torchvision 0.28.0 in float64, of weights drawn in the names' order."""
    random, tensors = np.random.RandomState(0), {}
    for name, shape in sorted(densenet_shapes(4, (2, 2), 8, 5, dot)):
        if not shape:  # the count of batches
            continue
        drawn = 0.1 * random.randn(*shape)
        if name.endswith("running_var"):
            drawn = np.abs(drawn) + 1
        elif "norm" in name and name.endswith("weight"):
            drawn += 1
        tensors[name] = drawn
    x = np.random.RandomState(1).randn(2, 3, 32, 32).transpose(0, 2, 3, 1)
    x = x.astype(np.float32)
    network = densenet(
        ndim=2, blocks=(2, 2), initial_features=8, growth=4, stem="imagenet"
    )
    like = jax.eval_shape(network.init, jax.random.key(0), x)
    variables = from_torch(tensors, like, sum_channels=False)
    features, _ = evaluate(network, variables, x)
    logits = (
        np.asarray(features) @ tensors["classifier.weight"].T
        + tensors["classifier.bias"]
    )
    expected = [
        [0.1457572202, 0.0649759634, 0.1722706345, 0.1143818645, 0.087832562],
        [0.1503444968, 0.0639161929, 0.1728068567, 0.1176027071, 0.085262723],
    ]
    np.testing.assert_allclose(logits, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["torch_resnet2d.npz", "torch_densenet.npz"])
def test_a_summed_stem_sees_grey_as_rgb_saw_it(name):
    arrays, tensors, shapes = load(name)
    grey = arrays["x"][..., :1]
    rgb = from_torch(tensors, shapes, sum_channels=False)
    expected, _ = evaluate(NETWORKS[name], rgb, np.repeat(grey, 3, axis=-1))
    shapes = jax.eval_shape(NETWORKS[name].init, jax.random.key(0), grey)
    summed = from_torch(tensors, shapes, sum_channels=True)
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
        from_torch(tensors, shapes, sum_channels=False)
