"""The densely connected network: devices, dtypes, 3D, and what cannot be.

Its numbers are held to torchvision's in test_models_convert.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.layers_numpy import randomised
from test_configs import load

from medssl_jax.errors import ConfigError
from medssl_jax.models.densenet import densenet
from medssl_jax.models.features import pooled
from medssl_jax.saved.encoder import backbone

SMALL = {"blocks": (1, 1), "initial_features": 4, "growth": 3, "stem": "small"}


def vectors(**settings):
    return pooled(densenet(**SMALL | settings))


def images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("channels, count", [(3, 6_953_856), (1, 6_947_584)])
def test_the_published_proxy_tasks_in_2d_train_densenet_121(channels, count):
    model = load("proxy", "jigsaw_2d:published").model.to_dict()
    network = backbone(model, dtype=jnp.float32, axis_name=None)
    image = jnp.zeros((1, 32, 32, channels))
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_a_volume_of_equal_slices_gives_what_its_slice_gives():
    """With kernels that look at the middle slice alone, 3D is 2D."""
    flat, deep = vectors(ndim=2), vectors(ndim=3)
    x = images(2, 6, 8, 1)
    variables = randomised(jax.jit(flat.init)(jax.random.key(0), x))

    def lifted(path, leaf):
        if path[-1].key != "kernel":
            return leaf
        size = leaf.shape[0]
        return jnp.zeros((size, *leaf.shape)).at[size // 2].set(leaf)

    lifted = jax.tree_util.tree_map_with_path(lifted, variables)
    volumes = np.repeat(x[:, None], 4, axis=1)
    apply = jax.jit(lambda n, v, x: n.apply(v, x, True)[0], static_argnums=0)
    expected, found = apply(flat, variables, x), apply(deep, lifted, volumes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_devices_share_statistics_as_if_they_were_one():
    whole, sharded = (vectors(ndim=2, axis_name=name) for name in (None, "data"))
    x = images(8, 4, 4, 1)
    variables = randomised(jax.jit(whole.init)(jax.random.key(0), x))

    def loss(network, params, x):
        y, statistics = network.apply(variables | {"params": params}, x, True)
        return jnp.mean(jnp.sin(y)), statistics

    def many(params):
        losses, statistics = jax.vmap(
            lambda x: loss(sharded, params, x[None]), axis_name="data"
        )(x)
        return jnp.mean(losses), jax.tree.map(lambda leaf: leaf[0], statistics)

    expected, found = (
        jax.jit(jax.value_and_grad(function, has_aux=True))(variables["params"])
        for function in (functools.partial(loss, whole, x=x), many)
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, found, expected)


def test_computes_in_bfloat16_and_keeps_float32():
    full, half = (vectors(ndim=2, dtype=d) for d in (jnp.float32, jnp.bfloat16))
    x = images(4, 8, 8, 1)
    variables = randomised(jax.jit(half.init)(jax.random.key(0), x))
    y, statistics = jax.jit(half.apply, static_argnums=2)(variables, x, True)
    for kept in jax.tree.leaves((variables, y, statistics)):
        assert kept.dtype == jnp.float32
    reference, _ = jax.jit(full.apply, static_argnums=2)(variables, x, True)
    assert 0 < jnp.abs(y - reference).max() < 0.1


@pytest.mark.parametrize(
    "field, value, says", [("stem", "dense", "unknown stem"), ("blocks", (), "empty")]
)
def test_a_shape_that_cannot_be_is_named(field, value, says):
    with pytest.raises(ConfigError, match=f"config.model.{field}.* {says}"):
        vectors(ndim=2, **{field: value})


def test_images_of_other_axes_are_refused():
    with pytest.raises(ConfigError, match="ndim is 2, and images have 3 axes .4, 8, 8"):
        jax.eval_shape(vectors(ndim=2).init, jax.random.key(0), images(1, 4, 8, 8, 1))


def test_paths_to_drop_are_refused_as_there_are_none():
    given = {"dtype": jnp.float32, "axis_name": None, "running": {"drop_path": 0.1}}
    with pytest.raises(ConfigError, match="config.running.drop_path is 0.1, which the"):
        backbone({"name": "densenet", "ndim": 2, **SMALL}, **given)
