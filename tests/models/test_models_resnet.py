"""ResNets in 2D and 3D against published sizes, shapes and dtypes."""

import jax
import jax.numpy as jnp
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.models.features import pooled
from medssl_jax.models.resnet import resnet


def vectors(**settings):
    return pooled(resnet(**settings))


R18 = {"layers": (2, 2, 2, 2), "block": "basic"}
R50 = {"layers": (3, 4, 6, 3), "block": "bottleneck"}
R152 = {"layers": (3, 8, 36, 3), "block": "bottleneck"}


def count(network, shape):
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    "published, settings, shape",
    [
        # torchvision's r3d_18: 33,371,472 with a 400-way head (205,200), RGB
        (33_371_472 - 205_200, {"ndim": 3, "stem": "r3d", **R18}, (4, 16, 16, 3)),
        # torchvision's resnet18, 50 and 152, less their 1000-way heads
        (11_689_512 - 513_000, {"ndim": 2, "stem": "imagenet", **R18}, (32, 32, 3)),
        (25_557_032 - 2_049_000, {"ndim": 2, "stem": "imagenet", **R50}, (32, 32, 3)),
        (60_192_808 - 2_049_000, {"ndim": 2, "stem": "imagenet", **R152}, (32, 32, 3)),
    ],
)
def test_has_as_many_parameters_as_published(published, settings, shape):
    assert count(vectors(width=64, **settings), shape) == published


@pytest.mark.parametrize(
    "depth, width, millions",
    # without head; ResNet-50: arXiv:2002.05709, table 6; 152: arXiv:2101.05224, sec. 5
    [(R50, 64, 24), (R50, 128, 94), (R50, 256, 375), (R152, 128, 233)],
    ids=["R50 1x", "R50 2x", "R50 4x", "R152 2x"],
)
def test_width_gives_the_sizes_of_simclr(depth, width, millions):
    encoder = vectors(ndim=2, width=width, stem="imagenet", **depth)
    # published in millions; of ResNet-152 2x there are 232.25 M, .3 % fewer than 233
    assert count(encoder, (32, 32, 3)) / 1e6 == pytest.approx(millions, abs=0.8)


@pytest.mark.parametrize("field", ["block", "stem"])
def test_unknown_names_list_the_known(field):
    settings = {"ndim": 2, "width": 8, "stem": "small", **R18, field: "dense"}
    with pytest.raises(ConfigError, match=f"unknown {field} 'dense'; known: "):
        vectors(**settings)


def test_computes_in_bfloat16_and_keeps_float32():
    settings = {"ndim": 2, "layers": (1,), "block": "basic", "width": 4}
    full = vectors(stem="small", **settings)
    half = vectors(stem="small", dtype=jnp.bfloat16, **settings)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    variables = half.init(jax.random.key(0), x)
    y, statistics = jax.jit(half.apply, static_argnums=2)(variables, x, True)
    for kept in jax.tree.leaves((variables, y, statistics)):
        assert kept.dtype == jnp.float32
    reference, _ = jax.jit(full.apply, static_argnums=2)(variables, x, True)
    assert 0 < jnp.abs(y - reference).max() < 0.1
