"""The U-Net's decoder against NumPy and SciPy, on the pyramids of all backbones."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.layers_numpy import convolution, level, randomised, transposed

from medssl_jax.models.in_plane_densenet import in_plane_densenet
from medssl_jax.models.resnet import resnet
from medssl_jax.models.unet import unet
from medssl_jax.models.unet_decoder import decoder


def shapes(backbone, head, image):
    """Return those of the variables of both, and of the logits."""

    def run(key, image):
        variables = backbone.init(key, image)
        features, _ = backbone.apply(variables, image, False)
        inputs = image, features.maps
        decoding = head.init(key, inputs)
        return variables, decoding, head.apply(decoding, inputs, True)[0]

    return jax.eval_shape(run, jax.random.key(0), image)


# specs/reference_values_downstream.md: of the public code of arXiv:2006.03829
@pytest.mark.parametrize("width, published", [(16, 5_647_891), (8, 1_413_259)])
def test_the_whole_unet_has_as_many_parameters_as_published(width, published):
    image = jax.ShapeDtypeStruct((1, 16, 16, 16, 1), jnp.float32)
    *both, _ = shapes(unet(ndim=3, width=width, levels=5), decoder(outputs=3), image)
    leaves = jax.tree.leaves([variables["params"] for variables in both])
    assert sum(leaf.size for leaf in leaves) == published


RESNET = {"layers": (1, 1, 1), "block": "basic", "width": 4}
CT = {"blocks": (1, 1, 1), "initial_features": 2, "growth": 2, "features": 4}
BACKBONES = [
    (unet(ndim=3, width=2, levels=3), (8, 10, 7)),
    (unet(ndim=2, width=2, levels=1), (8, 7)),
    (resnet(ndim=3, stem="r3d", **RESNET), (5, 24, 23)),
    (resnet(ndim=3, stem="imagenet", **RESNET), (9, 24, 23)),
    (resnet(ndim=2, stem="imagenet", **RESNET), (33, 47)),
    (resnet(ndim=2, stem="small", **RESNET), (8, 7)),
    (in_plane_densenet(ndim=3, in_plane_blocks=1, **CT), (5, 14, 11)),
]


@pytest.mark.parametrize("backbone, size", BACKBONES)
def test_logits_of_any_backbone_are_float32_at_the_images_resolution(backbone, size):
    image = jax.ShapeDtypeStruct((2, *size, 1), jnp.float32)
    *_, logits = shapes(backbone, decoder(outputs=3, dtype=jnp.bfloat16), image)
    assert (logits.shape, logits.dtype) == ((2, *size, 3), jnp.float32)


def test_deep_supervision_has_logits_of_every_size_above_the_coarsest():
    image = jax.ShapeDtypeStruct((2, 5, 24, 23, 1), jnp.float32)
    backbone = resnet(ndim=3, stem="r3d", **RESNET)
    *_, logits = shapes(backbone, decoder(outputs=3, deep=True), image)
    sizes = [each.shape[1:-1] for each in logits]
    assert sizes == [(5, 24, 23), (5, 12, 12), (3, 6, 6)]


def decoded_in_numpy(size, maps, variables, train):
    """Return the logits, finest first: up, the map beside it, a level."""
    params, statistics = variables["params"], variables["batch_stats"]
    x, made = maps[-1], []
    for i, skip in enumerate(reversed(maps[:-1])):
        x = transposed(x, params[f"up{i}"], skip.shape[1:-1])
        x = np.concatenate([skip, x], axis=-1)
        x = level(x, params[f"level{i}"], statistics[f"level{i}"], train)
        made.append(x)
    if x.shape[1:-1] != size:  # here one step is left, at most
        x = transposed(x, params["above0"], size)
        x = level(x, params["above_level0"], statistics["above_level0"], train)
        made.append(x)
    return [convolution(x, params[f"output{i}"]) for i, x in enumerate(reversed(made))]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "size, pyramid",
    [
        ((5, 6), [(5, 6, 2), (3, 3, 3)]),  # one axis was rounded up
        ((3, 6, 5), [(3, 3, 3, 2), (2, 2, 2, 3)]),  # a stem of strides (1, 2, 2)
    ],
)
def test_equals_numpy_and_scipy(size, pyramid, train):
    random = np.random.default_rng(0)
    maps = [random.normal(size=(2, *s)).astype(np.float32) for s in pyramid]
    inputs = np.zeros((2, *size, 1), np.float32), tuple(maps)
    deep, alone = decoder(outputs=2, deep=True), decoder(outputs=2)
    variables = randomised(jax.jit(deep.init)(jax.random.key(0), inputs))

    @jax.jit
    def both(variables, inputs):
        return [head.apply(variables, inputs, train)[0] for head in (deep, alone)]

    found, finest = both(variables, inputs)
    maps = [m.astype(np.float64) for m in maps]
    expected = decoded_in_numpy(size, maps, variables, train)
    assert len(found) == len(expected) == len(size) - 1
    close = functools.partial(np.testing.assert_allclose, atol=3e-5)
    jax.tree.map(close, list(found), expected)
    close(finest, expected[0])


# (stride, map, image, convolutions' reach): halvings that round up, 4 -> 7 -> 13;
# one that rounds down, 7 -> 3; patches of 5 voxels
@pytest.mark.parametrize(
    "stride, size, image, reach",
    [(4, 4, 13, 2 * 2 + 2), (2, 3, 7, 2), (5, 3, 15, 2)],
)
def test_a_voxel_of_a_map_reaches_its_own_part_of_the_image(stride, size, image, reach):
    head = decoder(outputs=1)
    x = jnp.zeros((1, image, 1, 1))
    maps = jnp.zeros((size, size, 1, 4)).at[jnp.arange(size), jnp.arange(size)].set(1)

    @jax.jit
    def decode(maps):
        variables = head.init(jax.random.key(0), (x, (maps[:1],)))
        positive = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1, variables)
        still = {**variables, "params": positive["params"]}
        run = lambda m: head.apply(still, (x, (m[None],)), False)[0][0, :, 0, 0]
        return jax.vmap(run)(maps) - run(jnp.zeros_like(maps[0]))[None]

    for i, changed in enumerate(np.asarray(decode(maps)) > 1e-6):
        first, last = stride * i - reach, stride * (i + 1) + reach
        expected = [first <= n < last for n in range(image)]
        np.testing.assert_array_equal(changed, expected)


def test_weights_leave_variances_as_they_are():
    """At the start: twice 1 / the values that meet in an output, for what ReLU cuts."""
    image, *maps = (jnp.zeros((1, *s)) for s in ((4, 4, 1), (4, 4, 64), (2, 2, 128)))

    @jax.jit
    def kernel(key):
        variables = decoder(outputs=2).init(key, (image, tuple(maps)))
        return variables["params"]["up0"]["kernel"]

    drawn = kernel(jax.random.key(0))
    assert drawn.shape == (2, 2, 128, 64)
    assert float(drawn.std()) == pytest.approx(math.sqrt(2 / 128), rel=0.02)
