"""What an evaluator is, and what it is given."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, PyTree

from medssl_jax.data.host import Prepare
from medssl_jax.data.pipeline import DrawRecord, eval_batches
from medssl_jax.data.source import Source, Subset, is_labelled
from medssl_jax.errors import ConfigError
from medssl_jax.methods.base import Method


class Context(NamedTuple):
    """The run that an evaluator looks at.

    predict: (params, aux, host images) -> what the method predicts, by name, where it
      has labels.
    sources: by role ("train", and what `config.splits` names).
    prepare, draw: bring a record to [0, 1], and that to the shape of the batch, without
      chance; sources are prepared already.
    spec: what `encoder.Encoder` takes beside the variables.
    untrained: variables of the backbone as they were before the first update;
      `init_from` is where they came from, "" for random weights.
    workdir: where tables of examples are written.
    """

    method: Method
    predict: Callable[[PyTree, PyTree, np.ndarray], Mapping[str, np.ndarray]] | None
    sources: Mapping[str, Source]
    prepare: Prepare
    draw: DrawRecord
    batch_size: int
    spec: Mapping[str, Any]
    untrained: Callable[[], PyTree]
    workdir: Path
    seed: int
    init_from: str = ""


ENCODERS = ("untrained", "pretrained")


class FrozenFeatures(NamedTuple):
    """Labelled examples to learn from and to test on, and both encoders' features."""

    train: Source
    test: Source
    train_features: Mapping[str, np.ndarray]
    test_features: Mapping[str, np.ndarray]
    seed: int


class Evaluator(NamedTuple):
    """Two functions of (params, aux), and what is known of them before.

    during: scalars at every checkpoint; the best checkpoint is that of the lowest
      "validation_loss", where there is one.
    final: what results.json holds: `headline`, `tables`, `roc`, `curves` (title, note,
      labels of axes and lines of x and y), `floor` (the AUC of plain pixels, or None),
      `collapse`; where there is the last, the headline has its verdict in words, and
      `embedded_examples` counts what it was measured on.
    lacking: what the data cannot support, a line each, to be said before training.
    """

    during: Callable[[PyTree, PyTree], dict[str, float]]
    final: Callable[[PyTree, PyTree], dict[str, Any]]
    lacking: tuple[str, ...] = ()


def together(evaluators: Sequence[Evaluator]) -> Evaluator:
    """Return one evaluator of several: their headlines, tables and curves on end."""

    def during(params, aux):
        return _merged([one.during(params, aux) for one in evaluators])

    def final(params, aux):
        return _merged([one.final(params, aux) for one in evaluators])

    return Evaluator(during, final, sum((one.lacking for one in evaluators), ()))


def _merged(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in (item for one in found for item in one.items()):
        if name not in merged:
            merged[name] = value
        elif name == "headline":
            merged[name] = f"{merged[name]} {value}"
        elif name in ("tables", "roc", "curves"):
            merged[name] = [*merged[name], *value]
        elif name == "values" and not merged[name].keys() & value.keys():
            merged[name] = {**merged[name], **value}
        else:
            raise ConfigError(
                f"config.evaluation has two evaluators that tell {name}; keep one"
            )
    return merged


def apply_to_all(
    function: Callable[[np.ndarray], Any], source: Source, draw: DrawRecord, size: int
) -> Float[np.ndarray, "n k"]:
    """Return function's rows (b, k) for all examples of `source`, in order."""
    parts = [
        np.asarray(function(batch["image"]))[: len(batch["index"])]
        for batch in eval_batches(source, draw, size=size)
    ]
    return np.concatenate(parts)


def labelled(source: Source | None) -> Source | None:
    """Return the labelled examples of a source, or None where there are none.

    Of findings, those with at least one that is known.
    """
    if source is None or source.labels is None:
        return None
    known = np.flatnonzero(is_labelled(np.asarray(source.labels)))
    return Subset(source, known) if len(known) else None


def class_count(*sources: Source) -> int:
    """Return how many classes the labels (n,) of the sources name, at least two."""
    return max(2, *(1 + int(np.max(source.labels)) for source in sources))
