"""What runs start from: by name a path, what is its own, and what it is measured by."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.errors import ConfigError
from medssl_jax.run import provenance

_FIELDS = {
    "initialisations": Sequence[str],
    "own": Mapping[str, Mapping[str, Any]],
    "against": Mapping[str, str],
}


class Initialisation(NamedTuple):
    """Where a run starts.

    path: of a run, an encoder or torchvision's weights; "" for random ones.
    own: parts of the experiment that are others for it, each whole.
    against: the initialisation that it is measured by; its own name for the last.
    """

    path: str
    own: Mapping[str, Any]
    against: str


def read(config: ConfigDict) -> dict[str, Initialisation]:
    """Read `config.initialisations`, `config.own` and `config.against`, by name.

    Raises:
      ConfigError: if an entry is not NAME=PATH, a name is there twice, one path is that
        of two with the same of their own, or own and against name none of them.
    """
    stated = {field: provenance.plain(config[field]) for field in _FIELDS}
    for field, annotation in _FIELDS.items():
        resolve.check_value(field, stated[field], annotation)
    own, against = stated["own"], stated["against"]
    paths = _paths(config.initialisations)
    for field, stated in (("own", own), ("against", against)):
        if unknown := sorted(stated.keys() - paths.keys()):
            raise ConfigError(
                f"config.{field} speaks of {unknown[0]!r}, which is none of "
                f"config.initialisations: {', '.join(paths)}"
            )
    found: dict[str, Initialisation] = {}
    names = list(paths)
    for place, (name, path) in enumerate(paths.items()):
        other = against.get(name, names[-1])
        if other not in names[place:]:
            raise ConfigError(
                f"config.against.{name} is {other!r}, which is none of the "
                "initialisations behind it"
            )
        found[name] = Initialisation(path, own.get(name, {}), other)
    _check_apart(found)
    return found


def _paths(entries: Sequence[str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not (name and equals) or "/" in name or name in paths:
            raise ConfigError(
                f"config.initialisations has {entry!r}: write NAME=PATH, each name "
                "once and without '/', or NAME= for random weights"
            )
        paths[name] = path
    if not paths:
        raise ConfigError("config.initialisations is empty; list NAME=PATH")
    return paths


def _check_apart(found: Mapping[str, Initialisation]) -> None:
    """Refuse two that would make the same runs."""
    for name, one in found.items():
        for other, before in found.items():
            if other == name:
                break
            if (before.path, before.own) == (one.path, one.own):
                raise ConfigError(
                    f"config.initialisations: {other} and {name} are both {one.path!r}; "
                    "give a run, an encoder, or nothing after the = for random weights"
                )
