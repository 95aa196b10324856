"""A fine-tuned model outlives its run: files, and back to a callable."""

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from medssl_jax import resolve
from medssl_jax.data.boxes_back import in_file
from medssl_jax.data.host import HostTransform, check
from medssl_jax.data.source import Record
from medssl_jax.errors import ConfigError
from medssl_jax.evals.whole import segmented
from medssl_jax.methods.base import Method, Voxels
from medssl_jax.optim.durations import Durations
from medssl_jax.saved import export, fit
from medssl_jax.saved.encoder import backbone
from medssl_jax.step.state import to_unit
from medssl_jax.views.compose import compose

_AT_ONCE = 2  # windows


class Predictor:
    """Backbone, head and the deterministic view that they expect.

    Calling it maps images (b, *s, c), uint8 or floats in [0, 1], to what the task
    predicts, by name: "probability" (b, classes or findings), "mask" (b, *s, classes)
    probabilities, "boxes" (b, m, 2 n) as fractions of the image that the network sees,
    their "score" and "kind" (b, m), -1 where there is none; of heads beside the task's
    own "NAME_probability" (b, findings or slices of what the network sees). `spec` is that of an
    encoder, with `method` (the task, its classes), `evaluation` (how its run was
    tested), `label_names` of findings, `label_classes`, `kind_names` of boxes and
    `class_names` of masks, where they are known; and `members` of an ensemble, whose
    leaves have one axis more, in front.
    """

    def __init__(self, params: PyTree, aux: PyTree, spec: Mapping[str, Any]):
        self.params, self.aux = params, aux
        self.spec = dict(spec)
        members = spec.get("members", 1)
        self._predict = _predict(
            json.dumps([spec["model"], spec["view"], spec["method"], members])
        )

    def __call__(self, images) -> dict[str, jax.Array]:
        images = fit.unit_images(images, self.spec)
        return self._predict(self.params, self.aux, images)

    @property
    def host(self) -> HostTransform:
        """How records were brought to what the network was fed with."""
        return fit.host_of(self.spec)

    @property
    def parameters(self) -> int:
        """How many numbers were trained, those of all members."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def voxels(self) -> Voxels:
        """What it tells the voxels of an image apart into; zeros if it does not."""
        return method_of(self.spec).voxels

    def of_record(self, record: Record, name: str = "an image") -> dict[str, Any]:
        """Predict one image as a file has it, whole.

        Args:
          record: `image` (*s, c) in the file's unit, and `spacing_mm` where the model was
            trained at a spacing; or {"image": ...} of an array.
          name: for errors.

        Returns:
          "mask": (*s,) classes, or (*s, k) regions, on the image's own grid, where the
          model segments; where it detects, "boxes" (m, 2 n) in voxels of the image, low
          corner, then high, their "score" and "kind" (m,), the likeliest first; else
          "probability" (k,).

        Raises:
          ConfigError: if the record has no spacing, and the model needs it.
          DataError: if the image cannot be used.
        """
        host = self.host
        prepared = host.prepare(check(record, name), name)
        if not any(self.voxels):
            image = host.draw(prepared, None)["image"]
            found = {name: np.asarray(x[0]) for name, x in self(image[None]).items()}
            if "boxes" not in found:
                return found
            there = found["kind"] >= 0
            found |= {name: found[name][there] for name in ("boxes", "score", "kind")}
            grids = record, prepared, host.prepare, host.draw
            return found | {"boxes": in_file(found["boxes"], *grids, name)}
        judged = {one["name"]: one for one in self.spec["evaluation"]}["segment"]
        mask = segmented(
            lambda images: np.asarray(self(images)["mask"]),
            record,
            prepared["image"],
            host.prepare,
            tile=host.shape,
            batch_size=_AT_ONCE,
            step=judged["step"],
            mirror=judged["mirror"],
            overlapping=self.voxels.regions > 0,
        )
        return {"mask": mask}

    def save(self, folder: Path) -> None:
        """Write weights.safetensors and predictor.json into `folder`."""
        variables = {"params": self.params, "aux": self.aux}
        export.write(folder, "predictor", variables, self.spec)


def load_predictor(path: str | Path) -> Predictor:
    """Load the predictor of a fine-tuned run, or a predictor's own folder.

    Raises:
      DataError: if there is none, its files are damaged or of another version, or the
        weights are not those of the model that it describes.
    """
    variables, spec, described = export.read(Path(path), "predictor")
    fit.check(described, spec, variables, _init)
    no_statistics = {"batch_stats": {"backbone": {}}}  # of a network without any
    return Predictor(variables["params"], variables.get("aux", no_statistics), spec)


def together(predictors: Mapping[str, Predictor]) -> Predictor:
    """Return the ensemble of several, which predicts the mean of what they do.

    Raises:
      ConfigError: naming it, if one is of another model, task or way to see an image
        than the first, or is an ensemble itself.
    """
    (first_name, first), *_ = predictors.items()
    alike = ("model", "view", "host", "method", "channels")
    alike += ("label_names", "label_classes", "kind_names")
    for name, other in predictors.items():
        if "members" in other.spec:
            raise ConfigError(f"{name} is an ensemble: name the runs that it is of")
        for field in alike:
            if other.spec.get(field) != first.spec.get(field):
                raise ConfigError(
                    f"{name} has another {field} than {first_name}: an ensemble is of "
                    "runs that differ in their seed, or in what they started from"
                )
    weights = [(one.params, one.aux) for one in predictors.values()]
    params, aux = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights)
    return Predictor(params, aux, first.spec | {"members": len(predictors)})


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


def predict_of(method: Method, members: int = 1) -> Callable:
    """Return (params, aux, host images) -> what is predicted, by an ensemble too.

    Its members predict one after the other: in the memory of one.
    """

    def one(params, aux, images):
        return method.predict(params, aux, to_unit(images))

    def mean(params, aux, images):
        each = jax.lax.map(lambda weights: one(*weights, images), (params, aux))
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), each)

    told = one if members == 1 else mean
    return jax.jit(lambda *arguments: method.decide(told(*arguments)))


def _init(spec: Mapping[str, Any], image: jax.Array) -> PyTree:
    params, aux = method_of(spec).init(jax.random.key(0), {"image": image[None]})
    variables = {"params": params, "aux": aux}
    if (members := spec.get("members", 1)) == 1:
        return variables
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * members), variables)


@functools.cache
def _predict(key: str) -> Callable:
    """Compile once for every predictor of one architecture, view and task."""
    model, view, method, members = json.loads(key)
    return predict_of(
        method_of({"model": model, "view": view, "method": method}), members
    )
