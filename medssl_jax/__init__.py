"""Self-supervised pretraining for 2D and 3D medical images in JAX."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl_jax.saved.encoder import load_encoder as load_encoder
    from medssl_jax.saved.predictor import load_predictor as load_predictor


def __getattr__(name: str):
    """Import JAX only when one of these is asked for: workers and flags do not."""
    if name == "load_encoder":
        from medssl_jax.saved.encoder import load_encoder

        return load_encoder
    if name == "load_predictor":
        from medssl_jax.saved.predictor import load_predictor

        return load_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
