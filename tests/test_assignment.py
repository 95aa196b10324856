"""Sinkhorn-Knopp against values measured on published implementations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from medssl_jax.assignment import sinkhorn


def l2(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def scores():
    random = np.random.RandomState(1)
    f, p = l2(random.randn(8, 16)), l2(random.randn(10, 16))
    return f @ p.T


def numpys_sinkhorn(scores, epsilon, iterations):
    """Transcribe the scalings as the specification writes them, in the linear domain."""
    q = np.exp(scores.astype(np.float64) / epsilon).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * k
        q /= q.sum(axis=0, keepdims=True) * b
    return (q * b).T


def test_assignments_equal_the_reference_values(scores):
    with jax.enable_x64(True):
        q = sinkhorn(jnp.asarray(scores), epsilon=0.05, iterations=3)
        np.testing.assert_allclose((q**2).sum(), 3.7975590032, atol=1e-8)
        first = (
            "0.00079887 0.00731482 0.0065973 0.00534532 0.02972013 0.03986923 "
            "6.39e-5 0.00049826 0.90979112 1.07e-6"
        )
        np.testing.assert_allclose(q[0], [float(x) for x in first.split()], atol=6e-9)


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_assignments_equal_the_scalings_as_published(scores, iterations):
    q = sinkhorn(jnp.float32(scores), epsilon=0.05, iterations=iterations)
    expected = numpys_sinkhorn(scores, 0.05, iterations)
    np.testing.assert_allclose(q, expected, atol=1e-5)


def test_many_iterations_use_every_prototype_equally(scores):
    q = sinkhorn(jnp.float32(scores), epsilon=0.5, iterations=200)
    np.testing.assert_allclose(q.sum(axis=1), np.ones(8), rtol=1e-5)
    np.testing.assert_allclose(q.sum(axis=0), np.full(10, 0.8), rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_epsilon_at_which_the_exponential_overflows_is_finite(dtype):
    """exp(1 / .01) is beyond float32."""
    random = np.random.RandomState(0)
    scores = l2(random.randn(8, 16)) @ l2(random.randn(5, 16)).T
    q = sinkhorn(jnp.asarray(scores, dtype), epsilon=0.005)
    assert q.dtype == jnp.float32 and bool(jnp.isfinite(q).all())
    rounded = np.asarray(jnp.asarray(scores, dtype), np.float64)
    expected = numpys_sinkhorn(rounded, 0.005, 3)
    np.testing.assert_allclose(q, expected, atol=2e-4)


def test_no_gradient_passes_an_assignment(scores):
    gradient = jax.grad(lambda s: (sinkhorn(s, epsilon=0.05) ** 2).sum())
    assert not gradient(jnp.float32(scores)).any()


@functools.cache
def over_devices(iterations):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    one = functools.partial(
        sinkhorn, epsilon=0.03, iterations=iterations, axis_name="data"
    )
    mapped = jax.shard_map(
        one, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=False
    )
    return jax.jit(mapped)


def test_eight_devices_give_the_assignments_of_one():
    random = np.random.RandomState(2)
    scores = jnp.float32(l2(random.randn(32, 16)) @ l2(random.randn(10, 16)).T)
    one = sinkhorn(scores, epsilon=0.03, iterations=3)
    np.testing.assert_allclose(over_devices(3)(scores), one, atol=1e-6)


def test_only_k_numbers_cross_devices_in_an_iteration():
    """In the compiled program, whatever the batch: prototypes are 10, samples 4096."""
    scores = jax.ShapeDtypeStruct((4096, 10), jnp.float32)
    program = over_devices(3).lower(scores).compile().as_text()
    lines = [line for line in program.splitlines() if " = " in line]
    kinds = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
    crossing = [
        line.split(" = ", 1)[1]
        for line in lines
        if any(f" {kind}(" in line or f" {kind}-start(" in line for kind in kinds)
    ]
    # the largest and the sum, for each of three iterations
    assert len(crossing) == 6
    assert all(line.startswith("f32[1,10]") for line in crossing), crossing
