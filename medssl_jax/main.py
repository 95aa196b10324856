"""From flags to one call: python -m medssl_jax.main --config=configs/byol3d.py."""

import importlib
import logging
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from medssl_jax.errors import UserError
from medssl_jax.parallel import initialize_cluster

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment: a file of configs/, with :variant.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Run folder; one that exists is gone on with. Default: runs/NAME."
)


def main(_) -> None:
    """Run `medssl_jax.<config.command>.run(config, workdir)`."""
    for chatty in ("absl", "jax"):  # Orbax tells every step, JAX of absent TPUs
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        initialize_cluster()
        config = _CONFIG.value
        workdir = Path(_WORKDIR.value or f"runs/{config.name}")
        workdir.mkdir(parents=True, exist_ok=True)
        print(f"results: {workdir}", flush=True)
        command = importlib.import_module(f"medssl_jax.{config.command}")
        command.run(config, workdir)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
