"""A fine-tuned classifier on another source, without training."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.data import relabel, settings
from medssl_jax.data.order import roles
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, labelled
from medssl_jax.evals.classify import classify
from medssl_jax.protocols import outcome
from medssl_jax.ranges import Count, Seed
from medssl_jax.run import provenance
from medssl_jax.saved.predictor import Predictor, load_predictor, method_of

_HERE = "test"


def run(config: ConfigDict, workdir: Path) -> None:
    """Test the classifier `config.init_from` on every example of `config.data`.

    Writes results.json, predictions.csv and report.html as a fine-tuning run does.

    Raises:
      ConfigError: if the labels are none, or not those of the classifier.
      DataError: if the classifier or the data cannot be used.
    """
    began = time.time()
    resolve.fields(config, {"batch_size": Count, "seed": Seed})
    if not config.init_from:
        raise ConfigError("config.init_from is empty; name a fine-tuned run's folder")
    classifier = load_predictor(config.init_from)
    host = classifier.host
    data = settings.following(provenance.plain(config.data), classifier.spec)
    opened = roles.whole(data, host.prepare, workdir)
    source = _matched(opened, config, classifier)
    if jax.process_index() != 0:
        return
    context = Context(
        method=method_of(classifier.spec),
        predict=lambda params, aux, images: classifier(images),
        sources={_HERE: source},  # nothing is trained or selected
        prepare=host.prepare,
        draw=host.draw,
        batch_size=config.batch_size,
        spec=classifier.spec,
        untrained=lambda: None,
        workdir=workdir,
        seed=config.seed,
    )
    results = classify(context).final(classifier.params, classifier.aux)
    results = dict(results, tables=[*results["tables"], *_at_home(config, results)])
    facts = {
        "data": {_HERE: provenance.summary(source)},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(classifier.params)),
    }
    outcome.finish(config, workdir, results, facts, began)


def _matched(source: Source, config: ConfigDict, classifier: Predictor) -> Source:
    """Return the labelled examples, labelled as the classifier's are."""
    if labelled(source) is None:
        raise ConfigError(
            "config.data has no labels to test with; give it some, or write features "
            "with configs/features.py"
        )
    classes, to_tell = method_of(classifier.spec).learns  # one is 0
    kinds = "one class for each example", "several findings"
    here = np.ndim(source.labels) == 2
    if here != bool(to_tell):
        text = f"config.data has {kinds[here]}, the classifier {kinds[not here]}"
        raise ConfigError(text)
    if to_tell:
        wanted = classifier.spec["label_names"]
        matched = relabel.findings(source, source.label_names, wanted)
    else:
        matched = relabel.classes(source, config.relabel, classes)
    found = labelled(matched)
    if found is None:
        raise ConfigError(f"config.relabel {config.relabel} leaves out every example")
    return found


def _at_home(config: ConfigDict, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table of the run's own test beside this one, where the run has it."""
    path = Path(config.init_from) / "results.json"
    if not path.exists():
        return []
    own = files.read_json(path).get("values", {})
    shared = [name for name in results["values"] if name in own]
    rows = [
        [name, own[name]["value"], results["values"][name]["value"]] for name in shared
    ]
    return [
        {
            "title": "At home and here",
            "note": f"Home is the test of {path.parent.name}; other patients, so the "
            "two are not paired.",
            "columns": ["metric", "at home", "here"],
            "rows": rows,
        }
    ]
