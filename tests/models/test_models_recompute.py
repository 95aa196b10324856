"""Blocks that are computed anew for the gradient: the same loss, less kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.ad_checkpoint import saved_residuals

from medssl_jax.models.densenet import densenet
from medssl_jax.models.resnet import resnet
from medssl_jax.models.unet import unet
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

        value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
        runs.append(value_and_grad(variables["params"]))
        residuals = saved_residuals(
            lambda p, loss=loss: loss(p)[0], variables["params"]
        )
        kept.append(sum(aval.size for aval, why in residuals if "argument" not in why))
    (loss, gradient), (again, gradient_again) = runs
    jax.tree.map(np.testing.assert_array_equal, again, loss)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, gradient_again, gradient)
    assert kept[1] < kept[0] / 2
