"""Names in a config become functions: `byol` is `medssl_jax.methods.byol.byol`."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError
from medssl_jax.ranges import misfit

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


def named(
    field: str, package: str, settings: Mapping[str, Any], /, *args: Any, **given: Any
) -> Any:
    """Call what `settings` name in a package, with the others and what is given.

    Raises:
      ConfigError: if there is no such name; as `call`.
    """
    settings = dict(settings)
    function = _factory_of(field, package, settings.pop("name", ""))
    return call(field, functools.partial(function, *args, **given), settings)


def call(field: str, function: Callable, settings: Mapping[str, Any]) -> Any:
    """Call a function with the settings in `config.FIELD`.

    Raises:
      ConfigError: as `check`. What the function raises keeps its traceback.
    """
    check(field, function, settings)
    return function(**settings)


def check(field: str, function: Callable, settings: Mapping[str, Any]) -> None:
    """Refuse settings that do not fit a function's signature, its types among it.

    What a `functools.partial` binds is the code's: no setting replaces it.

    Raises:
      ConfigError: naming the setting that there is not, and those that there are; the
        one that is missing; or the one whose value is none of its type.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    bound = getattr(function, "keywords", {})
    called = getattr(function, "func", function).__name__
    known = {
        name: parameter
        for name, parameter in parameters.items()
        if name not in bound and parameter.kind is not parameter.VAR_KEYWORD
    }
    takes_others = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in settings:
        if name in bound or not (name in known or takes_others):
            raise ConfigError(
                f"config.{field}.{name} is no setting of {called}; known: "
                f"{', '.join(known) or 'none'}"
            )
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in settings:
            raise ConfigError(f"config.{field}.{name} is missing: {called} needs it")
    _check_values(field, known, settings)


def check_types(field: str, package: str, settings: Mapping[str, Any]) -> None:
    """Refuse, before it can be called, what `named` would for its type alone.

    Raises:
      ConfigError: if there is no such name; or naming a setting whose value cannot be.
    """
    function = _factory_of(field, package, settings.get("name", ""))
    _check_values(
        field, inspect.signature(function, eval_str=True).parameters, settings
    )


def fields(config: ConfigDict, types: Mapping[str, Any]) -> None:
    """Refuse values of `config` that are none of their types, by dotted name.

    Raises:
      ConfigError: naming the field that is missing, or whose value cannot be.
    """
    for field, annotation in types.items():
        part = config
        for name in field.split("."):
            if name not in part:
                raise ConfigError(f"config.{field} is missing")
            part = part[name]
        check_value(field, part, annotation)


def _check_values(field, known, settings) -> None:
    for name, value in settings.items():
        if name in known:
            check_value(f"{field}.{name}", value, known[name].annotation)


def _factory_of(field: str, package: str, name: Any) -> Callable:
    try:
        return factory(package, name)
    except ConfigError as error:
        raise ConfigError(f"config.{field}.name: {error}") from None


def check_value(field: str, value: Any, annotation: Any) -> None:
    """Refuse a value in `config.FIELD` that is none of a type.

    Raises:
      ConfigError: naming the field.
    """
    if annotation is inspect.Parameter.empty:
        return
    if wrong := misfit(value, annotation):
        raise ConfigError(f"config.{field} is {value!r}: {wrong}")


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
