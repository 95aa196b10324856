"""The U-Net against what PyTorch's layers compute with the same weights."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.models.unet import unet
from medssl_jax.models.unet_decoder import decoder

# tests/reference/torch_networks.py makes it
REFERENCE = Path(__file__).parents[1] / "reference" / "torch_unet.npz"
BACKBONE = unet(ndim=3, width=2, levels=3)
HEAD = decoder(outputs=3)
WORDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@pytest.fixture(scope="module")
def arrays():
    with np.load(REFERENCE, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def variables(arrays):
    def make(x):
        key = jax.random.key(0)
        backbone = BACKBONE.init(key, x)
        features, _ = BACKBONE.apply(backbone, x, False)
        return {"backbone": backbone, "head": HEAD.init(key, (x, features.maps))}

    def weights(path, like):
        part, _, *layer, last = (key.key for key in path)
        array = arrays[".".join([f"tensors/{part}", *layer, WORDS[last]])]
        if array.ndim > 1:  # (out, in, *k), of transposed convolutions (in, out, *k)
            ends = (-2, -1) if layer[0].startswith("up") else (-1, -2)
            array = np.moveaxis(array, (0, 1), ends)
        assert array.shape == like.shape
        return jnp.asarray(array)

    return jax.tree_util.tree_map_with_path(weights, jax.eval_shape(make, arrays["x"]))


def logits(variables, x, train):
    features, _ = BACKBONE.apply(variables["backbone"], x, train)
    y, _ = HEAD.apply(variables["head"], (x, features.maps), train)
    return jnp.moveaxis(y, -1, 1)


def test_unet_gives_the_logits_of_pytorch(arrays, variables):
    found = jax.jit(logits, static_argnums=2)(variables, arrays["x"], False)
    np.testing.assert_allclose(found, arrays["eval/features"], rtol=1e-4, atol=1e-5)


def test_unet_trains_as_pytorch_does_in_logits_and_gradients(arrays, variables):
    def loss(x):
        found = logits(variables, x, True)
        return jnp.sum(jnp.sin(found)), found

    gradient, found = jax.jit(jax.grad(loss, has_aux=True))(arrays["x"])
    expected = arrays["train/features"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    expected = arrays["train/gradient"]
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
