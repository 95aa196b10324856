"""GMML against NumPy: what is hidden, what stands there, what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from scipy.special import erf

from medssl_jax.errors import ConfigError
from medssl_jax.methods.gmml import gmml
from medssl_jax.models.resnet import resnet
from medssl_jax.models.vit import vit
from medssl_jax.views.compose import View

SETTINGS = {"fill": "zeros", "most": 0.7, "side": 0.5, "align": 1}


def method(backbone=None, axis_name=None, **settings):
    return gmml(
        backbone or vit(**tiny.TOKENS),
        views={"first": View(())},
        durations=tiny.durations(),
        axis_name=axis_name,
        dtype=jnp.float32,
        **SETTINGS | settings,
    )


@functools.cache
def state(axis_name=None, **settings):
    return jax.jit(method().init)(jax.random.key(0), tiny.batch(0))


def views_of(made, size=8):
    batch = tiny.batch(1, size)
    keys = jax.random.split(jax.random.key(1), size)
    return jax.jit(jax.vmap(made.views))(keys, batch)


def loss(made, views):
    params, aux = state()
    found, (_, metrics) = jax.jit(made.loss)(params, aux, views, None, jnp.int32(0))
    return float(found), metrics


@pytest.mark.parametrize("fill", ["zeros", "ones", "noise", "none"])
def test_only_what_is_hidden_is_changed(fill):
    views = jax.tree.map(np.asarray, views_of(method(fill=fill)))
    np.testing.assert_array_equal(views["image"], tiny.batch(1)["image"])
    hidden, seen = views["hidden"], ~views["hidden"]
    of_each = hidden.mean((1, 2, 3))
    corrupted = views["corrupted"]
    np.testing.assert_array_equal(corrupted[seen], views["image"][seen])
    if fill == "none":  # an autoencoder makes up every pixel
        assert hidden.all()
        np.testing.assert_array_equal(corrupted, views["image"])
        return
    assert (of_each >= 0.5).all() and (of_each < 1).all()
    if fill == "noise":
        assert 0 <= corrupted[hidden].min() and corrupted[hidden].max() < 1
        assert len(np.unique(corrupted[hidden])) > 0.99 * hidden.sum()
    else:
        assert set(np.unique(corrupted[hidden])) == {float(fill == "ones")}


def decoded(params, maps):
    """The decoder in NumPy, of maps (b, 1, 2, 2, 8), patches of 4."""
    x = np.mean([np.asarray(m, np.float64) for m in maps], axis=0)
    for name in ("hidden", "hidden_2"):
        x = x @ params[name]["kernel"] + params[name]["bias"]
        x = x * (1 + erf(x / np.sqrt(2))) / 2
    x = x @ params["output"]["kernel"] + params["output"]["bias"]
    image = np.zeros((len(x), 4, 8, 8, 1))
    for i in range(2):
        for j in range(2):
            patch = x[:, 0, i, j].reshape(-1, 4, 4, 4, 1)
            image[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = patch
    return image


@pytest.mark.parametrize("fill", ["zeros", "image"])
def test_the_loss_is_the_mean_error_of_what_is_hidden(fill):
    made = method(fill=fill)
    views = views_of(made)
    params, _ = state()
    image, hidden = np.asarray(views["image"]), np.asarray(views["hidden"])
    corrupted = np.where(hidden[..., None], 0 * image, image)
    if fill == "image":  # of the next one
        corrupted = np.where(hidden[..., None], np.roll(image, -1, axis=0), image)
    network = vit(**tiny.TOKENS)
    variables = {"params": params["backbone"], "batch_stats": {}}
    apply = jax.jit(lambda x: network.apply(variables, x, True)[0].maps)
    decoder = jax.tree.map(np.asarray, params["decoder"])
    error = np.abs(decoded(decoder, apply(corrupted)) - image)[..., 0]
    each = [one[where].mean() for one, where in zip(error, hidden, strict=True)]
    found, metrics = loss(made, views)
    assert found == pytest.approx(np.mean(each), rel=1e-4)
    seen = [
        one[~where].mean() for one, where in zip(image[..., 0], hidden, strict=True)
    ]
    by_mean = [
        np.abs(mean - one[where]).mean()
        for mean, one, where in zip(seen, image[..., 0], hidden, strict=True)
    ]
    assert metrics["loss_of_mean"] == pytest.approx(
        np.mean(each) / np.mean(by_mean), rel=1e-4
    )
    assert metrics["hidden"] == pytest.approx(hidden.mean(), rel=1e-5)


def test_two_micro_batches_are_one_batch_exactly_though_different_parts_are_hidden():
    made = method()
    views = views_of(made, size=16)
    halves = [jax.tree.map(lambda x, i=i: x[8 * i : 8 * i + 8], views) for i in (0, 1)]
    whole, parts = loss(made, views)[0], [loss(made, half)[0] for half in halves]
    assert whole == pytest.approx(np.mean(parts), rel=1e-6)


def test_an_image_is_never_filled_with_itself_on_any_number_of_devices():
    made, sharded = method(fill="image"), method(fill="image", axis_name="data")
    views = views_of(made)
    params, aux = state()
    expected, _ = loss(made, views)
    for devices in (2, 8):
        split = jax.tree.map(lambda x, d=devices: x.reshape(d, -1, *x.shape[1:]), views)
        found, _ = jax.vmap(
            lambda v: sharded.loss(params, aux, v, None, jnp.int32(0)),
            axis_name="data",
        )(split)
        assert found.mean() == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_one_has_no_other_image():
    made = method(fill="image")
    with pytest.raises(ConfigError, match="micro_batch_size is 1"):
        loss(made, views_of(made, size=1))


def test_an_unknown_fill_is_refused():
    with pytest.raises(ConfigError, match="unknown fill 'mean'; known: none, zeros,"):
        method(fill="mean")


def test_maps_of_several_sizes_are_refused():
    made = method(backbone=resnet(**tiny.PYRAMID))
    with pytest.raises(ConfigError, match="those of config.model are of several sizes"):
        jax.eval_shape(made.init, jax.random.key(0), tiny.batch(0))


def test_what_is_no_better_than_the_mean_is_told():
    verdict = method().verdict
    assert "nothing is learnt yet" in verdict({"loss_of_mean": 1.0})
    assert verdict({"loss_of_mean": 0.5}) == ""
