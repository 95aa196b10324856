"""The smallest experiment of a protocol: six seconds' fine-tuning on phantoms."""

from pathlib import Path

import jax
import jax.numpy as jnp

from medssl_jax.saved.encoder import Encoder, backbone

SETTINGS = {
    "data.count": 24,
    "data.size_voxels": (4, 16, 16),
    "data.shape": (4, 16, 16),
    "splits.test.count": 16,
    "splits.validation.fraction": 0.25,
    "model.layers": (1, 1),
    "model.width": 4,
    "batch_size": 4,
    "micro_batch_size": 4,
    "train_epochs": 2.0,
    "log_every_steps": 1,
}
MODEL = {
    "name": "resnet",
    "ndim": 3,
    "layers": (1, 1),
    "block": "basic",
    "width": 4,
    "stem": "r3d",
}


def arguments(protocol: str, workdir: Path, **settings) -> list[str]:
    """Return the flags of a tiny protocol; a setting's `__` is a dot."""
    changed = {f"experiment.{name}": value for name, value in SETTINGS.items()}
    changed |= {name.replace("__", "."): value for name, value in settings.items()}
    flags = [f"--config.{name}={value}" for name, value in changed.items()]
    config = f"--config=configs/{protocol}.py:finetune_mrnet:demo"
    return [config, f"--workdir={workdir}", *flags]


def encoder(folder: Path) -> Path:
    """Write an encoder of the experiment's model, random weights of another seed."""
    network = backbone(MODEL, dtype=jnp.float32, axis_name=None)
    variables = jax.jit(network.init)(jax.random.key(5), jnp.zeros((1, 4, 16, 16, 1)))
    host = {"shape": (4, 16, 16), "spacing_mm": None, "window": "none", "frames": "all"}
    spec = {"model": MODEL, "view": {}, "host": host, "provenance": {}}
    Encoder(variables, spec).save(folder)
    return folder
