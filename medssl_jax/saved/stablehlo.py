"""A saved model as one StableHLO file, its weights inside, that JAX alone runs."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from medssl_jax import files
from medssl_jax.errors import ConfigError
from medssl_jax.saved.encoder import Encoder
from medssl_jax.saved.predictor import Predictor

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def check_writable() -> None:
    """Refuse to begin where what JAX serialises with is not installed.

    Raises:
      ConfigError: saying how to install it.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ConfigError(
            "config.formats has stablehlo, which JAX writes and reads with flatbuffers: "
            "pip install flatbuffers"
        )


def write(folder: Path, model: Encoder | Predictor) -> None:
    """Write `FILE` into `folder`: float32 images (b, *s, c) in [0, 1] to what it says.

    Any b; *s and c are those of its training. Every way that `PLATFORMS` convolve is in
    it, and the one that fits is taken when it is compiled. It is read by

        jax.jit(jax.export.deserialize(path.read_bytes()).call)(images)

    which parses a program for XLA, and unpickles nothing.

    Raises:
      UserError: if it cannot be written.
    """
    content = lowered(model).serialize()
    files.write_whole(folder / FILE, lambda draft: draft.write_bytes(content))


def lowered(model: Encoder | Predictor) -> export.Exported:
    """Return the model as a program for all of `PLATFORMS` and any number of images."""
    (count,) = export.symbolic_shape("b")
    shape = (count, *model.host.shape, model.spec["channels"])
    return export.export(jax.jit(model), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
