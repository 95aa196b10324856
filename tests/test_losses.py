"""Losses against values measured on the published implementations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from medssl_jax.assignment import sinkhorn
from medssl_jax.losses import (
    info_nce,
    normalized_mse,
    nt_xent,
    nt_xent_and_accuracy,
    swapped_prediction,
    triplet,
)


@pytest.fixture
def pair():
    random = np.random.RandomState(0)
    return random.randn(8, 16), random.randn(8, 16)


def test_byol_loss_equals_the_reference_value(pair):
    with jax.enable_x64(True):
        loss = normalized_mse(*map(jnp.asarray, pair))
        assert loss.shape == (8,)
        np.testing.assert_allclose(loss.mean(), 1.9381282059, atol=1e-8)


def test_byol_gradient_equals_the_formula(pair):
    p, z = pair
    norm = np.linalg.norm(p, axis=1, keepdims=True)
    q, z_hat = p / norm, z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = np.sum(q * z_hat, axis=1, keepdims=True)
    expected = -2 * (z_hat - cosine * q) / norm
    with jax.enable_x64(True):
        gradient = jax.grad(lambda p: normalized_mse(p, jnp.asarray(z)).sum())
        np.testing.assert_allclose(gradient(jnp.asarray(p)), expected, atol=1e-10)


def test_a_row_of_zeros_has_a_finite_loss_and_gradient():
    zeros, ones = jnp.zeros((1, 4)), jnp.ones((1, 4))
    assert normalized_mse(zeros, ones) == 2.0
    gradient = jax.grad(lambda p: normalized_mse(p, ones).sum())(zeros)
    assert jnp.isfinite(gradient).all()


def numpys_nt_xent(first, second, temperature):
    """Transcribe eq. 1 of arXiv:2002.05709, row by row."""
    z = np.concatenate([first, second])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n = len(first)
    terms = np.zeros(2 * n)
    for i in range(2 * n):
        others = [k for k in range(2 * n) if k != i]
        scores = np.exp(z[others] @ z[i] / temperature)
        positive = np.exp(z[(i + n) % (2 * n)] @ z[i] / temperature)
        terms[i] = -np.log(positive / scores.sum())
    return (terms[:n] + terms[n:]) / 2


@pytest.mark.parametrize(
    "temperature, expected",
    [(0.1, 3.9455674819), (0.5, 2.6814845240), (1.0, 2.6705552444)],
)
def test_nt_xent_equals_the_reference_value(pair, temperature, expected):
    with jax.enable_x64(True):
        loss = nt_xent(*map(jnp.asarray, pair), temperature=temperature)
        np.testing.assert_allclose(loss.mean(), expected, atol=1e-8)
        per_pair = numpys_nt_xent(*pair, temperature)
        np.testing.assert_allclose(loss, per_pair, atol=1e-10)


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ([[1, 1, 0, 0]], [[1, 1, 0, 0]], 0),
        ([[1, 1, 0, 0]] * 2, [[1, 1, 0, 0]] * 2, np.log(3)),
        ([[1, 2, 3, 4], [1, 1, 0, 0]], [[0, 0, 0, 0], [1, 1, 0, 0]], 0.8719),
    ],
)
def test_nt_xent_gives_what_monais_tests_expect(first, second, expected):
    loss = nt_xent(jnp.float32(first), jnp.float32(second), temperature=0.5)
    np.testing.assert_allclose(loss.mean(), expected, atol=5e-5)


def test_nt_xents_gradient_is_the_slope_of_numpys(pair):
    with jax.enable_x64(True):
        gradient = jax.grad(lambda pair: nt_xent(*pair, temperature=0.1).mean())(
            tuple(map(jnp.asarray, pair))
        )
    random, h = np.random.RandomState(1), 1e-5
    for _ in range(3):
        way = random.randn(2, 8, 16)
        ends = [
            numpys_nt_xent(pair[0] + t * way[0], pair[1] + t * way[1], 0.1).mean()
            for t in (-h, h)
        ]
        slope = sum(
            np.sum(np.asarray(g) * w) for g, w in zip(gradient, way, strict=True)
        )
        np.testing.assert_allclose(slope, (ends[1] - ends[0]) / (2 * h), rtol=1e-6)


def over_devices(function):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("data")
    mapped = jax.shard_map(
        lambda *x: jax.tree.map(lambda y: y[None], function(*(a[0] for a in x))),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    return jax.jit(mapped)


def over_vmap(function):
    return jax.jit(jax.vmap(function, axis_name="data"))


@pytest.mark.parametrize("over", [over_vmap, over_devices])
def test_sharded_nt_xent_equals_single_in_loss_accuracy_and_gradient(over):
    first, second = np.random.RandomState(2).randn(2, 24, 5).astype(np.float32)
    second = first + 0.5 * second  # some rows are found, some are not
    loss = functools.partial(nt_xent_and_accuracy, temperature=0.1)
    shards = [x.reshape(8, 3, 5) for x in (first, second)]

    def of_all(function, first, second):
        loss, accuracy = function(first, second)
        return loss.mean(), (loss, accuracy)

    mapped = over(functools.partial(loss, axis_name="data"))
    single, sharded = (
        jax.grad(functools.partial(of_all, function), (0, 1), has_aux=True)(*arrays)
        for function, arrays in ((loss, (first, second)), (mapped, shards))
    )
    assert 0 < single[1][1].mean() < 1
    for one, many in zip(*map(jax.tree.leaves, (single, sharded)), strict=True):
        np.testing.assert_allclose(many.reshape(one.shape), one, atol=2e-6)


def test_accuracy_is_numpys_share_of_rows_nearest_to_their_positive(pair):
    first, second = np.float32(pair[0]), np.float32(pair[0] + 4 * pair[1])
    arrays = jnp.asarray(first), jnp.asarray(second)
    loss, accuracy = nt_xent_and_accuracy(*arrays, temperature=0.1)
    z = np.concatenate([first, second])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    cosines = z @ z.T - 10 * np.eye(16)
    found = (cosines.argmax(1) == (np.arange(16) + 8) % 16).astype(float)
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(accuracy, (found[:8] + found[8:]) / 2)
    np.testing.assert_array_equal(loss, nt_xent(*arrays, temperature=0.1))


def test_nt_xent_is_float32_in_half_precision(pair):
    half = [jnp.asarray(x, jnp.bfloat16) for x in pair]
    loss = nt_xent(*half, temperature=0.1)
    assert loss.dtype == jnp.float32
    exact = numpys_nt_xent(*(np.float64(x) for x in half), 0.1)
    np.testing.assert_allclose(loss, exact, atol=1e-5)


def sizes(jaxpr):
    """Yield the sizes of all arrays that a program names, of inner programs too."""
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from sizes(inner)
        yield from (out.aval.size for out in equation.outvars)


def test_nt_xent_holds_one_matrix_of_local_rows_by_all_columns():
    b, d, devices = 16, 4, 8
    rows, columns = 2 * b, 2 * b * devices
    local = functools.partial(nt_xent_and_accuracy, temperature=0.1, axis_name="data")
    z = jax.ShapeDtypeStruct((devices, b, d), jnp.float32)
    mapped = over_devices(local)
    jaxpr = jax.make_jaxpr(mapped)(z, z)
    assert max(sizes(jaxpr.jaxpr)) == rows * columns
    compiled = mapped.lower(z, z).compile().memory_analysis()
    # XLA fuses mask, exponential and sum: there is no second matrix of this size
    assert compiled.temp_size_in_bytes < 1.5 * 4 * rows * columns


def test_swapped_prediction_equals_the_reference_value():
    random = np.random.RandomState(1)

    def l2(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    first, prototypes = l2(random.randn(8, 16)), l2(random.randn(10, 16))
    scores = np.stack([first @ prototypes.T, l2(random.randn(8, 16)) @ prototypes.T])
    with jax.enable_x64(True):
        scores = jnp.asarray(scores)
        codes = jax.vmap(lambda s: sinkhorn(s, epsilon=0.05, iterations=3))(scores)
        loss = swapped_prediction(scores, codes, temperature=0.1)
        assert loss.shape == (8,)
        np.testing.assert_allclose(loss.mean(), 4.8172304826, atol=1e-8)


def test_each_view_predicts_the_codes_of_the_others_only():
    """Of four views, two with codes, against the sum written out."""
    random = np.random.RandomState(3)
    scores = random.randn(4, 5, 6)
    codes = random.dirichlet(np.ones(6), (2, 5))
    p = np.exp(scores / 0.5) / np.exp(scores / 0.5).sum(-1, keepdims=True)
    expected = np.zeros(5)
    for a in range(2):
        for v in range(4):
            if v != a:
                expected -= (codes[a] * np.log(p[v])).sum(-1) / (2 * 3)
    loss = swapped_prediction(jnp.float32(scores), jnp.float32(codes), temperature=0.5)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_loss_without_information_is_ln_k():
    scores, codes = jnp.full((3, 4, 50), 0.3), jnp.full((2, 4, 50), 1 / 50)
    loss = swapped_prediction(scores, codes, temperature=0.1)
    np.testing.assert_allclose(loss, np.log(50), rtol=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, 2.0585305424), (0.1, 3.0941657060)]
)
def test_info_nce_equals_the_reference_value(pair, temperature, expected):
    with jax.enable_x64(True):
        loss = info_nce(*map(jnp.asarray, pair), temperature=temperature)
        np.testing.assert_allclose(loss.mean(), expected, atol=1e-9)


def test_info_nces_negatives_are_those_of_all_devices(pair):
    first, second = (jnp.float32(x).reshape(4, 2, 16) for x in pair)
    loss = functools.partial(info_nce, temperature=0.1, axis_name="data")
    over_devices = jax.vmap(loss, axis_name="data")(first, second)
    alone = info_nce(*map(jnp.float32, pair), temperature=0.1)
    np.testing.assert_allclose(over_devices.reshape(-1), alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("margin", "expected"), [(1.0, 0.9866573962), (0.1, 0.0866573962)]
)
def test_triplet_equals_the_reference_value(margin, expected):
    random = np.random.RandomState(0)
    codes = [1 / (1 + np.exp(-random.randn(8, 16))) for _ in range(3)]
    with jax.enable_x64(True):
        codes = [jnp.asarray(code) for code in codes]
        loss = triplet(*codes, margin=margin)
        assert loss.shape == (8,)
        np.testing.assert_allclose(loss.mean(), expected, atol=1e-9)


def test_a_negative_beyond_the_margin_costs_nothing():
    anchor, far = jnp.zeros((2, 3)), jnp.array([[1.0, 1.0, 1.0], [0.5, 0.5, 0.5]])
    loss = triplet(anchor, anchor, far, margin=0.5)
    np.testing.assert_allclose(loss, [0.0, 0.25])
