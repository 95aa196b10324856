"""What a fine-tuned classifier is worth: validation while it trains, then the test."""

import functools
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, log_loss

from medssl_jax.data import relabel
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals import findings as of_findings
from medssl_jax.evals import floor as pixels
from medssl_jax.evals.base import Context, Evaluator, apply_to_all, labelled
from medssl_jax.evals.bootstrap import interval
from medssl_jax.evals.label_checks import check_classes, check_findings, unscored
from medssl_jax.evals.metrics import (
    THRESHOLD,
    binary_scores,
    metrics,
    only_class,
    predicted,
)
from medssl_jax.evals.predictions import write_predictions
from medssl_jax.ranges import Share


def classify(
    context: Context, *, threshold: Share | None = None, floor: bool = False
) -> Evaluator:
    """Build validation by loss, and test metrics with bootstrap intervals.

    The run keeps the checkpoint of the lowest validation loss (BYOLMed3D selects by
    "lowest validation accuracy", which can only mean this), and the test sees it once.
    Its classes or findings are those of the method; of ordered classes, grades, kappa
    with quadratic weights comes first, and a table counts which was taken for which. A
    context without the role "train", of a classifier that is only tested, has no
    validation. A class or finding that the test cannot score is told before training.

    Args:
      threshold: of two classes, the operating point from which an example is called the
        second; there is the average precision too then. None: .5, and without.
      floor: whether a classifier of pixels is set beside it (`evals.floor`).

    Raises:
      ConfigError: if the method tells no classes, or no two where there is a threshold;
        if there are no labelled examples for
        validation or test; if labels are not what the method learns; if training or
        validation lacks a class, or a positive or a negative of a finding.
    """
    classes, findings = context.method.learns
    if context.predict is None or not (classes or findings):
        raise ConfigError(
            "evaluation 'classify' needs a method with classes or findings, such as "
            "'supervised'"
        )
    if threshold is not None and classes != 2:
        raise ConfigError(
            f"evaluation.threshold is {threshold}, of two classes, and method.classes is "
            f"{classes}: set it to None"
        )
    given = context.sources
    if context.method.columns:  # its own are the first of the labels
        given = relabel.first_of_each(given, findings)
    trained = "train" in given
    sources = {"train": given["train"]} if trained else {}
    for role in ("validation", "test") if trained else ("test",):
        sources[role] = labelled(given.get(role))
        if sources[role] is None:
            raise ConfigError(
                f"classify needs labelled examples for {role}: set "
                f"--config.splits.{role}.fraction, or give that role a source"
            )
    if findings:
        check_findings(sources, findings)
        validation, results = of_findings.validation, of_findings.results
    else:
        check_classes(sources, classes)
        said = {"ordered": context.method.ordered, "threshold": threshold}
        validation, results = (
            functools.partial(tell, **said) for tell in (_validation, _results)
        )

    def probabilities(role, params, aux):
        return apply_to_all(
            lambda images: context.predict(params, aux, images)["probability"],
            sources[role],
            context.draw,
            context.batch_size,
        )

    def during(params, aux):
        p = probabilities("validation", params, aux)
        return validation(np.asarray(sources["validation"].labels), p)

    def final(params, aux):
        p = probabilities("test", params, aux)
        path = context.workdir / "predictions.csv"
        ordered = context.method.ordered
        write_predictions(
            path, sources["test"], p, ordered=ordered, threshold=threshold
        )
        found = results(sources["test"], p, context.seed)
        if floor and trained:
            below = _floor(context, given["train"], sources["test"])
            ours = {"the model": p if context.method.learns[1] else binary_scores(p)}
            told = pixels.table(below, sources["test"], ours, seed=context.seed)
            found["tables"].append(told)
            found["floor"] = below.value(sources["test"])
        return found

    lacking = unscored(sources["test"], classes, ordered=context.method.ordered)
    return Evaluator(during, final, lacking)


def _floor(context: Context, train: Source, test: Source) -> pixels.Floor:
    return pixels.pixel_floor(
        train,
        test,
        context.draw,
        batch_size=context.batch_size,
        seed=context.seed,
    )


def _validation(
    labels: np.ndarray, p: np.ndarray, *, ordered: bool, threshold: float | None
) -> dict[str, float]:
    scores = binary_scores(p)
    found = {
        f"validation_{name}": metric(labels, scores)
        for name, metric in metrics(
            scores, ordered=ordered, threshold=threshold
        ).items()
    }
    exact = p.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # float32 sums to 1 - 1e-7
    loss = log_loss(labels, exact, labels=np.arange(p.shape[1]))
    return {"validation_loss": loss, **found}


def _results(
    source: Source,
    p: np.ndarray,
    seed: int,
    *,
    ordered: bool,
    threshold: float | None,
) -> dict[str, Any]:
    labels, scores = np.asarray(source.labels), binary_scores(p)
    drawn = {"groups": source.patients, "seed": seed}
    found = {
        name: interval(metric, labels, scores, **drawn)
        for name, metric in metrics(
            scores, ordered=ordered, threshold=threshold
        ).items()
    }
    binary = scores.ndim == 1
    meant = " Kappa: of the first guess, with quadratic weights." if ordered else ""
    meant += "" if binary else " Accuracy: the first guess (top-1). AUC: mean over "
    meant += "" if binary else f"{p.shape[1]} classes, each against the rest."
    if lacking := sorted(set(range(p.shape[1])) - set(labels.tolist())):
        meant += f" AUC is not known: no test example is of class {_name(source, lacking[0])}."
    if (
        called := only_class(scores, THRESHOLD if threshold is None else threshold)
    ) is not None:
        meant += f" Every example was called class {_name(source, called)}."
    table = {
        "title": "Test",
        "note": f"{len(labels)} examples, at the lowest validation loss; 95 % "
        f"intervals by bootstrap over patients.{meant}",
        "columns": ["metric", "value (95 % interval)"],
        "rows": [[name, value.text()] for name, value in found.items()],
    }
    roc = {"name": "test", "labels": labels.tolist(), "scores": scores.tolist()}
    first = ("kappa", "AUC", "AP", "accuracy")
    told = [name for name in found if name.partition("_at_")[0] in first]
    told.sort(key=lambda name: first.index(name.partition("_at_")[0]))
    said = ", ".join(f"{name} {found[name].text()}" for name in told)
    return {
        "headline": f"Test {said}.",
        "tables": [table, *([_confused(source, scores)] if ordered else [])],
        "roc": [roc] if binary else [],
        "values": {name: value._asdict() for name, value in found.items()},
    }


def _name(source: Source, k: int) -> str:
    return source.label_classes[k] if source.label_classes else str(k)


def _confused(source: Source, scores: np.ndarray) -> dict[str, Any]:
    """Lay out true grades against first guesses."""
    labels, grades = np.asarray(source.labels), range(scores.shape[1])
    counts = confusion_matrix(labels, predicted(scores), labels=grades)
    return {
        "title": "Grades",
        "note": "Test examples of each true grade, by the grade that they were given.",
        "columns": ["true grade", *(f"given {_name(source, k)}" for k in grades)],
        "rows": [[_name(source, k), *row] for k, row in enumerate(counts.tolist())],
    }
