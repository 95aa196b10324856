"""Layers of convolutional networks in NumPy and SciPy, and weights to try them on."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage


def randomised(variables):
    """Return the variables with norms and biases that do something."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return leaf
        spread = random.uniform(0.5, 1.5, leaf.shape)
        return jnp.asarray(spread if path[-1].key != "mean" else spread - 1, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, variables)


def convolution(x, params):
    """Convolve x (b, *s, c) at stride 1, zeros around it, and add the bias if any."""
    kernel = np.asarray(params["kernel"], np.float64)
    y = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for b, i, o in np.ndindex(len(x), kernel.shape[-2], kernel.shape[-1]):
        weights = kernel[..., i, o]
        y[b, ..., o] += ndimage.correlate(x[b, ..., i], weights, mode="constant")
    return y + np.asarray(params.get("bias", 0))


def conv_norm(x, params, statistics, train):
    """Convolve and normalise, as models.conv_norm.ConvNorm of these variables."""
    y = convolution(x, params)
    axes = tuple(range(x.ndim - 1))
    norm = {k: np.asarray(v) for k, v in params["norm"].items()}
    mean = y.mean(axes) if train else np.asarray(statistics["norm"]["mean"])
    var = y.var(axes) if train else np.asarray(statistics["norm"]["var"])
    return (y - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]


def level(x, params, statistics, train):
    """Twice a convolution, batch normalisation and ReLU."""
    for name in ("conv1", "conv2"):
        x = np.maximum(conv_norm(x, params[name], statistics[name], train), 0)
    return x


def transposed(x, params, size):
    """Put a kernel (*k, c, d) times its value at each voxel, side by side, and a bias.

    To the spatial `size`: voxels beyond it are cut.
    """
    kernel = np.asarray(params["kernel"], np.float64)
    strides = kernel.shape[:-2]
    whole = [n * k for n, k in zip(x.shape[1:-1], strides, strict=True)]
    y = np.zeros((len(x), *whole, kernel.shape[-1]))
    for b, *place in np.ndindex(*x.shape[:-1]):
        patch = np.einsum("c,...cd->...d", x[(b, *place)], kernel)
        corner = [n * k for n, k in zip(place, strides, strict=True)]
        where = [slice(n, n + k) for n, k in zip(corner, strides, strict=True)]
        y[(b, *where)] += patch
    y += np.asarray(params["bias"])
    return y[(slice(None), *(slice(0, n) for n in size))]
