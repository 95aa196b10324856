"""What backbones return: pyramids of published sizes, and no cost of what is unread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medssl_jax.models.densenet import densenet
from medssl_jax.models.features import pooled
from medssl_jax.models.in_plane_densenet import in_plane_densenet
from medssl_jax.models.network import Network
from medssl_jax.models.resnet import resnet
from medssl_jax.models.unet import unet

R18 = {"layers": (2, 2, 2, 2), "block": "basic", "width": 64}
CT = {"blocks": (1, 2, 3, 3, 3), "initial_features": 16, "growth": 7, "features": 1024}


@pytest.mark.parametrize(
    "backbone, image, maps",
    [
        # C1 to C5 of feature pyramid networks, arXiv:1612.03144: strides 2 to 32
        (
            resnet(ndim=2, stem="imagenet", **R18),
            (224, 224),
            [
                (112, 112, 64),
                (56, 56, 64),
                (28, 28, 128),
                (14, 14, 256),
                (7, 7, 512),
            ],
        ),
        # arXiv:1711.11248, table 1, with 16 frames
        (
            resnet(ndim=3, stem="r3d", **R18),
            (16, 112, 112),
            [
                (16, 56, 56, 64),
                (8, 28, 28, 128),
                (4, 14, 14, 256),
                (2, 7, 7, 512),
            ],
        ),
        # arXiv:1606.06650, fig. 2, with the widths of arXiv:2006.03829; one odd size
        (
            unet(ndim=3, width=16, levels=5),
            (32, 48, 33),
            [
                (32, 48, 33, 16),
                (16, 24, 17, 32),
                (8, 12, 9, 64),
                (4, 6, 5, 128),
                (2, 3, 3, 256),
            ],
        ),
        # arXiv:2201.01283, section IV.E: the first two halvings in-plane
        (
            in_plane_densenet(ndim=3, in_plane_blocks=2, **CT),
            (40, 224, 192),
            [
                (40, 224, 192, 23),
                (40, 112, 96, 37),
                (40, 56, 48, 58),
                (20, 28, 24, 79),
                (10, 14, 12, 512),
            ],
        ),
        # arXiv:1608.06993, table 1, DenseNet-121: 112 to 7, and the blocks' channels
        (
            densenet(
                ndim=2,
                blocks=(6, 12, 24, 16),
                initial_features=64,
                growth=32,
                stem="imagenet",
            ),
            (224, 224),
            [
                (112, 112, 64),
                (56, 56, 256),
                (28, 28, 512),
                (14, 14, 1024),
                (7, 7, 1024),
            ],
        ),
    ],
    ids=["resnet2d", "r3d", "unet", "in-plane", "densenet121"],
)
def test_maps_are_the_published_pyramid_finest_first(backbone, image, maps):
    image = jax.ShapeDtypeStruct((1, *image, 1), jnp.float32)

    def features(key, image):
        return backbone.apply(backbone.init(key, image), image, False)[0]

    found = jax.eval_shape(features, jax.random.key(0), image)
    assert [m.shape[1:] for m in found.maps] == maps


@pytest.mark.parametrize(
    "backbone",
    [
        resnet(ndim=2, layers=(1, 1), block="basic", width=4, stem="imagenet"),
        unet(ndim=2, width=4, levels=2),
        densenet(ndim=2, blocks=(1, 1), initial_features=4, growth=2, stem="small"),
    ],
    ids=["resnet", "unet", "densenet"],
)
def test_the_vector_is_the_mean_of_the_coarsest_map(backbone):
    x = np.random.default_rng(0).random((2, 9, 8, 1), np.float32)

    @jax.jit
    def both(x):
        variables = backbone.init(jax.random.key(0), x)
        networks = backbone, pooled(backbone)
        return [network.apply(variables, x, False)[0] for network in networks]

    features, vectors = both(x)
    mean = np.asarray(features.maps[-1], np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(vectors, mean, rtol=1e-5)
    np.testing.assert_array_equal(features.pooled, vectors)


def flops():
    """Return the operations of the gradient of a method of vectors."""
    method = tiny.method("supervised", axis_name=None)
    views = {name: jnp.asarray(array) for name, array in tiny.batch(0).items()}
    state = jax.eval_shape(method.init, jax.random.key(0), views)

    def loss(params, aux):
        return method.loss(params, aux, views, jax.random.key(0), jnp.int32(0))[0]

    compiled = jax.jit(jax.grad(loss)).lower(*state).compile()
    return compiled.cost_analysis()["flops"]


def test_maps_that_nobody_reads_cost_nothing(monkeypatch):
    expected = flops()

    def costly(**settings):
        backbone = resnet(**settings)

        def apply(variables, x, train, keys=None):
            features, stats = backbone.apply(variables, x, train, keys)
            last = features.maps[-1]
            more = last @ jnp.ones((last.shape[-1], 1000), last.dtype)
            return features._replace(maps=(*features.maps, more)), stats

        return Network(backbone.init, apply)

    monkeypatch.setattr(tiny, "resnet", costly)
    assert flops() == expected
