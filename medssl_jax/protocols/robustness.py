"""How far what models say of images moves when these are transformed."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.data import settings
from medssl_jax.data.order import roles
from medssl_jax.data.source import Source, Subset
from medssl_jax.errors import ConfigError
from medssl_jax.methods.base import Method
from medssl_jax.protocols import deviations, outcome
from medssl_jax.protocols.deviations import Images, Moved
from medssl_jax.protocols.experiment import keep_compiled
from medssl_jax.protocols.transformed import Transforms, composed, told
from medssl_jax.ranges import Count, Seed
from medssl_jax.run import provenance
from medssl_jax.saved import fit
from medssl_jax.saved.predictor import Predictor, load_predictor, method_of

_FIELDS = {
    "seed": Seed,
    "models": Sequence[str],
    "finding": str,
    "images": Count,
    "draws": Count,
    "batch_size": Count,
}
# of `data.host.HostTransform`: what an image is when a model is given it
_SEEN = (
    *("shape", "frames", "spacing_mm", "resize", "longest_side", "crop_to_body"),
    *("window", "percentiles", "window_hu"),
)


def run(config: ConfigDict, workdir: Path) -> None:
    """Transform images of `config.data` by each of `config.views`; see what p does.

    Every one of `config.models` is given the same `config.images` images, drawn at
    random, and the same `config.draws` transforms of each. An image is brought to
    [0, 1] as for the models' training, then transformed. What an earlier start left is
    not made again. Writes probabilities.csv, results.json and report.html.

    Raises:
      ConfigError: if a view is unknown or changes no image; if there are no models or
        images, or models segment, or are not given the same images and asked the same.
      DataError: if a model or the data cannot be used.
    """
    began = time.time()
    resolve.fields(config, _FIELDS)
    views = _views(config)
    models = _models(config.models)
    first = next(iter(models.values()))
    asked_for = _probability(first, config.finding)
    data = settings.following(provenance.plain(config.data), first.spec)
    source = roles.whole(data, first.host.prepare, workdir)
    if jax.process_index() != 0:
        return
    keep_compiled(workdir)
    drawn = _drawn(source, config.images, config.seed)
    asked = Transforms(
        _images(drawn, first),
        drawn.indices,
        config.draws,
        config.seed,
        config.batch_size,
    )
    each = {
        name: told(model, asked, views, workdir / "kept", name)
        for name, model in models.items()
    }
    moved = {
        view: {name: asked_for.of(*found[view]) for name, found in each.items()}
        for view in views
    }
    images = Images([drawn.name(i) for i in range(len(drawn))], drawn.patients)
    results = deviations.summarise(moved, images, of=asked_for.words, seed=config.seed)
    _write(workdir / "probabilities.csv", moved, images, asked_for.findings)
    facts = {"data": {"transformed": provenance.summary(drawn)}}
    outcome.finish(config, workdir, results, facts, began)


class _Probability(NamedTuple):
    """Which of a model's numbers are looked at.

    findings: their names; () of a single one.
    of: (before (n, j), after (n, m, j)) of all numbers -> those.
    """

    words: str
    findings: Sequence[str]
    of: Callable[[np.ndarray, np.ndarray], Moved]


def _views(config: ConfigDict) -> dict[str, Mapping[str, Any]]:
    views = provenance.plain(config.views)
    resolve.check_value("views", views, Mapping[str, Mapping[str, Mapping[str, Any]]])
    if not views:
        raise ConfigError("config.views is empty; give it a view or more, by name")
    for name, ops in views.items():
        composed(name, ops)
    return views


def _models(stated: Sequence[str]) -> dict[str, Predictor]:
    """Load "RUN" or "NAME=RUN" entries; without a name, RUN is called as its folder."""
    models: dict[str, Predictor] = {}
    for entry in stated:
        name, equals, path = entry.partition("=")
        if not equals:
            name, path = Path(entry).name, entry
        if not name or not path or name in models:
            raise ConfigError(
                f"config.models has {entry!r}: write RUN or NAME=RUN, each name once"
            )
        models[name] = load_predictor(path)
    if not models:
        raise ConfigError("config.models is empty; list fine-tuned runs, NAME=RUN")
    _check_alike(models)
    return models


def _check_alike(models: Mapping[str, Predictor]) -> None:
    """Refuse models that segment, are given other images, or are asked something else."""
    (first_name, first), *_ = models.items()
    for name, model in models.items():
        if any(model.voxels):
            raise ConfigError(
                f"config.models: {name} segments, and tells no probability of a case; "
                "name classifiers or detectors"
            )
        mine, theirs = _known(model), _known(first)
        for field in mine:
            if mine[field] != theirs[field]:
                raise ConfigError(
                    f"config.models: {name} has {field} {mine[field]}, {first_name} "
                    f"{theirs[field]}; models are set side by side on the same images "
                    "and the same question"
                )


def _known(model: Predictor) -> dict[str, Any]:
    """Return what models share that are given the same images and asked the same."""
    method, host = method_of(model.spec), vars(model.host)
    classes, findings = method.learns
    return {
        **{f"data.{field}": host[field] for field in _SEEN},
        "channels": model.spec.get("channels", 1),
        "kinds of boxes": method.boxes,
        "classes": classes,
        "findings": model.spec["label_names"] or findings,
    }


def _probability(model: Predictor, finding: str) -> _Probability:
    """Return what is asked for: of several findings `finding`, or all of them for ""."""
    method = method_of(model.spec)
    names = _findings(model, method)
    if finding and finding not in names:
        known = ", ".join(names) or "none, for the models tell no findings"
        raise ConfigError(f"config.finding {finding!r} is unknown; known: {known}")
    if method.boxes:
        return _Probability("score of the likeliest box", (), Moved)
    if names:
        chosen = [finding] if finding else names
        at = [names.index(name) for name in chosen]
        words = f"probability of {finding or 'each finding'}"
        return _Probability(words, chosen, lambda p, q: Moved(p[:, at], q[..., at]))
    if method.learns[0] == 2:
        words = "probability of class 1"
        return _Probability(words, (), lambda p, q: Moved(p[:, 1:], q[..., 1:]))
    words = "probability of the class that the untransformed image is given most"
    return _Probability(words, (), _of_the_likeliest)


def _findings(model: Predictor, method: Method) -> Sequence[str]:
    count = method.learns[1]
    numbered = [f"finding {j}" for j in range(count)]
    return list(model.spec["label_names"] or numbered) if count else []


def _of_the_likeliest(before, after) -> Moved:
    likeliest = before.argmax(axis=1)[:, None]
    return Moved(
        np.take_along_axis(before, likeliest, axis=1),
        np.take_along_axis(after, likeliest[:, None], axis=2),
    )


def _drawn(source: Source, count: int, seed: int) -> Subset:
    """Draw so many examples, in the source's order; all, where there are fewer."""
    if not len(source):
        raise ConfigError("config.data has no image to transform")
    random = np.random.default_rng(seed)
    places = random.choice(len(source), min(count, len(source)), replace=False)
    return Subset(source, np.sort(places))


def _images(source: Source, model: Predictor) -> np.ndarray:
    """Return all images as the model is given them, without what lies beside them."""
    alone = ({"image": source[i]["image"]} for i in range(len(source)))
    images = np.stack([model.host.draw(record, None)["image"] for record in alone])
    return fit.unit_images(images, model.spec)


def _write(
    path: Path,
    moved: Mapping[str, Mapping[str, Moved]],
    images: Images,
    findings: Sequence[str],
) -> None:
    """Write a row for each image and draw, 0 the image as it is, a column a model."""
    rows = []
    patients = images.patients or [""] * len(images.names)
    for view, by_model in moved.items():
        each = [
            np.concatenate([one.before[:, None], one.after], axis=1)
            for one in by_model.values()
        ]
        for i, draw, k in np.ndindex(each[0].shape):
            about = [view, images.names[i], patients[i], draw]
            finding = [findings[k]] if findings else []
            rows.append([*about, *finding, *(f"{p[i, draw, k]:.6g}" for p in each)])
    beside = ["finding"] if findings else []
    columns = ["view", "name", "patient", "draw", *beside]
    columns += [f"probability {name}" for name in next(iter(moved.values()))]
    files.write_csv(path, columns, rows)
