"""What heads beside the method's own tell of the test: findings, and labels of slices."""

from collections import defaultdict
from typing import Any

import numpy as np
from jaxtyping import Float

from medssl_jax.data.pipeline import eval_batches
from medssl_jax.data.source import PRESENT, UNLABELLED, Source, has_findings
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.evals.bootstrap import Interval, interval
from medssl_jax.evals.metrics import auc

_COLUMNS = ["head", "of", "positives of known", "AUC (95 % interval)"]
_NOTE = (
    "95 % intervals by bootstrap over patients, each with all its slices. Labels that are "
    "not known are left out."
)


def heads(context: Context) -> Evaluator:
    """Build the test of each head of `method.heads` whose weight is not 0.

    AUC of each of its findings, or of slices, all of the test as one set. A head of
    which the test has no labels is left out, and said.

    Raises:
      ConfigError: if the method has no heads, or tells nothing of them, as segmentation,
        which sees windows; if there is no test.
    """
    stated = context.spec["provenance"]["method"].get("heads") or {}
    learnt = any(one["weight"] for one in stated.values())
    if not stated or (learnt and not context.method.heads):
        raise ConfigError(
            "evaluation 'heads' needs a classifier or a detector with heads beside its "
            "own: set config.method.heads, or leave it out of config.evaluation"
        )
    if (test := context.sources.get("test")) is None:
        raise ConfigError(
            "heads needs examples for test: set --config.splits.test.fraction, or give "
            "that role a source"
        )

    def final(params, aux):
        if not context.method.heads:
            return {}  # beside that of the method's own head
        told, planes = _told(context, test, params, aux)
        rows, values, lacking = [], {}, []
        for name, columns in context.method.heads.items():
            p = told[f"{name}_probability"]
            if columns:
                labels, called = _findings(test, columns)
            else:
                labels, called = planes, ["slices"]
                p = p[..., None]
            if labels is None or (labels == UNLABELLED).all():
                lacking.append(name)
                continue
            for j, of in enumerate(called):
                own = labels[..., j]
                known = own != UNLABELLED
                if not known.any():
                    lacking.append(f"{name} {of}")
                    continue
                value = _auc(own, p[..., j], test, context.seed)
                count = f"{np.sum(own == PRESENT)} of {np.sum(known)}"
                rows.append([name, of, count, value.text()])
                values[f"AUC {name} {of}"] = value._asdict()
        note = _NOTE
        if lacking:
            note += f" The test has no labels of: {', '.join(lacking)}."
        title = "Heads beside the method's own"
        table = {"title": title, "note": note, "columns": _COLUMNS, "rows": rows}
        said = [
            f"{name if name == of else f'{name} {of}'} {value.split()[0]}"
            for name, of, _, value in rows
        ]
        headline = f"AUC of other heads: {', '.join(said)}." if said else ""
        return {"headline": headline, "tables": [table], "values": values}

    return Evaluator(lambda params, aux: {}, final)


def _told(
    context: Context, test: Source, params: Any, aux: Any
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return what is predicted of the test, by name, and its slices' labels (n, f, 1)."""
    parts = defaultdict(list)
    for batch in eval_batches(test, context.draw, size=context.batch_size):
        found = context.predict(params, aux, batch["image"])
        count = len(batch["index"])
        for head in context.method.heads:
            name = f"{head}_probability"
            parts[name].append(np.asarray(found[name])[:count])
        if "planes" in batch:
            parts["planes"].append(batch["planes"][:count])
    joined = {name: np.concatenate(each) for name, each in parts.items()}
    planes = joined.pop("planes", None)
    return joined, None if planes is None else planes[..., None]


def _findings(
    test: Source, columns: tuple[int, ...]
) -> tuple[np.ndarray | None, list[str]]:
    if not has_findings(test) or np.shape(test.labels)[1] <= max(columns):
        return None, []
    return np.asarray(test.labels)[:, columns], [test.label_names[j] for j in columns]


def _auc(
    labels: np.ndarray, scores: Float[np.ndarray, "*n"], test: Source, seed: int
) -> Interval:
    """Return the AUC of all known labels (n,) or (n, f) of n examples."""
    patients = test.patients or [test.name(i) for i in range(len(test))]
    groups = np.repeat(np.asarray(patients), labels[0].size)
    known = labels.ravel() != UNLABELLED
    return interval(
        auc,
        labels.ravel()[known],
        scores.ravel()[known],
        groups=groups[known],
        seed=seed,
    )
