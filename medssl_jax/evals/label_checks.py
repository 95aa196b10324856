"""Whether a classifier can learn from labels, and be scored on them.

What stops it is an error; what only leaves a gap is a line to be said before training.
"""

import itertools
from collections.abc import Mapping

import numpy as np

from medssl_jax.data.source import (
    ABSENT,
    PRESENT,
    UNLABELLED,
    Source,
    has_findings,
    is_labelled,
)
from medssl_jax.errors import ConfigError
from medssl_jax.evals.linear import too_few
from medssl_jax.evals.metrics import scorable

_SHOWN = 20  # classes that are missing
_COMPLETE = ("train", "validation")  # a test may lack a class: it is left out and said


def check_classes(sources: Mapping[str, Source], classes: int) -> None:
    """Refuse roles whose labels are not 0 to classes - 1, or lack one of them.

    Raises:
      ConfigError: naming the role, and the first example or class; or if two roles have
        classes of other names.
    """
    named = {role: one.label_classes for role, one in sources.items()}
    told = {role: tuple(names) for role, names in named.items() if names}
    if len(set(told.values())) > 1:
        said = "; ".join(f"{role}: {', '.join(names)}" for role, names in told.items())
        raise ConfigError(
            f"roles have classes of other names: {said}; set data.classes"
        )
    for role, source in sources.items():
        if has_findings(source):
            count = np.shape(source.labels)[1]
            raise ConfigError(
                f"the labels of {role} are {count} findings, not classes; set "
                f"method.findings to {count}, method.classes to 0"
            )
        if (names := source.label_classes) and len(names) != classes:
            raise ConfigError(
                f"method.classes is {classes}, and the labels of {role} are "
                f"{len(names)}: {', '.join(names)}"
            )
        none = [UNLABELLED] * len(source)
        labels = np.asarray(none if source.labels is None else source.labels)
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(wrong):
            kind = "training" if role == "train" else role
            first = f"{source.name(int(wrong[0]))} ({labels[wrong[0]]})"
            raise ConfigError(
                f"{len(wrong)} {kind} examples have no label in 0 to {classes - 1}, "
                f"the first is {first}; label them, leave those without one out "
                "(data.unlabelled=drop), or correct method.classes"
            )
        if role in _COMPLETE and (missing := _missing(labels, classes)):
            text = f"{role} has no example of class {missing[0]}"
            raise ConfigError(f"{text}: {_mend(role)}")


def check_known(source: Source, classes: int, findings: int) -> None:
    """Refuse labels of which none is known, or that are not what a method learns.

    Some can be unknown.

    Raises:
      ConfigError: naming what the labels are.
    """
    if source.labels is None or not is_labelled(np.asarray(source.labels)).any():
        raise ConfigError(
            f"the method learns from labels, and none of the {len(source)} training "
            "examples has one: give labels with data.labels, or, where the method has "
            "method.beta, set it to 0"
        )
    if (names := source.label_classes) and classes not in (0, len(names)):
        raise ConfigError(
            f"method.classes is {classes}, and the labels are {len(names)}: "
            f"{', '.join(names)}"
        )
    labels = np.asarray(source.labels)
    if findings:
        return check_findings({"training": source}, findings)
    if labels.ndim != 1:
        check_classes({"train": source}, classes)  # says that they are findings
    if labels.max() >= classes:
        first = source.name(int(labels.argmax()))
        raise ConfigError(
            f"{first} has the label {labels.max()}, and method.classes is {classes}: "
            "labels are 0 to classes - 1, or -1 where unknown"
        )


def check_columns(train: Source, columns: int) -> None:
    """Refuse labels that have not so many findings, or of one no positive or negative.

    Raises:
      ConfigError: naming what the labels are, or the finding.
    """
    shape = None if train.labels is None else np.shape(train.labels)
    if not has_findings(train) or shape[1] < columns:
        raise ConfigError(
            f"config.method.heads reads {columns} findings, and the labels of training "
            f"have the shape {shape}: give data.labels a column for each"
        )
    names = list(train.label_names)[:columns]
    _check_both("train", np.asarray(train.labels)[:, :columns], names)


def check_findings(sources: Mapping[str, Source], findings: int) -> None:
    """Refuse roles that have not these findings, or of one no positive or negative.

    Raises:
      ConfigError: naming the role and the finding.
    """
    for role, source in sources.items():
        if not has_findings(source) or np.shape(source.labels)[1] != findings:
            shape = None if source.labels is None else np.shape(source.labels)
            raise ConfigError(
                f"the labels of {role} have the shape {shape}, not (n, {findings}): "
                "correct method.findings, or the labels"
            )
    check_alike(sources)
    for role, source in sources.items():
        if role in _COMPLETE:
            _check_both(role, np.asarray(source.labels), list(source.label_names))


def unscored(test: Source, classes: int, *, ordered: bool = False) -> tuple[str, ...]:
    """Say which AUC the test cannot tell: of classes, or of findings where these are 0.

    Kappa, of classes that are `ordered`, needs no example of each.
    """
    labels = np.asarray(test.labels)
    if classes:
        missing = _missing(labels, classes)
        told = "kappa, but no AUC" if ordered else "no AUC"
        text = f"test has no example of class {_listed(missing)}, so it has {told}"
    else:
        known = scorable(labels)
        missing = [name for j, name in enumerate(test.label_names) if j not in known]
        text = (
            f"test has no positive, or no negative, of {_listed(missing)}: no AUC of it"
        )
    return (f"{text}; {_mend('test')}",) if missing else ()


def unprobed(train: Source, test: Source, classes: int) -> tuple[str, ...]:
    """Say what a probe of frozen features cannot learn from `train`, or score on `test`.

    Of classes; or of findings, each learnt on its own, where these are 0.
    """
    labels, patients = np.asarray(train.labels), train.patients
    if not classes:
        few = [
            name
            for j, name in enumerate(train.label_names)
            if _too_few_known(labels[:, j], patients)
        ]
        text = (
            f"the probe leaves out {_listed(few)}: learning takes two patients with it"
        )
        learnt = (f"{text}, and two without; label more",) if few else ()
        return learnt + unscored(test, classes)
    if few := too_few(labels, patients):
        return (f"there will be no probe: {few}",)
    unlearnt = sorted(set(np.asarray(test.labels).tolist()) - set(labels.tolist()))
    text = f"the probe has no example of class {_listed(unlearnt)}, and test has"
    learnt = (f"{text}: it cannot be found; label more",) if unlearnt else ()
    return learnt + unscored(test, classes)


def check_alike(sources: Mapping[str, Source]) -> None:
    """Refuse labelled roles of which one has classes, or other findings.

    Raises:
      ConfigError: naming both roles and what their labels are.
    """
    said = {role: _said(source) for role, source in sources.items()}
    (first, known), *others = said.items()
    for role, found in others:
        if found != known:
            raise ConfigError(
                f"the labels of {role} are {found}, and of {first} {known}: give both "
                "the same, in one order"
            )


def _said(source):
    if not has_findings(source):
        return "classes"
    return f"the findings {', '.join(source.label_names)}"


def _check_both(role, labels, names):
    for kind, mark in (("positive", PRESENT), ("negative", ABSENT)):
        without = np.flatnonzero(~(labels == mark).any(axis=0))
        if len(without):
            called = ", ".join(repr(names[j]) for j in without)
            text = f"{role} has no {kind} of the finding {called}"
            raise ConfigError(f"{text}: {_mend(role)}")


def _too_few_known(labels, patients):
    """Say whether a finding has too few patients with or without it, where known."""
    known = np.flatnonzero(labels != UNLABELLED)
    groups = None if patients is None else [patients[i] for i in known]
    return not len(known) or bool(too_few(labels[known], groups))


def _missing(labels, classes):
    """Return classes that no label is, the first ones: there can be any number."""
    seen = set(labels.tolist())
    return list(itertools.islice((k for k in range(classes) if k not in seen), _SHOWN))


def _listed(values):
    return ", ".join(map(str, values))


def _mend(role):
    held_out = f"hold out more with --config.splits.{role}.fraction, "
    more = "" if role == "train" else held_out
    return f"label more, {more}try another --config.seed, or leave it out"
