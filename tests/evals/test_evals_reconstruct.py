"""What is told and shown of images that were made up, against what made them up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.data.host import Draw
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context
from medssl_jax.evals.reconstruct import reconstruct
from medssl_jax.methods.base import Method
from medssl_jax.report.build import build

SIDE = 8


def read(name):
    image = np.random.default_rng(int(name)).random((SIDE, SIDE, 1), np.float32)
    return {"image": image}


def views(key, example):
    hidden = jax.random.bernoulli(key, 0.5, (SIDE, SIDE))
    return {"image": example["image"], "hidden": hidden}


def a_tenth_too_bright(params, aux, views):
    return views | {
        "corrupted": jnp.where(views["hidden"][..., None], 0.0, views["image"]),
        "reconstruction": views["image"] + params,
    }


def context(folder, made, **roles):
    method = Method(None, views, None, None, None, reconstruct=made)
    sources = {
        role: Examples([str(i) for i in range(count)], read)
        for role, count in roles.items()
    }
    draw = Draw((SIDE, SIDE), "all")
    return Context(method, None, sources, None, draw, 4, {}, None, folder, seed=0)


def test_the_error_is_that_of_what_was_hidden_of_all_examples(tmp_path):
    given = context(tmp_path, a_tenth_too_bright, train=3, test=10)
    results = reconstruct(given, examples=2).final(0.1, None)
    assert results["headline"].startswith(
        "What is hidden of 10 test images is made up with a mean error of 0.100; by each "
    )
    # of uniform numbers in [0, 1) the mean is wrong by a quarter, in the mean
    assert 0.22 < float(results["headline"].split()[-1].rstrip(".")) < 0.28
    with np.load(tmp_path / "reconstructions.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "image": (2, SIDE, SIDE, 1),
            "hidden": (2, SIDE, SIDE),
            "corrupted": (2, SIDE, SIDE, 1),
            "reconstruction": (2, SIDE, SIDE, 1),
        }
        np.testing.assert_array_equal(arrays["image"][1], read("1")["image"])
    page = build(tmp_path).read_text()
    assert "Reconstructions" in page and "2 images with what was hidden" in page


def test_without_a_test_training_examples_are_made_up_and_the_same_each_time(tmp_path):
    given = context(tmp_path, a_tenth_too_bright, train=3)
    found = []
    for _ in range(2):
        results = reconstruct(given, examples=6).final(0.1, None)
        assert "hidden of 3 train images" in results["headline"]
        with np.load(tmp_path / "reconstructions.npz") as arrays:
            found.append(arrays["hidden"])
    np.testing.assert_array_equal(*found)


def test_a_method_that_makes_nothing_up_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="config.method makes up no images"):
        reconstruct(context(tmp_path, None, train=3), examples=2)
