"""From a config to one call of its command, for flags and for Python."""

import logging
from pathlib import Path

import jax
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.errors import ConfigError
from medssl_jax.protocols import experiment
from medssl_jax.run.alone import alone_in

_CLONE = Path(__file__).parents[1]


def load_config(file: str) -> ConfigDict:
    """Return the config that `file` means: "configs/simclr.py", or with ":variant".

    What is not found from the working directory is looked for beside the package, where a
    clone has `configs/`. No field can be added to it, and every field keeps its type.

    Raises:
      ConfigError: if there is no such file, or no such variant of it.
    """
    given, _, variant = file.partition(":")
    path = Path(given) if Path(given).is_file() else _CLONE / given
    if not path.is_file():
        raise ConfigError(
            f"no {given}, neither in {Path.cwd()} nor in {_CLONE}: configs are files of "
            "the repository, which pip does not install; clone it, and name one there"
        )
    try:
        config = experiment.load(str(path), f"{path.stem}:{variant}".rstrip(":"))
    except ValueError as error:
        raise ConfigError(f"{given}: {error}") from None
    return config.lock()


def run_config(config: ConfigDict, workdir: str | Path) -> None:
    """Run the command that `config` names in `workdir`, as the command line does.

    A training that was stopped there goes on.

    Raises:
      UserError: if config, data or disk do not allow it; the text says what to do.
      SystemExit: 143 if a signal asked to stop and all is saved; the same call goes on.
    """
    for chatty in ("absl", "jax", "asyncio"):  # Orbax logs what it raises anyway
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    workdir = Path(workdir)
    command = resolve.command(config.command)
    with files.writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    with alone_in(workdir):
        if jax.process_index() == 0:
            print(f"results: {workdir}", flush=True)
        command(config, workdir)
