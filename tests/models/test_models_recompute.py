"""What is kept for the gradient, and what is computed anew: the same loss, less kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emitter import AS_USERS
from jax._src.ad_checkpoint import saved_residuals

from medssl_jax.models.densenet import densenet
from medssl_jax.models.features import pooled
from medssl_jax.models.in_plane_densenet import in_plane_densenet
from medssl_jax.models.network import Network, starting_from
from medssl_jax.models.resnet import resnet
from medssl_jax.models.unet import unet
from medssl_jax.models.unet_decoder import decoder
from medssl_jax.models.vit import vit

BACKBONES = {
    "resnet": functools.partial(
        resnet,
        ndim=2,
        layers=(1, 1),
        block="basic",
        width=4,
        stem="small",
        drop_path=0.5,
    ),
    "unet": functools.partial(unet, ndim=2, width=4, levels=2),
    "densenet": functools.partial(
        densenet, ndim=2, blocks=(2,), initial_features=4, growth=4, stem="small"
    ),
    "in_plane_densenet": functools.partial(
        in_plane_densenet,
        ndim=2,
        blocks=(1, 2),
        in_plane_blocks=1,
        initial_features=4,
        growth=4,
        features=8,
    ),
    "vit": functools.partial(
        vit,
        ndim=2,
        patch=4,
        width=8,
        heads=2,
        depth=2,
        maps=(2,),
        pooling="mean",
        drop_path=0.5,
    ),
}


def segmenting(recompute, dtype=jnp.float32, **settings):
    """Return a network that ends in a decoder, with nothing kept before it."""
    encoder = unet(dtype=dtype, recompute=True, **settings)
    head = decoder(outputs=2, dtype=dtype, recompute=recompute)

    def init(key, x):
        known = encoder.init(key, x)
        features, _ = encoder.apply(known, x, False)
        made = head.init(key, (x, features.maps))
        of_encoder = jax.tree.map(jax.lax.stop_gradient, known)
        return {**made, "encoder": of_encoder}

    def apply(variables, x, train, keys=None):
        features, _ = encoder.apply(variables["encoder"], x, True)
        maps = jax.lax.stop_gradient(features.maps)
        known = {k: variables[k] for k in ("params", "batch_stats")}
        y, stats = head.apply(known, (x, maps), train)
        return features._replace(maps=(y,)), stats

    return Network(init, apply, recompute)


BACKBONES["decoder"] = functools.partial(segmenting, ndim=2, width=4, levels=2)


def test_a_head_knows_what_its_backbone_keeps():
    for recompute in (False, True):
        network = BACKBONES["unet"](recompute=recompute)
        assert network.recompute == pooled(network).recompute == recompute
        assert starting_from(network, {}).recompute == recompute


@pytest.mark.parametrize("name", BACKBONES)
def test_the_loss_keeps_its_bits_and_less_is_kept_for_the_gradient(name):
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 4)
    runs, kept = [], []
    for recompute in (False, True):
        network = BACKBONES[name](recompute=recompute)
        variables = jax.jit(network.init)(jax.random.key(0), x)

        def loss(params, network=network, variables=variables):
            given = {**variables, "params": params}
            features, stats = network.apply(given, x, True, keys)
            return sum(jnp.square(m).mean() for m in features.maps), stats

        value_and_grad = jax.jit(
            jax.value_and_grad(loss, has_aux=True), compiler_options=AS_USERS
        )
        runs.append(value_and_grad(variables["params"]))
        residuals = saved_residuals(
            lambda p, loss=loss: loss(p)[0], variables["params"]
        )
        kept.append(sum(aval.size for aval, why in residuals if "argument" not in why))
    (loss, gradient), (again, gradient_again) = runs
    jax.tree.map(np.testing.assert_array_equal, again, loss)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, gradient_again, gradient)
    assert kept[1] < kept[0]


FEW = ("resnet50", "unet")  # .ci/run has them all
# megabytes of one image in bfloat16, weights aside: without and with recompute
MOST = {
    "r3d18": (340, 245),
    "resnet50": (43.0, 28.0),
    "densenet121": (64.0, 21.0),
    "ct3d": (290.0, 195.0),
    "unet": (60.0, 37.0),
    "vit_s": (68.0, 25.0),
    "decoder": (79.0, 57.0),
}
PUBLISHED = {
    "r3d18": (
        functools.partial(
            resnet, ndim=3, layers=(2, 2, 2, 2), block="basic", width=64, stem="r3d"
        ),
        (16, 224, 224),
    ),
    "resnet50": (
        functools.partial(
            resnet,
            ndim=2,
            layers=(3, 4, 6, 3),
            block="bottleneck",
            width=64,
            stem="imagenet",
        ),
        (224, 224),
    ),
    "densenet121": (
        functools.partial(
            densenet,
            ndim=2,
            blocks=(6, 12, 24, 16),
            initial_features=64,
            growth=32,
            stem="imagenet",
        ),
        (224, 224),
    ),
    "ct3d": (
        functools.partial(
            in_plane_densenet,
            ndim=3,
            blocks=(1, 2, 3, 3, 3),
            in_plane_blocks=2,
            initial_features=16,
            growth=7,
            features=1024,
        ),
        (40, 224, 192),
    ),
    "unet": (functools.partial(unet, ndim=3, width=16, levels=5), (64, 64, 64)),
    "vit_s": (
        functools.partial(
            vit,
            ndim=2,
            patch=16,
            width=384,
            heads=6,
            depth=12,
            maps=(6, 8, 10, 12),
            pooling="mean",
        ),
        (256, 256),
    ),
    "decoder": (functools.partial(segmenting, ndim=3, width=16, levels=5), (64,) * 3),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
        for name in MOST
    ],
)
def test_a_published_network_keeps_its_products_and_norms_inputs_once(name):
    batch = 5  # no side of a kernel, nor are channels
    made, size = PUBLISHED[name]
    x = jax.ShapeDtypeStruct((batch, *size, 1), jnp.float32)
    for recompute, most in zip((False, True), MOST[name], strict=True):
        network = made(dtype=jnp.bfloat16, recompute=recompute)
        variables = jax.eval_shape(network.init, jax.random.key(0), x)

        def loss(params, variables, x, network=network):
            features, _ = network.apply({**variables, "params": params}, x, True)
            return sum(jnp.mean(m, dtype=jnp.float32) for m in features.maps)

        found = saved_residuals(loss, variables["params"], variables, x)
        kept = [a for a, why in found if batch in a.shape and "argument" not in why]
        total = sum(a.size * a.dtype.itemsize for a in kept) / batch / 1e6
        assert 0.9 * most < total < most
