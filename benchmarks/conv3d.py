"""The layers of an R3D-18 as 3D convolutions: XLA's own, ours and PyTorch's on a CPU.

python benchmarks/conv3d.py --width=16 --shape=28,28,28 --batch=16
python benchmarks/conv3d.py --width=64 --shape=16,56,56 --batch=8 --native=False

Needs the extra [bench]; --peer=False leaves PyTorch out, --native=False XLA's own, which
takes minutes at the second shape. A batch has two views of every clip. All run in one
process, in turn: what counts is the ratio of the medians.
"""

import functools
import math
import statistics
import time

import jax
import numpy as np
from absl import app, flags
from jax import lax

from medssl_jax.models.conv import convolve

_WIDTH = flags.DEFINE_integer("width", 16, "channels of the first stage")
_SHAPE = flags.DEFINE_list("shape", ["28", "28", "28"], "slices, rows, columns")
_BATCH = flags.DEFINE_integer("batch", 16, "examples")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "runs of each that are timed")
_NATIVE = flags.DEFINE_bool("native", True, "time XLA's own as well")
_PEER = flags.DEFINE_bool("peer", True, "time PyTorch as well")

PASSES = ("forward", "for input", "for kernel")


def layers(width: int, shape: tuple[int, ...]) -> list[tuple]:
    """Return (input shape, channels, features, kernel size, strides) of each kind."""
    out = [(shape, 1, width, (3, 7, 7), (1, 2, 2))]
    shape = (shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    out.append((shape, width, width, (3, 3, 3), (1, 1, 1)))
    for stage in range(1, 4):
        features = width * 2**stage
        out.append((shape, features // 2, features, (3, 3, 3), (2, 2, 2)))
        shape = tuple(-(-n // 2) for n in shape)
        out.append((shape, features, features, (3, 3, 3), (1, 1, 1)))
    return out


def native(x, kernel, strides):
    """Convolve as `convolve` does, in XLA's words."""
    padding = [(k // 2, k // 2) for k in kernel.shape[:3]]
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers
    )


def in_jax(function, x, kernel, gradient, strides):
    """Return one callable for each pass."""

    def run(x, kernel):
        return function(x, kernel, strides)

    passes = (
        run,
        lambda x, kernel: jax.vjp(lambda x: run(x, kernel), x)[1](gradient),
        lambda x, kernel: jax.vjp(lambda kernel: run(x, kernel), kernel)[1](gradient),
    )
    return [functools.partial(_finish, jax.jit(f), x, kernel) for f in passes]


def _finish(function, *arguments):
    jax.block_until_ready(function(*arguments))


def in_torch(x, kernel, gradient, strides):
    """Return one callable for each pass."""
    import torch

    x, gradient = (
        torch.tensor(np.moveaxis(a, -1, 1)).contiguous() for a in (x, gradient)
    )
    kernel = torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1))).contiguous()
    padding = [k // 2 for k in kernel.shape[2:]]

    def backward(mask):
        return torch.ops.aten.convolution_backward(
            gradient,
            x,
            kernel,
            None,
            strides,
            padding,
            (1, 1, 1),
            False,
            (0, 0, 0),
            1,
            mask,
        )

    return [
        lambda: torch.conv3d(x, kernel, stride=strides, padding=padding),
        lambda: backward((True, False, False)),
        lambda: backward((False, True, False)),
    ]


def seconds(functions: dict) -> dict[str, float]:
    """Return the median time of each, run in turn."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(_ROUNDS.value):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(t) for name, t in times.items()}


def main(_) -> None:
    rng = np.random.RandomState(0)
    for shape, c, d, size, strides in layers(
        _WIDTH.value, tuple(map(int, _SHAPE.value))
    ):
        x = rng.randn(_BATCH.value, *shape, c).astype(np.float32)
        kernel = rng.randn(*size, c, d).astype(np.float32)
        y = jax.eval_shape(lambda x, k, s=strides: native(x, k, s), x, kernel)
        gradient = rng.randn(*y.shape).astype(np.float32)
        ways = {"medssl_jax": in_jax(convolve, x, kernel, gradient, strides)}
        if _NATIVE.value:
            ways["XLA"] = in_jax(native, x, kernel, gradient, strides)
        if _PEER.value:
            ways["PyTorch"] = in_torch(x, kernel, gradient, strides)
        flop = 2 * math.prod(y.shape) * math.prod(size) * c
        print(f"{c} to {d} channels, {shape}, kernel {size}, strides {strides}")
        for i, name in enumerate(PASSES):
            if c == 1 and name == "for input":
                continue  # nobody asks for the image's
            found = seconds({way: passes[i] for way, passes in ways.items()})
            text = (
                f"{w} {1e3 * s:.1f} ms, {flop / s / 1e9:.0f} GFLOP/s"
                for w, s in found.items()
            )
            print(f"  {name:10s}", "; ".join(text), flush=True)


if __name__ == "__main__":
    app.run(main)
