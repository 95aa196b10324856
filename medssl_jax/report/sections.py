"""The report's sections: a run in, a section out; a new one is added to `SECTIONS`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from medssl_jax.evals.collapse import collapsed
from medssl_jax.evals.metrics import auc
from medssl_jax.report import figures
from medssl_jax.report.attended import attended
from medssl_jax.report.blocks import (
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    cell,
    missing,
)
from medssl_jax.report.curves import training_curves
from medssl_jax.report.detected import detected
from medssl_jax.report.embedding import embedding, projection
from medssl_jax.report.operating import operating
from medssl_jax.report.reconstructed import reconstructed
from medssl_jax.report.run import Rows, Run
from medssl_jax.report.scans import scan_grid
from medssl_jax.report.segmented import segmented
from medssl_jax.run.private import without_folders

_ROWS = 20  # of a long table, where the file has the rest


def summary(run: Run) -> list[Text]:
    """Say the result in words, set apart where they tell of a collapse."""
    if run.results is None:
        return [
            missing(
                "results.json",
                "the run has not ended or was not evaluated, and there is no result",
            )
        ]
    found = run.results.get("collapse", {})
    bad = "pretrained" in found and collapsed(**found)
    said = [Text(run.results["headline"], "bad" if bad else "lead")]
    trained = [line for line in run.metrics or [] if "loss" in line]
    if early := [line["early"] for line in trained if "early" in line]:
        said.append(Text(f"At the beginning: {early[-1]}.", "bad"))
    if trained and (wrong := trained[-1].get("verdict")):
        said.append(Text(f"As training ended: {wrong}.", "bad"))
    return said


def results(run: Run) -> Section:
    """Show the tables of the evaluation."""
    title = "Results"
    if run.results is None:
        return Section(title, [missing("results.json", "there are no tables")])
    tables = [
        Table(table["title"], table["columns"], table["rows"], table["note"])
        for table in run.results.get("tables", [])
    ]
    unscored = missing("scores", "there are no tables", where="The evaluation")
    return Section(title, tables or [unscored])


def roc(run: Run) -> Section:
    """Show the ROC curves of the binary classifiers."""
    title = "ROC curves"
    if run.results is None:
        return Section(title, [missing("results.json", "no curve is drawn")])
    curves = {}
    for entry in run.results.get("roc", []):
        labels, scores = np.array(entry["labels"]), np.array(entry["scores"], float)
        area = auc(labels, scores)
        if not np.isnan(area):
            name = f"{entry['name']}, AUC {area:.3f}"
            curves[name] = roc_curve(labels, scores)[:2]
    if not curves:
        so = "no curve is drawn"
        scores = "scores of two classes on examples of both"
        return Section(title, [missing(scores, so, where="The evaluation")])
    picture = Picture(
        figures.uri(figures.roc(curves)),
        f"ROC curves: {'; '.join(curves)}.",
        "Every threshold's sensitivity against 1 - specificity, on the test examples; "
        "the dotted diagonal is chance.",
    )
    return Section(title, [Gallery([picture])])


def what_ran(run: Run) -> Section:
    """Show the command, the data and the machine."""
    title = "What ran"
    if run.run is None:
        return Section(title, [missing("run.json", "what ran is not known")])
    facts = run.run
    rows = [
        ["command", facts["command"]],
        ["started", facts["started"]],
        ["took", _duration(facts["seconds"])],
        ["parameters", facts["parameters"]],
        *facts["devices"].items(),
        *facts["durations"].items(),
    ]
    splits = [
        [
            split,
            data["count"],
            data["patients"],
            _counts(data["label_counts"]),
            data["repeated_frames"],
        ]
        for split, data in facts["data"].items()
    ]
    columns = ["split", "examples", "patients", "label: examples"]
    data = Table("Data", [*columns, "with repeated frames"], splits)
    versions = Table(
        "Versions", ["package", "version"], list(facts["versions"].items())
    )
    if said := facts.get("seen"):
        rows.append(["tested on what was seen before", without_folders(said)])
    rows = [[name, cell(value)] for name, value in rows]  # as text: to the left
    tables = [Table("Run", [], rows), data, versions]
    return Section(title, [table for table in tables if table.rows])


def curves(run: Run) -> Section:
    """Show what was logged, over the run."""
    title = "Training curves"
    if run.metrics is None:
        return Section(title, [missing("metrics.jsonl", "no curves are drawn")])
    pictures = training_curves(run.metrics)
    if not pictures:
        lacking = missing("number", "no curves are drawn", where="metrics.jsonl")
        return Section(title, [lacking])
    return Section(title, [Gallery(pictures)])


def views(run: Run) -> Section:
    """Show images as the network was fed them."""
    title = "Views fed to the network"
    if run.views is None:
        return Section(title, [missing("views.npz", "no views are shown")])
    if not run.views.keys() - {"source", "mask"}:  # tokens, patches, ...
        of_scans = missing(
            "view that is an image", "none are shown", where="The method"
        )
        return Section(title, [of_scans])
    return Section(title, [scan_grid(run.views)])


def predictions(run: Run) -> Section:
    """Show the first predictions."""
    title = "Predictions"
    if run.predictions is None:
        return Section(title, [missing("predictions.csv", "none are shown")])
    return Section(title, [_head("Predictions", "predictions.csv", run.predictions)])


def skipped(run: Run) -> Section:
    """Show what data could not be used."""
    title = "Data left out"
    if run.skipped is None or len(run.skipped) < 2:
        return Section(title, [Text("No file was skipped.")])
    return Section(title, [_head("Skipped files", "skipped.csv", run.skipped)])


def config(run: Run) -> Section:
    """Show the config, field by field as flags name them."""
    title = "Config"
    if run.config is None:
        return Section(title, [missing("config.json", "the config is not known")])
    rows = [
        [f"config.{name}", without_folders(str(value))]
        for name, value in _fields(run.config)
    ]
    table = Table("Fields, as flags set them", ["field", "value"], rows, tall=True)
    return Section(title, [table])


def _where_filled(section: Callable[[Run], Section]) -> Callable[[Run], Section | None]:
    """Leave a section that only says what is missing out of reports on cases.

    Segmented ones have no scores, and detected ones no embeddings, unless a second
    evaluator made them.
    """

    def made(run):
        found = section(run)
        only_words = all(isinstance(block, Text) for block in found.blocks)
        of_cases = run.cases is not None or run.detections is not None
        return None if only_words and of_cases else found

    return made


SECTIONS = [
    results,
    _where_filled(roc),
    operating,
    segmented,
    detected,
    reconstructed,
    attended,
    what_ran,
    curves,
    views,
    _where_filled(embedding),
    _where_filled(projection),
    _where_filled(predictions),
    skipped,
    config,
]


def _head(title: str, file: str, rows: Rows) -> Table:
    header, *rows = rows
    more = len(rows) - _ROWS
    note = f"{more:,} more rows in {file}." if more > 0 else ""
    return Table(title, header, rows[:_ROWS], note)


def _fields(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    fields = []
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        fields += (
            _fields(value, f"{prefix}{name}.") if nested else [(prefix + name, value)]
        )
    return fields


def _counts(counts: Mapping[str, int] | None) -> str:
    if not counts:
        return "unlabelled"
    return ", ".join(f"{label}: {count:,}" for label, count in counts.items())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "under 1 s"
