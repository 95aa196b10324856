"""What a fine-tuned classifier is worth: validation while it trains, then the test."""

import csv
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from medssl_jax.data.source import UNLABELLED, Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator, apply_to_all
from medssl_jax.evals.bootstrap import interval
from medssl_jax.evals.metrics import binary_scores, metrics
from medssl_jax.evals.probe import labelled


def classify(context: Context, *, classes: int) -> Evaluator:
    """Build validation by loss, and test metrics with bootstrap intervals.

    The run keeps the checkpoint of the lowest validation loss (BYOLMed3D selects by
    "lowest validation accuracy", which can only mean this), and the test sees it once.

    Raises:
      ConfigError: if there are no labelled examples for validation or test, or a
        training example has no label among the classes.
    """
    sources = {}
    for role in ("validation", "test"):
        sources[role] = labelled(context.sources.get(role))
        if sources[role] is None:
            raise ConfigError(
                f"classify needs labelled examples for {role}: set "
                f"--config.splits.{role}.fraction, or give that role a source"
            )

    _check_labels(context.sources["train"], classes)

    def probabilities(role, params, aux):
        return apply_to_all(
            lambda images: context.predict(params, aux, images),
            sources[role],
            context.draw,
            context.batch_size,
        )

    def during(params, aux):
        p = probabilities("validation", params, aux)
        labels = np.asarray(sources["validation"].labels)
        scalars = {
            f"validation_{name}": metric(labels, binary_scores(p))
            for name, metric in metrics(binary_scores(p)).items()
        }
        exact = p.astype(np.float64)
        exact /= exact.sum(axis=1, keepdims=True)  # float32 sums to 1 - 1e-7
        loss = log_loss(labels, exact, labels=np.arange(classes))
        return {"validation_loss": loss, **scalars}

    def final(params, aux):
        p = probabilities("test", params, aux)
        _write_predictions(context, sources["test"], p)
        return _results(sources["test"], binary_scores(p), context.seed)

    return Evaluator(during, final)


def _check_labels(source: Source, classes: int) -> None:
    labels = np.asarray(source.labels if source.labels is not None else [UNLABELLED])
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise ConfigError(
            f"{len(wrong)} training examples have no label in 0 to {classes - 1}, the "
            f"first is {source.name(int(wrong[0]))} ({labels[wrong[0]]}); label them, "
            "leave them out, or correct method.classes"
        )


def _write_predictions(context: Context, source: Source, p: np.ndarray) -> None:
    """Write a row per test example: name, patient, label, probability per class."""
    patients = source.patients or [""] * len(source)
    with open(context.workdir / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"probability_{k}" for k in range(p.shape[1])]
        writer.writerow(["name", "patient", "label", *columns])
        for i, row in enumerate(p):
            known = [source.name(i), patients[i], int(source.labels[i])]
            writer.writerow([*known, *(f"{value:.6g}" for value in row)])


def _results(source: Source, scores: np.ndarray, seed: int) -> dict[str, Any]:
    labels = np.asarray(source.labels)
    drawn = {"groups": source.patients, "seed": seed}
    found = {
        name: interval(metric, labels, scores, **drawn)
        for name, metric in metrics(scores).items()
    }
    table = {
        "title": "Test",
        "note": f"{len(labels)} examples, at the lowest validation loss; 95 % "
        "intervals by bootstrap over patients.",
        "columns": ["metric", "value (95 % interval)"],
        "rows": [[name, value.text()] for name, value in found.items()],
    }
    roc = {"name": "test", "labels": labels.tolist(), "scores": scores.tolist()}
    return {
        "headline": f"Test AUC {found['AUC'].text()}, "
        f"accuracy {found['accuracy'].text()}.",
        "tables": [table],
        "roc": [roc] if scores.ndim == 1 else [],
        "values": {name: value._asdict() for name, value in found.items()},
    }
