"""What a protocol leaves in its folder, beside the runs that it made or read."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from medssl_jax import files
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.evals.metrics import only_class
from medssl_jax.protocols.cases import Cases
from medssl_jax.report.build import build as build_report
from medssl_jax.report.protocols import SECTIONS
from medssl_jax.run import provenance

_FACTS = {"data": {}, "durations": {}, "parameters": None}


class Used(NamedTuple):
    """What a run had labels of.

    examples, patients: of training; patients are None where they are not known.
    validation: examples that chose the checkpoint.
    """

    examples: int
    patients: int | None
    validation: int


def finish(
    config: ConfigDict,
    workdir: Path,
    results: Mapping[str, Any],
    facts: Mapping[str, Any],
    began: float,
) -> None:
    """Write config, run.json, results and report; say what came out.

    Args:
      facts: what run.json holds beside the command: `data`, `durations`, `parameters`.
      began: seconds since the epoch, of this call: an earlier one's are not in it.
    """
    provenance.write_config(workdir / "config.json", config)
    ran = provenance.of_command(config.name, began) | _FACTS | dict(facts)
    files.write_json(workdir / "run.json", ran | {"seconds": time.time() - began})
    files.write_json(workdir / "results.json", results)
    report = build_report(workdir, sections=SECTIONS)
    first = [results["answer"]] if "answer" in results else []
    for table in [*first, *results["tables"]]:
        print(f"\n{provenance.text_table(table)}")
    print(f"\n{results['headline']}\n\nreport: {report}")


def facts_of(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the facts of runs that share their data and their length."""
    runs = [files.read_json(folder / "run.json") for folder in folders]
    each = {f"{name}, each": value for name, value in runs[-1]["durations"].items()}
    durations = {"runs": len(runs), **each}
    seconds = sum(run.get("seconds", 0) for run in runs)
    durations["seconds of all runs"] = round(seconds)
    data, parameters = runs[-1]["data"], runs[-1]["parameters"]
    return {"data": data, "durations": durations, "parameters": parameters}


def labels_used(folder: Path) -> Used:
    """Return how many examples a run had labels of, for training and beside it."""
    data = files.read_json(folder / "run.json")["data"]
    validation = data.get("validation", {"distinct": 0, "label_counts": None})
    unlabelled = (validation["label_counts"] or {}).get("none", 0)
    return Used(
        data[TRAIN]["distinct"],
        data[TRAIN]["patients"],
        validation["distinct"] - unlabelled,
    )


def counted(run: Cases) -> dict[str, Any]:
    """Count test examples as run.json counts a source's."""
    has_classes = run.labels is not None and run.labels.ndim == 1
    one_each = Counter(run.labels.tolist()) if has_classes else None
    return {
        "count": len(run.names),
        "patients": None if run.patients is None else len(set(run.patients)),
        "label_counts": one_each and {str(k): one_each[k] for k in sorted(one_each)},
        "repeated_frames": None,
    }


def called_alike(runs: Mapping[str, Cases]) -> str:
    """Say which of the runs called all cases one class; "" where none did."""
    called = {
        name: only_class(run.scores)
        for name, run in runs.items()
        if run.scores is not None
    }
    return "".join(
        f" {name} called every example class {k}."
        for name, k in called.items()
        if k is not None
    )


def mean_and_deviation(values: Sequence[float], digits: int = 3) -> str:
    """Write `.812 ± .010`; one value has no deviation."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
