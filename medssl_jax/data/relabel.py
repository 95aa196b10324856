"""A source with other labels: fewer of them, or those that a classifier names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.columns import Columns
from medssl_jax.data.order.mixture import Mixture
from medssl_jax.data.order.subsets import nested
from medssl_jax.data.source import UNLABELLED, Source, Wrapper, has_findings
from medssl_jax.errors import ConfigError


@dataclass(frozen=True)
class Relabelled(Wrapper):
    """The examples of `source` with other labels.

    `names` are those of findings, `classes` of classes; None where they have none.
    """

    source: Source
    new: np.ndarray
    names: Sequence[str] | None
    classes: Sequence[str] | None = None

    @cached_property
    def columns(self) -> Columns:
        known = {"label_names": self.names, "label_classes": self.classes}
        return self.source.columns.replace(labels=self.new, **known)


def first_of(source: Source, findings: int) -> Source:
    """Return the source with the first of its findings alone; 0: the first as a class.

    A source without labels, or of classes, stays as it is.
    """
    if not has_findings(source):
        return source
    labels = np.asarray(source.labels)
    if not findings:
        return Relabelled(source, labels[:, 0], None)
    names = tuple(source.label_names[:findings])
    return Relabelled(source, labels[:, :findings], names)


def first_of_each(sources: Mapping[str, Source], findings: int) -> dict[str, Source]:
    """Return `first_of` each role.

    Raises:
      ConfigError: if what is first is called otherwise in another role.
    """
    named = {
        role: tuple(one.label_names[: findings or 1])
        for role, one in sources.items()
        if has_findings(one)
    }
    if len(set(named.values())) > 1:
        said = "; ".join(f"{role}: {', '.join(names)}" for role, names in named.items())
        raise ConfigError(f"the first findings of roles are others: {said}")
    return {role: first_of(one, findings) for role, one in sources.items()}


def partly_labelled(source: Source, fraction: float, seed: int) -> Source:
    """Return all examples, with the labels of `nested(source, fraction, seed)` only.

    Of a mixture, of each part that has labels.
    """
    if isinstance(source, Mixture):
        parts = [
            part if part.labels is None else partly_labelled(part, fraction, seed)
            for part in source.parts
        ]
        return Mixture(parts, source.modalities)
    shown = nested(source, fraction, seed, field="data.known_labels")
    labels = np.full_like(source.labels, UNLABELLED)
    labels[shown] = np.asarray(source.labels)[shown]
    return Relabelled(source, labels, source.label_names, source.label_classes)


def classes(source: Source, relabel: Sequence[int], count: int) -> Relabelled:
    """Call label k of a source class `relabel[k]`, or leave it out where that is -1.

    Without `relabel`, a label is the class of its number.

    Raises:
      ConfigError: if a label has no class among `count`.
    """
    labels = np.asarray(source.labels)
    highest = int(labels.max())
    table = np.array(relabel or range(highest + 1), np.int64)
    if len(table) <= highest or (table >= count).any() or (table < UNLABELLED).any():
        raise ConfigError(
            f"config.relabel {tuple(relabel)} does not give each label, 0 to {highest}"
            f" here, a class of the classifier, 0 to {count - 1}; -1 leaves one out"
        )
    known = labels != UNLABELLED
    new = np.where(known, table[np.where(known, labels, 0)], UNLABELLED)
    kept = None if relabel else source.label_classes
    return Relabelled(source, new, None, kept)


def findings(
    source: Source, names: Sequence[str] | None, wanted: Sequence[str]
) -> Relabelled:
    """Put the findings of a source, called `names`, in the order of `wanted`.

    One that the source does not have is unknown in all its examples.

    Raises:
      ConfigError: if none of them is there.
    """
    has = list(names or ())
    if not set(has) & set(wanted):
        raise ConfigError(
            f"the classifier tells {', '.join(wanted)}; the labels of config.data have "
            f"none of these, but {', '.join(has) or 'no names'}"
        )
    labels = np.asarray(source.labels)
    absent = np.full(len(labels), UNLABELLED, labels.dtype)
    columns = [labels[:, has.index(w)] if w in has else absent for w in wanted]
    return Relabelled(source, np.stack(columns, axis=1), tuple(wanted))
