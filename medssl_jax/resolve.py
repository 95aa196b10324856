"""Names in a config become functions: `byol` is `medssl_jax.methods.byol.byol`."""

import importlib
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
