"""What a run is worth on its validation examples: choices are made by them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssl_jax import resolve
from medssl_jax.errors import ConfigError, Diverged
from medssl_jax.evals.base import Context, Evaluator, together


def validation(context: Context, *, of: Sequence[Mapping[str, Any]]) -> Evaluator:
    """Build other evaluators' validation alone: the test examples are never read.

    Args:
      of: `name` and settings of each evaluator, as `config.evaluation` has them.

    Raises:
      ConfigError: if none of them has a validation loss.
      Diverged: while it runs, if predictions are not finite.
    """
    context = context._replace(predict=_finite(context.predict))
    parts = [
        resolve.named(f"evaluation.of[{i}]", "medssl_jax.evals", one, context)
        for i, one in enumerate(of)
    ]
    during, _, lacking = together(parts)

    def final(params, aux):
        values = during(params, aux)
        if "validation_loss" not in values:
            names = ", ".join(repr(one["name"]) for one in of)
            raise ConfigError(f"evaluation {names} has no validation loss")
        count = len(context.sources["validation"])
        table = {
            "title": "Validation",
            "note": f"{count} examples, at the lowest validation loss; the test "
            "examples were not looked at.",
            "columns": ["metric", "value"],
            "rows": [[_plain(name), value] for name, value in values.items()],
        }
        return {
            "headline": f"Validation loss {values['validation_loss']:.4g}.",
            "tables": [table],
            "roc": [],
            "values": {name: {"value": value} for name, value in values.items()},
        }

    return Evaluator(during, final, lacking)


def _finite(predict):
    def checked(params, aux, images):
        found = predict(params, aux, images)
        if not all(np.isfinite(array).all() for array in found.values()):
            raise Diverged("the predictions on validation examples are not finite")
        return found

    return checked


def _plain(name: str) -> str:
    return name.removeprefix("validation_")
