"""What a run is worth on its validation examples: choices are made by them."""

from typing import Any

import numpy as np

from medssl_jax import resolve
from medssl_jax.errors import ConfigError, Diverged
from medssl_jax.evals.base import Context, Evaluator


def validation(context: Context, *, of: dict[str, Any]) -> Evaluator:
    """Build another evaluator's validation alone: the test examples are never read.

    Args:
      of: `name` and settings of the evaluator whose validation it is.

    Raises:
      ConfigError: if that evaluator has no validation loss.
      Diverged: while it runs, if predictions are not finite.
    """
    settings = dict(of)
    factory = resolve.factory("medssl_jax.evals", settings.pop("name"))
    during = factory(
        context._replace(predict=_finite(context.predict)), **settings
    ).during

    def final(params, aux):
        values = during(params, aux)
        if "validation_loss" not in values:
            raise ConfigError(f"evaluation {of['name']!r} has no validation loss")
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

    return Evaluator(during, final)


def _finite(predict):
    def checked(params, aux, images):
        p = np.asarray(predict(params, aux, images))
        if not np.isfinite(p).all():
            raise Diverged("the predictions on validation examples are not finite")
        return p

    return checked


def _plain(name: str) -> str:
    return name.removeprefix("validation_")
