"""Examples that nobody labelled: left out, or kept beside those that have a mask."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from medssl_jax.data.columns import Columns
from medssl_jax.data.order.mixture import Mixture, taken
from medssl_jax.data.source import Record, Source, Wrapper, is_labelled
from medssl_jax.errors import ConfigError

_KNOWN = ("keep", "drop")


def without(source: Source, unlabelled: str, role: str) -> Source:
    """Return a role's examples without those that have no label, or with them.

    A label is a mask or boxes where there are some, else a class, or a finding that is
    known.

    Args:
      unlabelled: "drop"; or "keep", where masks that only some examples have are left
        out: a batch has the same fields of each.

    Raises:
      ConfigError: if `unlabelled` is neither, or nothing is left.
    """
    if unlabelled not in _KNOWN:
        known = ", ".join(_KNOWN)
        raise ConfigError(f"data.unlabelled {unlabelled!r} is unknown; known: {known}")
    if unlabelled == "keep":
        return source if source.masked is None else _bare(source)
    known = _labelled(source)
    if not known.any():
        raise ConfigError(
            f"data.unlabelled is 'drop', and none of the {len(source)} examples of "
            f"{role} has a label or a mask: label some, or set it to 'keep'"
        )
    return source if known.all() else taken(source, np.flatnonzero(known))


@dataclass(frozen=True)
class Unmasked(Wrapper):
    """The examples of `source` without their masks, which not all of them have."""

    source: Source

    def __getitem__(self, i: int) -> Record:
        record = super().__getitem__(i)
        return {k: v for k, v in record.items() if k not in ("mask", "foreground")}

    @cached_property
    def columns(self) -> Columns:
        none = {"has_masks": False, "masked": None, "class_names": None}
        return self.source.columns.replace(**none)


def _bare(source: Source) -> Source:
    if isinstance(source, Mixture):
        return Mixture([_bare(part) for part in source.parts], source.modalities)
    return Unmasked(source)


def _labelled(source: Source) -> Bool[np.ndarray, "n"]:
    if source.has_masks or source.has_boxes:
        return np.ones(len(source), bool)
    if source.masked is not None:
        return np.asarray(source.masked)
    if source.labels is None:
        return np.zeros(len(source), bool)
    return is_labelled(source.labels)
