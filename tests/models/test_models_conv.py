"""Convolutions of CPUs and GPUs against XLA's: values, gradients, transformations."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, PartitionSpec

from medssl_jax.models import conv_cpu, conv_cuda
from medssl_jax.models.conv import convolve

# (input, features, kernel, strides); odd sizes, every stride, all layers of r3d_18
CASES = [
    ((2, 4, 5, 6, 3), 4, (3, 3, 3), (1, 1, 1)),
    ((2, 5, 6, 7, 3), 4, (3, 3, 3), (2, 2, 2)),
    ((2, 3, 9, 8, 1), 8, (3, 7, 7), (1, 2, 2)),
    ((2, 5, 4, 3, 3), 4, (1, 1, 1), (2, 2, 2)),
    ((2, 1, 2, 2, 3), 4, (3, 3, 3), (2, 2, 2)),
    ((2, 7, 6, 3), 4, (3, 3), (2, 2)),
    ((2, 7, 6, 3), 4, (7, 7), (2, 2)),
    ((2, 7, 6, 3), 4, (3, 3), (1, 1)),
    ((3, 4, 2, 2, 3), 4, (3, 3, 3), (1, 1, 1)),  # smaller than the kernel
    ((3, 2, 2, 3), 4, (3, 3), (1, 1)),
]


def native(x, kernel, strides):
    spatial = "DHW"[-len(strides) :]
    padding = [(k // 2, k // 2) for k in kernel.shape[:-2]]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers
    )


def draw(shape, features, size):
    rng = np.random.RandomState(0)
    x = jnp.asarray(rng.randn(*shape), jnp.float32)
    return x, jnp.asarray(rng.randn(*size, shape[-1], features), jnp.float32)


def gradients(function, strides):
    def loss(x, kernel):
        return jnp.sum(jnp.sin(function(x, kernel, strides)))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


@pytest.mark.parametrize("shape, features, size, strides", CASES[1:8])
def test_a_program_for_any_number_of_images_equals_the_native_one(
    shape, features, size, strides, monkeypatch
):
    monkeypatch.setattr(conv_cpu, "_CACHE_BYTES", 0)
    x, kernel = draw((5, *shape[1:]), features, size)
    (count,) = export.symbolic_shape("b")
    given = jax.ShapeDtypeStruct((count, *shape[1:]), jnp.float32)
    program = jax.jit(lambda x: convolve(x, kernel, strides))
    exported = export.export(program, platforms=("cpu", "cuda", "tpu"))(given)
    for n in (1, 5):
        expected = native(x[:n], kernel, strides)
        np.testing.assert_allclose(exported.call(x[:n]), expected, rtol=2e-5, atol=1e-5)


# by single slices, by some, all at once
@pytest.mark.parametrize("cache_bytes", [0, 4000, 10**9])
@pytest.mark.parametrize("shape, features, size, strides", CASES)
def test_equals_the_native_one_in_values_and_gradients(
    shape, features, size, strides, cache_bytes, monkeypatch
):
    monkeypatch.setattr(conv_cpu, "_CACHE_BYTES", cache_bytes)
    # by slices with a row more than asked for
    eigen_channels = 0 if cache_bytes == 0 else 10**9
    monkeypatch.setattr(conv_cpu, "_EIGEN_CHANNELS", eigen_channels)
    x, kernel = draw(shape, features, size)
    expected = gradients(native, strides)(x, kernel)
    actual = gradients(convolve, strides)(x, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        actual,
        expected,
    )


@pytest.mark.parametrize("cache_bytes", [0, 10**9])
def test_maps_and_shards_as_the_native_one_does(cache_bytes, monkeypatch):
    monkeypatch.setattr(conv_cpu, "_CACHE_BYTES", cache_bytes)
    x, kernel = draw((4, 3, 6, 5, 2), 3, (3, 3, 3))
    strides = (1, 2, 2)

    def loss(function, kernel, x):
        return jnp.mean(jnp.sin(function(x, kernel, strides)))

    expected = jax.grad(loss, argnums=1)(native, kernel, x)
    step = jax.grad(loss, argnums=1)
    vmapped = jax.vmap(lambda x: step(convolve, kernel, x[None]))(x)
    np.testing.assert_allclose(vmapped.mean(0), expected, atol=1e-5)

    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    specs = {"mesh": mesh, "in_specs": (PartitionSpec(), PartitionSpec("data"))}

    def sharded(kernel, x):
        return lax.pmean(step(convolve, kernel, x), "data")

    run = jax.shard_map(sharded, out_specs=PartitionSpec(), check_vma=False, **specs)
    np.testing.assert_allclose(jax.jit(run)(kernel, x), expected, atol=1e-5)

    def checked(kernel, x):
        return lax.pmean(loss(convolve, kernel, x), "data")

    run = jax.shard_map(checked, out_specs=PartitionSpec(), **specs)
    np.testing.assert_allclose(jax.jit(jax.grad(run))(kernel, x), expected, atol=1e-5)


# by its rules, and all folded
@pytest.mark.parametrize("few", [None, 10**9])
@pytest.mark.parametrize(
    "shape, features, size, strides",
    [
        *CASES,
        ((2, 6, 9, 11, 2), 4, (3, 5, 3), (2, 3, 2)),
        ((2, 2, 7, 7, 9), 4, (3,) * 3, (1,) * 3),
    ],
)
def test_a_gpus_equals_the_native_one(shape, features, size, strides, few, monkeypatch):
    if few:
        monkeypatch.setattr(conv_cuda, "_FEW", few)
    x, kernel = draw(shape, features, size)
    y, pullback = jax.vjp(lambda x, kernel: native(x, kernel, strides), x, kernel)
    gradient = jnp.sin(y)
    actual = [
        conv_cuda.convolve(x, kernel, strides),
        conv_cuda.input_gradient(x, kernel, gradient, strides),
        conv_cuda.kernel_gradient(x, kernel, gradient, strides),
    ]
    for found, expected in zip(actual, [y, *pullback(gradient)], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 2, 7, 7, 9), (2, 1, 9, 9, 9), (2, 3, 3, 9)])
def test_a_gpus_kernel_gradient_is_longer_than_the_kernel(shape):
    """Else XLA takes it for a convolution forward: CUDA has no fast one of that kind."""
    ndim = len(shape) - 2
    x, kernel = draw(shape, 4, (3,) * ndim)
    gradient = jnp.ones((*shape[:-1], 4))

    def step(x, kernel, gradient):
        return conv_cuda.kernel_gradient(x, kernel, gradient, (1,) * ndim)

    text = jax.jit(step).lower(x, kernel, gradient).as_text()
    (sizes,) = re.findall(
        r"stablehlo\.convolution.*\(tensor<\S+>, tensor<(\S+)xf32>\) ->", text
    )
    lengths = list(map(int, sizes.split("x")))
    for other in (2, 4):  # images, features
        lengths.remove(other)
    assert len(lengths) == ndim and min(lengths) > 3


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_keep_the_native_one(platform):
    x, kernel = draw((2, 4, 5, 6, 5), 4, (3, 3, 3))

    def step(function):
        run = gradients(function, (2, 2, 2))
        text = run.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        return sorted(re.findall(r"stablehlo\.(convolution|dot_general|while)", text))

    assert step(convolve) == step(native) == ["convolution"] * 3


def test_half_precision_accumulates_in_single(monkeypatch):
    monkeypatch.setattr(conv_cpu, "_CACHE_BYTES", 0)  # 64 pieces to sum
    x, kernel = draw((4, 16, 3, 3, 2), 3, (3, 3, 3))
    x = jnp.abs(x).astype(jnp.bfloat16)

    def total(function, x, kernel):
        return jnp.sum(function(x, kernel, (1, 1, 1)).astype(jnp.float32))

    run = jax.jit(jax.grad(total, argnums=2), static_argnums=0)
    actual = run(convolve, x, kernel.astype(jnp.bfloat16))
    assert actual.dtype == jnp.bfloat16
    expected = run(native, x.astype(jnp.float32), kernel)
    np.testing.assert_allclose(actual.astype(jnp.float32), expected, rtol=2**-8)
