"""Self-supervised pretraining for 2D and 3D medical images in JAX."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl_jax.entry import load_config as load_config
    from medssl_jax.entry import run_config as run_config
    from medssl_jax.saved.encoder import load_encoder as load_encoder
    from medssl_jax.saved.predictor import load_predictor as load_predictor

_HOME = {
    "load_config": "medssl_jax.entry",
    "run_config": "medssl_jax.entry",
    "load_encoder": "medssl_jax.saved.encoder",
    "load_predictor": "medssl_jax.saved.predictor",
}


def __getattr__(name: str):
    """Import JAX only when one of these is asked for: workers and flags do not."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
