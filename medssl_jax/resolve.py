"""Names in a config become functions: `byol` is `medssl_jax.methods.byol.byol`."""

import importlib
import pkgutil
from collections.abc import Callable

from medssl_jax.errors import ConfigError

_COMMANDS = ("medssl_jax.commands", "medssl_jax.protocols")


def known(package: str) -> list[str]:
    """List the names that `factory(package, ...)` accepts."""
    return [
        name
        for name in _modules(package)
        if hasattr(importlib.import_module(f"{package}.{name}"), name)
    ]


def factory(package: str, name: str) -> Callable:
    """Return the function called `name` in the module `name` of `package`.

    Raises:
      ConfigError: if there is none; the text lists the names that there are.
    """
    if name in _modules(package):
        module = importlib.import_module(f"{package}.{name}")
        if hasattr(module, name):
            return getattr(module, name)
    kind = package.rpartition(".")[2]
    raise ConfigError(
        f"unknown name {name!r} in {kind}; known: {', '.join(known(package))}"
    )


def command(name: str) -> Callable:
    """Return `run(config, workdir)` of the module that `config.command` names.

    It is one of `medssl_jax.commands`, or of `medssl_jax.protocols`.

    Raises:
      ConfigError: if there is none; the text lists the commands that there are.
    """
    for package in _COMMANDS:
        if name in _modules(package):
            module = importlib.import_module(f"{package}.{name}")
            if hasattr(module, "run"):
                return module.run
    commands = [
        other
        for package in _COMMANDS
        for other in _modules(package)
        if hasattr(importlib.import_module(f"{package}.{other}"), "run")
    ]
    raise ConfigError(
        f"command {name!r} is unknown; known: {', '.join(sorted(commands))}"
    )


def _modules(package: str) -> list[str]:
    path = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path))
