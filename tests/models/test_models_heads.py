"""Heads against NumPy transcriptions."""

import jax
import numpy as np

from medssl_jax.models import heads

X = np.random.RandomState(0).randn(6, 5).astype(np.float32)


def test_mlp_is_linear_norm_relu_linear():
    head = heads.mlp(hidden_size=7, output_size=3)
    variables = head.init(jax.random.key(0), X)
    y, statistics = head.apply(variables, X, True)
    params = jax.tree.map(np.float64, variables["params"])
    hidden = X @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    expected = np.maximum(hidden, 0) @ params["output"]["kernel"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert set(params["output"]) == {"kernel"}
    assert set(statistics) == {"norm"}


def test_linear_is_one_layer_with_a_bias():
    head = heads.linear(output_size=3)
    variables = head.init(jax.random.key(0), X)
    variables["params"]["output"]["bias"] += 2.0
    y, statistics = head.apply(variables, X, True)
    np.testing.assert_allclose(
        y, X @ variables["params"]["output"]["kernel"] + 2.0, atol=1e-5
    )
    assert statistics == {}
