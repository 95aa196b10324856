"""Views from a config."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from medssl_jax.errors import ConfigError
from medssl_jax.views import colour, intensity, rescaled, spatial, whole
from medssl_jax.views.compose import compose

CROP_AND_FLIP = {
    "random_resized_crop": {"scale": (0.5, 1), "size": (6, 7)},
    "flip": {"axis": -1, "probability": 0.5},
}
JITTER = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "probability": 0.8}
BYOL = {
    **CROP_AND_FLIP,
    "jitter": JITTER,
    "gaussian_blur": {"sigma": (0.8, 2), "probability": 0.6},
    "standardise": {},
}
VOLUME = np.random.default_rng(0).random((3, 8, 9, 1), np.float32)


@pytest.fixture(scope="module")
def byol():
    return jax.jit(compose(BYOL))


def _operations(view, shape, batch=2):
    """Count dots and gathers in what XLA is given, and compile it."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    lowered = jax.jit(jax.vmap(view)).lower(keys, images)
    lowered.compile()
    text = lowered.as_text()
    kinds = ("dot_general", "gather", "convolution")
    return [len(re.findall(rf"stablehlo\.{kind}\W", text)) for kind in kinds]


def test_published_size_compiles_to_two_dots_a_resampling_two_a_blur_and_no_gather():
    size = {"scale": (0.5, 1), "size": (224, 224)}
    view = compose(BYOL | {"random_resized_crop": size})
    assert _operations(view, (16, 256, 256, 1)) == [4, 0, 0]


def test_aligned_affine_crop_resize_and_flip_interpolate_once():
    more = {"affine": {"scale": (0.9, 1.1), "translation": (-0.1, 0.1)}}
    view = compose(CROP_AND_FLIP | more | {"resize": {"size": (5, 5)}})
    assert _operations(view, (3, 8, 9, 1)) == [2, 0, 0]


def test_rotation_reads_the_image_through_one_grid():
    turn = {"affine": {"rotation_degrees": (-10, 10)}}
    ours = _operations(compose(CROP_AND_FLIP | turn), (3, 8, 9, 1))
    alone = _operations(compose(turn), (3, 8, 9, 1))
    assert ours == alone
    assert ours[1] > 0


def test_misses_and_no_arguments_are_the_identity_to_the_bit():
    names = ["affine", "random_resized_crop", "resize", "centre_crop", "flip"]
    names += ["color_jitter", "greyscale", "gamma", "brightness", "contrast", "jitter"]
    names += ["gaussian_blur", "rescaled_crop", "linear"]
    ops = {name: {} for name in [*names, "gaussian_noise"]}
    missed = {
        "affine": {"rotation_degrees": (10, 20), "probability": 0},
        "energy_bands": {"sigmas": [1], "mean": [1, 1], "std": 1, "probability": 0},
        "flip": {"probability": 0},
        "color_jitter": {"strength": 1, "probability": 0},
        "gamma": {"exponent": 2, "probability": 0},
        "linear": {"factor": 2, "offset": 1, "probability": 0},
        "brightness": {"factor": 2, "probability": 0},
        "jitter": {"brightness": 2, "contrast": 2, "probability": 0},
        "gaussian_blur": {"sigma": 2, "probability": 0},
        "gaussian_noise": {"std": 1, "probability": 0},
    }
    key = jax.random.key(0, impl="unsafe_rbg")  # compiles in a fraction of the time
    for view in (compose(ops), compose(missed), compose({})):
        ours = jax.jit(view)(key, VOLUME)
        np.testing.assert_array_equal(ours, VOLUME)


def test_order_is_the_modules_and_not_the_mappings(byol):
    key = jax.random.key(1)
    config = ConfigDict({"views": BYOL}).views
    assert list(config) != list(BYOL)
    ours = jax.jit(compose(config.to_dict()))(key, VOLUME)
    np.testing.assert_array_equal(ours, byol(key, VOLUME))


def test_batch_gives_each_image_the_view_it_gets_alone(byol):
    keys = jax.random.split(jax.random.key(2), 3)
    images = jnp.asarray(np.random.default_rng(1).random((3, 3, 8, 9, 1), np.float32))
    batch = jax.jit(jax.vmap(compose(BYOL)))(keys, images)
    alone = [byol(key, image) for key, image in zip(keys, images, strict=True)]
    np.testing.assert_allclose(batch, np.stack(alone), atol=1e-5)
    assert not np.allclose(batch[0], byol(keys[1], images[0]))


def test_views_draw_independently():
    ops = {
        "gamma": {"log_gamma": np.log(3).item(), "probability": 0.5},
        "brightness": {"factor": 0.5, "probability": 0.5},
    }
    keys = jax.random.split(jax.random.key(5), 2000)
    half = jnp.full((1, 1, 1), 0.5, jnp.float32)
    ours = jax.jit(jax.vmap(compose(ops), (0, None)))(keys, half).ravel()
    values, counts = np.unique(np.round(ours, 5), return_counts=True)
    np.testing.assert_allclose(values, [0.0625, 0.125, 0.25, 0.5])
    np.testing.assert_allclose(counts / 2000, 0.25, atol=0.04)


def test_no_operation_draws_from_the_key_of_another():
    """Else a crop would tell how the image was turned, and both how it was blurred."""
    hit = {"probability": 0.5}
    view = compose(
        {
            "energy_bands": {"sigmas": [1], "mean": [1, 1], "std": 1, **hit},
            "affine": {"rotation_degrees": (-9, 9), "translation": (0, 0.1), **hit},
            **CROP_AND_FLIP,
            "rescaled_crop": {"size": (4, 4)},
            "color_jitter": {"strength": 1.0, **hit},
            "greyscale": hit,
            "bias_field": {"coefficients": (-1, 1), **hit},
            "gamma": {"log_gamma": (-1, 1), **hit},
            "linear": {"factor": (0.9, 1.1), **hit},
            "jitter": JITTER,
            "gaussian_blur": {"sigma": (0.8, 2), **hit},
            "gaussian_noise": {"std": (0, 0.1), **hit},
        }
    )
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(view)(jax.random.key(0), jnp.asarray(VOLUME))


def test_image_gets_the_view_of_a_volume_of_one_slice():
    key = jax.random.key(3)
    view = jax.jit(compose({**CROP_AND_FLIP, "jitter": JITTER}))
    image, volume = view(key, VOLUME[0]), view(key, VOLUME[:1])
    assert image.shape == (6, 7, 1)
    np.testing.assert_allclose(image, volume[0], atol=1e-6)


def test_fixed_view_equals_pillow_from_end_to_end():
    ops = {
        "resize": {"size": (12, 6)},
        "centre_crop": {"size": (10, 6)},
        "flip": {"probability": 1},
    }
    ours = jax.jit(compose(ops))(jax.random.key(0), VOLUME)
    resized = Image.fromarray(VOLUME[0, ..., 0]).resize((6, 12), Image.BILINEAR)
    np.testing.assert_allclose(
        ours[0, ..., 0], np.asarray(resized)[1:11, ::-1], atol=1e-6
    )


def test_unknown_view_lists_all_the_known():
    with pytest.raises(ConfigError) as error:
        compose({"solarise": {}})
    known = str(error.value).partition("known: ")[2].split(", ")
    defined = {
        line.partition("(")[0].removeprefix("def ")
        for module in (whole, spatial, rescaled, colour, intensity)
        for line in Path(module.__file__).read_text("utf-8").splitlines()
        if line.startswith("def ") and not line.startswith("def _")
    }
    assert "'solarise'" in str(error.value)
    assert known == sorted(defined)


@pytest.mark.parametrize(
    "ops, text",
    [
        (
            {"flip": {"propability": 0.5}},
            "view 'flip'.*'propability'.*axis, probability",
        ),
        ({"standardise": {"std": 1}}, "view 'standardise'.*'std'.*no arguments"),
        ({"flip": {"probability": 2}}, "flip.probability is 2"),
    ],
)
def test_wrong_argument_names_view_and_argument(ops, text):
    with pytest.raises(ConfigError, match=text):
        compose(ops)
