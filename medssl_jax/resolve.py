"""Names in a config become functions: `byol` is `medssl_jax.methods.byol.byol`."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable

from medssl_jax.errors import ConfigError


def known(package: str) -> list[str]:
    """List the names that `factory(package, ...)` accepts."""
    path = importlib.import_module(package).__path__
    return sorted(
        module.name
        for module in pkgutil.iter_modules(path)
        if hasattr(importlib.import_module(f"{package}.{module.name}"), module.name)
    )


def factory(package: str, name: str) -> Callable:
    """Return the function called `name` in the module `name` of `package`.

    Raises:
      ConfigError: if there is none; the text lists the names that there are.
    """
    modules = importlib.import_module(package).__path__
    if name in {module.name for module in pkgutil.iter_modules(modules)}:
        module = importlib.import_module(f"{package}.{name}")
        if hasattr(module, name):
            return getattr(module, name)
    kind = package.rpartition(".")[2]
    raise ConfigError(
        f"unknown name {name!r} in {kind}; known: {', '.join(known(package))}"
    )


def command(name: str) -> Callable:
    """Return `medssl_jax.NAME.run(config, workdir)`, what `config.command` names.

    Raises:
      ConfigError: if there is none; the text lists the commands that there are.
    """
    if importlib.util.find_spec(f"medssl_jax.{name}") is not None:
        module = importlib.import_module(f"medssl_jax.{name}")
        if hasattr(module, "run"):
            return module.run
    modules = pkgutil.iter_modules(importlib.import_module("medssl_jax").__path__)
    # main defines flags, and defining them twice is an error
    names = [m.name for m in modules if not m.ispkg and m.name != "main"]
    commands = [
        name
        for name in names
        if hasattr(importlib.import_module(f"medssl_jax.{name}"), "run")
    ]
    raise ConfigError(f"command {name!r} is unknown; known: {', '.join(commands)}")
