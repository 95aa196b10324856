"""Heads against NumPy transcriptions."""

import jax
import numpy as np
import pytest

from medssl_jax.models import heads

X = np.random.RandomState(0).randn(6, 5).astype(np.float32)


def test_byols_mlp_is_linear_norm_relu_linear():
    head = heads.mlp(
        hidden_sizes=(7,), output_size=3, hidden_bias=True, output_norm=False
    )
    variables = head.init(jax.random.key(0), X)
    y, statistics = head.apply(variables, X, True)
    params = jax.tree.map(np.float64, variables["params"])
    hidden = X @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    expected = np.maximum(hidden, 0) @ params["output"]["kernel"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    # the names that encoders and runs on disk have
    assert {name: set(leaves) for name, leaves in params.items()} == {
        "hidden": {"kernel", "bias"},
        "norm": {"scale", "bias"},
        "output": {"kernel"},
    }
    assert set(statistics) == {"norm"}


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_simclrs_mlp_has_a_norm_after_every_layer_the_last_without_a_shift(layers):
    hidden = ("", "_2")[: layers - 1]
    head = heads.mlp(
        hidden_sizes=(7,) * len(hidden),
        output_size=3,
        hidden_bias=False,
        output_norm=True,
    )
    variables = head.init(jax.random.key(0), X)
    drawn = np.random.RandomState(1)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.3 * drawn.randn(*leaf.shape).astype(np.float32), variables
    )
    y, statistics = head.apply(variables, X, True)

    def norm(x):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)

    params = jax.tree.map(np.float64, variables["params"])
    x = X.astype(np.float64)
    for place in hidden:
        x = norm(x @ params[f"hidden{place}"]["kernel"])
        x = x * params[f"norm{place}"]["scale"] + params[f"norm{place}"]["bias"]
        x = np.maximum(x, 0)
    expected = norm(x @ params["output"]["kernel"]) * params["output_norm"]["scale"]
    np.testing.assert_allclose(y, expected, atol=2e-5)
    names = {f"{part}{place}" for part in ("hidden", "norm") for place in hidden}
    assert set(params) == names | {"output", "output_norm"}
    kernels = [len(leaves) for name, leaves in params.items() if "hidden" in name]
    assert kernels == [1] * len(hidden) and len(params["output_norm"]) == 1
    assert set(statistics) == {f"norm{place}" for place in hidden} | {"output_norm"}


def test_linear_is_one_layer_with_a_bias():
    head = heads.linear(output_size=3)
    variables = head.init(jax.random.key(0), X)
    variables["params"]["output"]["bias"] += 2.0
    y, statistics = head.apply(variables, X, True)
    np.testing.assert_allclose(
        y, X @ variables["params"]["output"]["kernel"] + 2.0, atol=1e-5
    )
    assert statistics == {}
