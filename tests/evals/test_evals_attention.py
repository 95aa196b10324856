"""Where the class token looks, against attention written by hand and a real network's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.data.host import Draw
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals.attention import attention, class_token
from medssl_jax.evals.base import Context
from medssl_jax.methods.base import Method
from medssl_jax.report.build import build
from medssl_jax.saved.encoder import backbone

VIT = {
    "name": "vit",
    "ndim": 2,
    "patch": 4,
    "width": 8,
    "heads": 2,
    "depth": 3,
    "maps": (3,),
    "pooling": "class",
}
RESNET = {
    "name": "resnet",
    "ndim": 2,
    "layers": (1,),
    "block": "basic",
    "width": 4,
    "stem": "small",
}


def test_it_is_the_class_tokens_mean_over_heads_on_the_grid():
    looks = np.zeros((1, 2, 7, 7), np.float32)
    looks[0, 0, 0, 1:] = [0, 0, 0.4, 0, 0, 0.1]
    looks[0, 1, 0, 1:] = [0, 0.2, 0.4, 0, 0, 0]
    looks[0, :, 1:] = 9  # of other tokens
    found = class_token(jnp.asarray(looks), sides=(8, 12))
    expected = [[0, 0.25, 1], [0, 0, 0.125]]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def made(folder, model, shape, count=5):
    def read(name):
        return {
            "image": np.random.default_rng(int(name)).random((*shape, 1), np.float32)
        }

    names = [str(i) for i in range(count)]
    sources = {role: Examples(names, read) for role in ("train", "test")}
    network = backbone(model, dtype=jnp.float32, axis_name=None)
    image = np.stack([read(name)["image"] for name in names])
    variables = jax.jit(network.init)(jax.random.key(0), image)
    method = Method(None, None, None, None, lambda params, aux: params)
    spec = {"model": model, "view": {}}
    draw = Draw(shape, "all")
    context = Context(method, None, sources, None, draw, 4, spec, None, folder, seed=0)
    return context, variables, image, network


@pytest.mark.parametrize("of_volumes", [False, True])
def test_what_is_shown_is_the_networks_own_of_every_slice(tmp_path, of_volumes):
    model = {"name": "slicewise", "of": VIT} if of_volumes else VIT
    shape = (3, 8, 8) if of_volumes else (8, 8)
    context, variables, image, _ = made(tmp_path, model, shape)
    results = attention(context, block=2, examples=2).final(variables, None)
    assert "where block 2 looks in 2 test cases" in results["headline"]
    of_slice = backbone(VIT, dtype=jnp.float32, axis_name=None)
    chosen = image[[0, 2]]
    features, _ = of_slice.apply(variables, chosen.reshape(-1, 8, 8, 1), False)
    looks = np.asarray(features.attention[1])[:, :, 0, 1:].mean(1)
    looks = looks / looks.max(axis=1, keepdims=True)
    with np.load(tmp_path / "attention.npz") as arrays:
        looks = looks.reshape(2, *shape[:-2], 2, 2)
        np.testing.assert_allclose(arrays["attention"], looks, atol=1e-5)
        np.testing.assert_allclose(arrays["image"], chosen, atol=1e-3)
        assert arrays["names"].tolist() == ["0", "2"]
    page = build(tmp_path).read_text()
    if of_volumes:
        assert "Attention of case 2." in page and "slice 3 of 3" in page
    else:
        assert "2 cases, each beside itself with the attention of block 2" in page


@pytest.mark.parametrize(
    "model, block, message",
    [
        (VIT, 4, "attention is of block 4, and config.model has 3"),
        (RESNET, 1, "config.model has none: use a vit"),
    ],
)
def test_a_block_that_is_not_there_is_told_before_training(
    tmp_path, model, block, message
):
    context, *_ = made(tmp_path, model, (8, 8))
    with pytest.raises(ConfigError, match=message):
        attention(context, block=block, examples=2)
