"""The worth of a pretrained encoder against the same encoder untrained."""

from typing import Any

import numpy as np

from medssl_jax.data.source import UNLABELLED, Source, Subset, has_findings
from medssl_jax.evals import floor as pixels
from medssl_jax.evals import probe_findings
from medssl_jax.evals.base import (
    ENCODERS,
    Context,
    Evaluator,
    FrozenFeatures,
    apply_to_all,
    class_count,
    labelled,
)
from medssl_jax.evals.bootstrap import interval, paired_difference
from medssl_jax.evals.collapse import FEWEST, collapsed, spread, verdict
from medssl_jax.evals.knn import weighted_knn
from medssl_jax.evals.label_checks import check_alike, unprobed
from medssl_jax.evals.linear import Unlearnable, linear_probe
from medssl_jax.evals.metrics import auc, binary_scores, macro_auc
from medssl_jax.files import write_arrays
from medssl_jax.ranges import Count, Positive
from medssl_jax.saved.encoder import Encoder

_MOST = 2048  # training examples that stand for all: a spread needs no more
_ROLES = (
    "it takes labelled examples of two roles. Give labels, and hold some out with "
    "--config.splits.test.fraction=.3"
)


def probe(
    context: Context,
    *,
    neighbours: Count,
    temperature: Positive,
    floor: bool = False,
) -> Evaluator:
    """Build linear probe, weighted kNN and collapse measures on frozen features.

    Both encoders get the same examples, folds and resamples. The classifiers learn
    from the labelled examples of the role "probe", or else "train", and are scored on
    "test". Without labels there, only collapse is measured, and the headline says so:
    on the training examples, or where these are many, on some that lie evenly among
    them. `embedded_examples` is their number.
    The headline tells a collapse first: it is why the scores are what they are.
    Of findings, each has classifiers of its own, which learn from where it is known.
    Labels that are too few to learn from or to score are told before training; where
    nothing can be learnt, only collapse is measured. With `floor` the linear probe is
    set beside one of pixels (`evals.floor`).

    Raises:
      ConfigError: if one role's labels are classes, or other findings, than another's.
    """
    test = labelled(context.sources.get("test"))
    train = test and labelled(context.sources.get("probe", context.sources["train"]))
    scored, lacking = bool(train and test), ()
    if scored:
        check_alike({"the probe": train, "test": test})
        classes = 0 if has_findings(train) else class_count(train, test)
        lacking = unprobed(train, test, classes)
    elif any(source.labels is not None for source in context.sources.values()):
        lacking = (f"there will be no probe: {_ROLES}",)

    def final(params, aux):
        encoders = {
            "untrained": Encoder(context.untrained(), context.spec),
            "pretrained": Encoder(context.method.encoder(params, aux), context.spec),
        }
        every = test if scored else context.sources["train"]
        shown = every if scored else _some(every)
        features = {name: _features(e, shown, context) for name, e in encoders.items()}
        _save_embeddings(features, shown, context)
        results = _collapse(features) | {"embedded_examples": len(shown)}
        if not scored:
            if len(shown) < len(every):
                results["headline"] += (
                    f" Measured on {len(shown)} of {len(every)} training examples."
                )
            results["headline"] += f" No probe: {_ROLES}"
            return results
        learnt = {name: _features(e, train, context) for name, e in encoders.items()}
        task = FrozenFeatures(train, test, learnt, features, context.seed)
        settings = {"neighbours": neighbours, "temperature": temperature}
        linear = {}
        if has_findings(train):
            tables = probe_findings.tables(task, **settings)
        else:
            tables, linear = _of_classes(task, **settings)
        if floor and "tables" in tables:
            tables["tables"].append(_floor(context, task, linear))
        if context.init_from:
            tables["headline"] += f" Untrained here is {context.init_from}, as it was."
        return _merge(results, tables)

    return Evaluator(lambda params, aux: {}, final, lacking)


def _some(source: Source) -> Source:
    """Return the examples, or as many of them as are embedded, evenly apart."""
    count = len(source)
    if count <= _MOST:
        return source
    return Subset(source, np.arange(_MOST, dtype=np.int64) * count // _MOST)


def _features(encoder: Encoder, source: Source, context: Context) -> np.ndarray:
    return apply_to_all(encoder, source, context.draw, context.batch_size)


def _save_embeddings(features, source: Source, context: Context) -> None:
    labels, names = source.labels, {}
    if labels is None:
        labels = np.full(len(source), UNLABELLED)
    if has_findings(source):
        names = {"label_names": np.array(source.label_names)}
    path = context.workdir / "embeddings.npz"
    write_arrays(path, {"labels": labels, **names, **features})


def _collapse(features) -> dict[str, Any]:
    count = len(features["pretrained"])
    if count < FEWEST:
        few = f"it takes {FEWEST} examples, and there are {count}"
        return {"headline": f"The embeddings' spread is not measured: {few}."}
    measured = {name: spread(values) for name, values in features.items()}
    words = verdict(measured["pretrained"], measured["untrained"])
    return {"collapse": measured, "headline": f"{words[0].upper()}{words[1:]}."}


def _of_classes(task: FrozenFeatures, **settings) -> tuple[dict[str, Any], dict]:
    """Return tables, and the linear probe's scores by what they are of."""
    try:
        scores = _scores(task, **settings)
    except Unlearnable as error:
        return {"headline": f"No probe: {error}."}, {}
    linear = {f"linear probe, {e}": s for e, s in scores["linear probe"].items()}
    return _tables(scores, task), linear


def _floor(context: Context, task: FrozenFeatures, linear) -> dict[str, Any]:
    found = pixels.pixel_floor(
        task.train,
        task.test,
        context.draw,
        batch_size=context.batch_size,
        seed=task.seed,
    )
    return pixels.table(found, task.test, linear, seed=task.seed)


def _scores(task: FrozenFeatures, neighbours: int, temperature: float):
    """Return test scores by classifier and encoder."""
    classes = class_count(task.train, task.test)
    labels = np.asarray(task.train.labels)
    patients = task.train.patients
    linear, knn = {}, {}
    for name in ENCODERS:
        features = task.train_features[name], labels, task.test_features[name]
        linear[name] = binary_scores(
            linear_probe(*features, groups=patients, classes=classes, seed=task.seed)
        )
        knn[name] = binary_scores(
            weighted_knn(
                *features,
                classes=classes,
                k=min(neighbours, len(labels)),
                temperature=temperature,
            )
        )
    return {"linear probe": linear, "kNN": knn}


def _tables(scores, task: FrozenFeatures) -> dict[str, Any]:
    labels = np.asarray(task.test.labels)
    drawn = {"groups": task.test.patients, "seed": task.seed}
    rows, roc, lines = [], [], []
    for classifier, by_encoder in scores.items():
        first = by_encoder["pretrained"]
        metric = auc if first.ndim == 1 else macro_auc
        cells = [
            interval(metric, labels, by_encoder[name], **drawn).text()
            for name in ENCODERS
        ]
        gain = paired_difference(
            metric, labels, first, by_encoder["untrained"], **drawn
        )
        rows.append([classifier, *cells, gain.text(signed=True)])
        lines.append(f"{classifier} AUC {gain.text(signed=True)} over untrained")
        if first.ndim == 1:
            roc += [
                {
                    "name": f"{classifier}, {name}",
                    "labels": labels.tolist(),
                    "scores": by_encoder[name].tolist(),
                }
                for name in ENCODERS
            ]
    table = {
        "title": "Test AUC of frozen features",
        "note": f"{len(task.train)} labelled examples to learn from, "
        f"{len(labels)} to test; 95 % intervals by bootstrap over patients; the "
        "difference is paired.",
        "columns": ["classifier", *ENCODERS, "pretrained - untrained"],
        "rows": rows,
    }
    return {"tables": [table], "roc": roc, "headline": f"{'; '.join(lines)}."}


def _merge(collapse, tables) -> dict[str, Any]:
    said = [tables["headline"], collapse["headline"]]
    if "collapse" in collapse and collapsed(**collapse["collapse"]):
        said.reverse()
    return {**collapse, **tables, "headline": " ".join(said)}
