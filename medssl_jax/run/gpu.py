"""What XLA has to be told where there is a GPU."""

import importlib.util
import os

_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
_LAYOUT = "xla_gpu_force_conv"  # and _nhwc or _nchw


def channels_last() -> None:
    """Have cuDNN's convolutions of volumes run with channels last in memory.

    XLA does so with images, but not with volumes, which take 1.4 to 1.8 times as long
    (bfloat16, H200; benchmarks/RESULTS.md). Call it before a device is used. Where
    XLA_FLAGS say which it is to be, or JAX has no plugin for CUDA, it does nothing.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _LAYOUT not in flags and any(map(importlib.util.find_spec, _PLUGINS)):
        os.environ["XLA_FLAGS"] = f"{flags} --{_LAYOUT}_nhwc=true".strip()
