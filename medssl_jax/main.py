"""From flags to one call: python -m medssl_jax.main --config=configs/byol3d.py."""

import gc
import os
import sys
import threading
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from medssl_jax import entry, files
from medssl_jax.errors import ConfigError, Part, UserError
from medssl_jax.run import gpu, memory
from medssl_jax.step.parallel import initialize_cluster

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment: a file of configs/, with :variant.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Run folder; one that exists is gone on with. Default: runs/NAME."
)
_EXAMPLE = "; for instance: python -m medssl_jax.main --config=configs/byol3d.py"
_SHOWN = 4  # settings that a part needs, or configs that have it


def main(_) -> None:
    """Run `medssl_jax.<config.command>.run(config, workdir)`."""
    threading.excepthook = _in_a_thread
    memory.keep_freed()
    gpu.channels_last()
    try:
        _run()
        return
    except KeyboardInterrupt:  # where no step can be saved: starting, evaluating
        status, full, said = 130, False, "stopped; the same command goes on"
    except Exception as error:
        full = files.is_full(error)
        if not (full or memory.is_exhausted(error) or isinstance(error, UserError)):
            raise  # a bug of ours keeps its traceback
        status, said = 1, f"error: {_text(error)}"
    gc.collect()  # an error holds its frames, and they the workers' shared memory
    print(said, file=sys.stderr, flush=True)
    # sys.exit would wait minutes for the other processes, and they for it; and let
    # libraries write what is left to a full disk, each with a traceback
    leave = os._exit if full or jax.distributed.is_initialized() else sys.exit
    leave(status)


def _run() -> None:
    initialize_cluster()
    config = _CONFIG.value
    entry.run_config(config, _WORKDIR.value or f"runs/{config.name}")


def _text(error: Exception) -> str:
    if isinstance(error, ConfigError) and error.part is not None:
        return f"{error}{_another(error.part, _config_file(sys.argv))}"
    if isinstance(error, UserError):
        return str(error)
    if memory.is_exhausted(error):
        first = str(error).strip().splitlines()[0]
        return (
            f"too little memory on the device ({first}): lower config.micro_batch_size "
            "(config.batch_size can stay: it is accumulated), or set "
            "config.running.recompute=True"
        )
    where = getattr(error, "filename", None) or "the run folder"
    return f"no room for {where} ({error}): free some space and start again; it goes on"


def _in_a_thread(failed: threading.ExceptHookArgs) -> None:
    """Say nothing where a disk is full: the run meets it too, and says it once."""
    if not files.is_full(failed.exc_value):
        threading.__excepthook__(failed)


def _parse(argv: list[str]) -> list[str]:
    """Parse the flags; say in one line what is wrong with them or the config."""
    try:
        rest = flags.FLAGS(_last_of_each(argv))
        config = _CONFIG.value
        config.lock()  # a file that could not be read says so only now
    except (KeyError, AttributeError) as error:
        (reason,) = error.args  # AttributeError has a KeyError in it
        text = reason.args[0] if isinstance(reason, KeyError) else reason
        said = ". ".join(text.splitlines())
        sys.exit(f"error: no such config field: {said}{_in_experiment(argv)}")
    except SyntaxError as error:
        sys.exit(f"error: {error.filename}, line {error.lineno}: {error.msg}")
    except IndexError as error:
        text = f"no such config field: {error}; a list is stated whole, as Python"
        sys.exit(f"error: {text}")
    except (flags.Error, OSError) as error:
        sys.exit(f"error: {str(error).strip().splitlines()[-1].strip()}{_EXAMPLE}")
    if len(rest) > 1:
        sys.exit(f"error: {rest[1]!r} is no flag{_EXAMPLE}")
    return rest


def _in_experiment(argv: list[str]) -> str:
    """Point into a protocol's experiment, where its training's fields are."""
    file = _config_file(argv)
    has_one = file.is_file() and "config.experiment" in file.read_text("utf-8")
    return "; those of the training are under config.experiment" if has_one else ""


def _another(part: Part, file: Path) -> str:
    """Say how a part is exchanged for one whose settings are others.

    Flags take no setting away and add none: it is stated whole, or a config has it.
    """
    said = []
    # data holds more than its source's settings; one of a list has no flag of its own
    if not part.field.endswith(("data", "]")):
        dots = [f'"{name}": ...' for name in part.needed[:_SHOWN]]
        dots += ["..."] * (len(part.needed) > _SHOWN)
        stated = ", ".join([f'"name": "{part.name}"', *dots])
        said.append(f"state it whole, --config.{part.field}='{{{stated}}}'")
    beside = sorted(file.parent.glob("*.py"), key=lambda path: (path != file, path))
    having = [
        str(path)
        for path in beside
        if f'name="{part.name}"' in path.read_text("utf-8", "replace")
    ]
    if having:
        said.append(f"start from a config that has it: {', '.join(having[:_SHOWN])}")
    return f"; {' or '.join(said)}" if said else ""


def _config_file(argv: list[str]) -> Path:
    """Return the file that --config names, or a path that is none."""
    given = ""
    for arg, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, value = arg.partition("=")
        if flag in ("--config", "-config"):
            given = value if equals else following
    return Path(given.partition(":")[0])


def _last_of_each(argv: list[str]) -> list[str]:
    """Leave out a flag that comes again: a tuple's would be appended to, not replaced."""
    names = [arg.partition("=")[0] for arg in argv]
    return [
        arg
        for i, (arg, name) in enumerate(zip(argv, names, strict=True))
        if "=" not in arg or name not in names[i + 1 :]
    ]


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse)
