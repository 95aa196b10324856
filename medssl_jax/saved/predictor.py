"""A fine-tuned model outlives its run: files, and back to a callable."""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from medssl_jax import resolve
from medssl_jax.methods.base import Method
from medssl_jax.optim.durations import Durations
from medssl_jax.saved import export
from medssl_jax.saved.encoder import backbone
from medssl_jax.step.state import to_unit
from medssl_jax.views.compose import compose


class Predictor:
    """Backbone, head and the deterministic view that they expect.

    Calling it maps images (b, *s, c), uint8 or floats in [0, 1], to what the task
    predicts, by name: "probability" (b, classes or findings), "mask" (b, *s, classes)
    probabilities, all float32. `spec` is that of an encoder, with `method` (the task,
    its classes), `evaluation` (how its run was tested) and `label_names` of findings.
    """

    def __init__(self, params: PyTree, aux: PyTree, spec: Mapping[str, Any]):
        self.params, self.aux = params, aux
        self.spec = dict(spec)
        self._predict = _predict(
            json.dumps([spec["model"], spec["view"], spec["method"]])
        )

    def __call__(self, images) -> dict[str, jax.Array]:
        return self._predict(self.params, self.aux, images)

    def save(self, folder: Path) -> None:
        """Write weights.safetensors and predictor.json into `folder`."""
        variables = {"params": self.params, "aux": self.aux}
        export.write(folder, "predictor", variables, self.spec)


def load_predictor(path: str | Path) -> Predictor:
    """Load the predictor of a fine-tuned run, or a predictor's own folder.

    Raises:
      DataError: if there is none, or its files are damaged or of another version.
    """
    variables, spec = export.read(Path(path), "predictor")
    no_statistics = {"batch_stats": {"backbone": {}}}  # of a network without any
    return Predictor(variables["params"], variables.get("aux", no_statistics), spec)


def method_of(spec: Mapping[str, Any]) -> Method:
    """Build the task that a predictor was trained for, to predict with."""
    settings = dict(spec["method"])
    factory = resolve.factory("medssl_jax.methods", settings.pop("name"))
    view = compose(spec["view"])
    return factory(
        backbone(spec["model"], dtype=jnp.float32, axis_name=None),
        views={"first": view, "eval": view},
        durations=Durations(examples=1, batch_size=1, micro_batch_size=1, epochs=1),
        axis_name=None,
        dtype=jnp.float32,
        **settings,
    )


@functools.cache
def _predict(key: str) -> Callable:
    """Compile once for every predictor of one architecture, view and task."""
    model, view, method = json.loads(key)
    predict = method_of({"model": model, "view": view, "method": method}).predict
    return jax.jit(lambda p, aux, images: predict(p, aux, to_unit(images)))
