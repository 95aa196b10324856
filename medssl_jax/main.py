"""From flags to one call: python -m medssl_jax.main --config=configs/byol3d.py."""

import logging
import os
import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from medssl_jax import resolve
from medssl_jax.errors import UserError
from medssl_jax.run.alone import alone_in
from medssl_jax.step.parallel import initialize_cluster

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment: a file of configs/, with :variant.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Run folder; one that exists is gone on with. Default: runs/NAME."
)


def main(_) -> None:
    """Run `medssl_jax.<config.command>.run(config, workdir)`."""
    for chatty in ("absl", "jax"):  # Orbax logs each step, and what it raises anyway
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    try:
        initialize_cluster()
        config = _CONFIG.value
        run = resolve.command(config.command)
        workdir = Path(_WORKDIR.value or f"runs/{config.name}")
        workdir.mkdir(parents=True, exist_ok=True)
        with alone_in(workdir):
            if jax.process_index() == 0:
                print(f"results: {workdir}", flush=True)
            run(config, workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if jax.distributed.is_initialized():
            os._exit(1)  # sys.exit would wait minutes for the others, and they for it
        sys.exit(1)


def _parse(argv: list[str]) -> list[str]:
    """Parse the flags; say in one line what is wrong with them or the config."""
    try:
        rest = flags.FLAGS(argv)
        _CONFIG.value.lock()  # a file that could not be read says so only now
        return rest
    except (KeyError, AttributeError) as error:
        (reason,) = error.args  # AttributeError has a KeyError in it
        text = reason.args[0] if isinstance(reason, KeyError) else reason
        sys.exit(f"error: no such config field: {'. '.join(text.splitlines())}")
    except (flags.Error, OSError) as error:
        sys.exit(f"error: {str(error).strip().splitlines()[-1].strip()}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse)
