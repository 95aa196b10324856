"""Names in a config become functions: `byol` is `medssl_jax.methods.byol.byol`."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError, Part
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


def factory_of(field: str, package: str, name: str) -> Callable:
    """Return `factory(package, name)`, where the name is that in `config.FIELD`.

    Raises:
      ConfigError: naming the field, if there is none.
    """
    try:
        return factory(package, name)
    except ConfigError as error:
        raise ConfigError(f"config.{field}.name: {error}") from None


def named(
    field: str, package: str, settings: Mapping[str, Any], /, *args: Any, **given: Any
) -> Any:
    """Call what `settings` name in a package, with the others and what is given.

    Raises:
      ConfigError: as `check_named`.
    """
    function, settings = check_named(field, package, settings, *args, **given)
    return function(**settings)


def check_named(
    field: str, package: str, settings: Mapping[str, Any], /, *args: Any, **given: Any
) -> tuple[Callable, Mapping[str, Any]]:
    """Return what `named` calls, and with which settings.

    Of what is given only the names matter here: settings can be looked at before what
    the code adds to them is there.

    Raises:
      ConfigError: if there is no such name; as `check`.
    """
    settings = dict(settings)
    name = settings.pop("name", "")
    function = functools.partial(factory_of(field, package, name), *args, **given)
    check(field, function, settings, part=name)
    return function, settings


def call(
    field: str, function: Callable, settings: Mapping[str, Any], *, part: str = ""
) -> Any:
    """Call a function with the settings in `config.FIELD`.

    Raises:
      ConfigError: as `check`. What the function raises keeps its traceback.
    """
    check(field, function, settings, part=part)
    return function(**settings)


def check(
    field: str, function: Callable, settings: Mapping[str, Any], *, part: str = ""
) -> None:
    """Refuse settings that do not fit a function's signature, its types among it.

    What a `functools.partial` binds is the code's: no setting replaces it. `part` is
    the name by which the config calls the function, where it does.

    Raises:
      ConfigError: naming the settings that there are not, and those that there are; or
        those that are missing; or the one whose value is none of its type.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    bound = getattr(function, "keywords", {})
    called = part or getattr(function, "func", function).__name__
    known = {
        name: parameter
        for name, parameter in parameters.items()
        if name not in bound and parameter.kind is not parameter.VAR_KEYWORD
    }
    takes_others = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    wrong = [n for n in settings if n in bound or not (n in known or takes_others)]
    needed = [n for n, p in known.items() if p.default is p.empty]
    missing = [name for name in needed if name not in settings]
    if wrong:
        are = "is no setting" if len(wrong) == 1 else "are no settings"
        text = f"config.{field}.{', '.join(wrong)} {are} of {called}; known: "
        text += ", ".join(known) or "none"
    elif missing:
        are, it = ("is", "it") if len(missing) == 1 else ("are", "them")
        text = f"config.{field}.{', '.join(missing)} {are} missing: {called} needs {it}"
    if wrong or missing:
        about = Part(field, part, tuple(needed)) if part else None
        raise ConfigError(text, part=about)
    for name, value in settings.items():
        if name in known:
            check_value(f"{field}.{name}", value, known[name].annotation)


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
