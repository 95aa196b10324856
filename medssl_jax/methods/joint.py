"""Joint: several tasks at once on one backbone; the loss is their weighted sum."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from pydantic import AfterValidator

from medssl_jax import resolve
from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.models.network import Network, starting_from
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Positive
from medssl_jax.views.compose import View

_FIELD = "method.tasks"
_NONE = (0, (), (0, 0))  # what a method says of what it does not have
_GIVEN = ("views", "durations", "axis_name", "dtype")
_SHARED = ("backbone", "batch_stats")  # what every task calls so


def _fitting(tasks):
    """Refuse tasks that there are not, and settings that are not theirs."""
    if not tasks:
        raise ConfigError(f"config.{_FIELD} is empty: name one method or more")
    for task, settings in tasks.items():
        settings, field = dict(settings), f"{_FIELD}.{task}"
        if "weight" not in settings:
            raise ConfigError(f"config.{field}.weight is missing: joint needs it")
        resolve.check_value(f"{field}.weight", settings.pop("weight"), Positive)
        given = dict.fromkeys(_GIVEN)
        resolve.check(field, functools.partial(_method(task), None, **given), settings)
    return tasks


def joint(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    tasks: Annotated[Mapping[str, Mapping[str, Any]], AfterValidator(_fitting)],
) -> base.Method:
    """Build one method of several, which share the backbone and nothing else.

    Each task makes its own views of an example, and passes through the backbone of its
    own, each with the batch statistics of that pass. The running statistics, which
    evaluation uses, are moved by the tasks in turn, in the order of their names. What
    one of them asks of data and batches, all do.

    What is a task's own has its name in front, as "rotation_head" of the parameters and
    "jigsaw_images" of the views; metrics have it behind, as "spread/rotation".

    Args:
      backbone: images (b, *s, c) -> Features.
      views: what the tasks take. They share them, but that one called "byol_first" is
        "first" to BYOL alone.
      durations: of the run.
      axis_name: devices over which tasks take what they take from a batch.
      dtype: of the heads' computation.
      tasks: by the name of a method, its settings, and the `weight` of its loss.

    Raises:
      ConfigError: if a task raises it, or keeps the backbone frozen; if tasks learn from
        different labels or masks, or rows of different turns.
    """
    names = sorted(tasks)  # as a ConfigDict has them

    def build(task, backbone):
        settings = dict(tasks[task])
        del settings["weight"]
        with _naming(task):
            method = _method(task)(
                backbone,
                views=views | _of(task, views),
                durations=durations,
                axis_name=axis_name,
                dtype=dtype,
                **settings,
            )
        return _in_its_name(task, method)

    members = {task: build(task, backbone) for task in names}

    def init(key, batch):
        params, aux, shared = {}, {"batch_stats": {}}, backbone
        for task, task_key in zip(
            names, jax.random.split(key, len(names)), strict=True
        ):
            more, its_aux = build(task, shared).init(task_key, batch)
            batch_stats = aux["batch_stats"] | its_aux["batch_stats"]
            params, aux = params | more, aux | its_aux | {"batch_stats": batch_stats}
            # the others' is what the first has drawn: a target has to be its copy
            shared = starting_from(backbone, base.backbone_variables(params, aux))
        return params, aux

    def make(key, example):
        made = {}
        keys = jax.random.split(key, len(names))
        for member, task_key in zip(members.values(), keys, strict=True):
            made |= member.views(task_key, example)
        return made

    def loss(params, aux, views, key, update):
        total, metrics = jnp.float32(0), {}
        keys, drawn = jax.random.split(key, len(names)), base.keys_of(views, len(names))
        for i, (task, member) in enumerate(members.items()):
            given = views if drawn is None else {**views, base.KEYS: drawn[i]}
            one, (aux, measured) = member.loss(params, aux, given, keys[i], update)
            total += tasks[task]["weight"] * one
            metrics |= measured
        return total, (aux, metrics)

    def after_update(params, aux, update):
        for member in members.values():
            params, aux = member.after_update(params, aux, update)
        return params, aux

    predicting = [member for member in members.values() if member.predict is not None]

    def predict(params, aux, images):
        found = {}
        for member in predicting:
            found |= member.predict(params, aux, images)
        return found

    def decide(told):
        for member in predicting:
            told = member.decide(told)
        return told

    def early(metrics):
        return "; ".join(filter(None, (m.early(metrics) for m in members.values())))

    def verdict(metrics):
        return "; ".join(filter(None, (m.verdict(metrics) for m in members.values())))

    taken = dict.fromkeys(m.in_batch for m in members.values() if m.in_batch)
    return base.Method(
        init,
        make,
        loss,
        after_update,
        base.backbone_variables,
        predict if predicting else None,
        decide,
        in_batch=" and ".join(taken),
        strangers=any(member.strangers for member in members.values()),
        patches=all(member.patches for member in members.values()),
        modalities=_agreed(members, "modalities") or (),
        frozen={k: n for m in members.values() for k, n in m.frozen.items()},
        learns=_agreed(members, "learns") or (0, 0),
        columns=max(member.columns for member in members.values()),
        planes=any(member.planes for member in members.values()),
        heads={k: v for m in members.values() for k, v in m.heads.items()},
        ordered=any(member.ordered for member in members.values()),
        boxes=_agreed(members, "boxes") or 0,
        voxels=_agreed(members, "voxels") or base.Voxels(0, 0),
        early=early,
        verdict=verdict,
    )


def _in_its_name(task: str, method: base.Method) -> base.Method:
    """Return the method with its name on what is its own, among that of others."""
    if "backbone" in method.frozen:
        raise ConfigError(
            f"config.{_FIELD}.{task} keeps the backbone frozen at first, which other "
            "tasks train: set frozen_epochs to 0"
        )
    say = _naming(task)

    def its_own(params, aux):
        shared, stats = (
            {"backbone": x["backbone"]} for x in (params, aux["batch_stats"])
        )
        stats |= _of(task, aux["batch_stats"])
        return shared | _of(task, params), _of(task, aux) | {"batch_stats": stats}

    def named(params, aux):
        stats = _named(task, aux["batch_stats"])
        return _named(task, params), _named(task, aux) | {"batch_stats": stats}

    def among(params, aux, of_params, of_aux):
        of_params, of_aux = named(of_params, of_aux)
        stats = {**aux["batch_stats"], **of_aux["batch_stats"]}
        return {**params, **of_params}, {**aux, **of_aux, "batch_stats": stats}

    @say
    def init(key, batch):
        return named(*method.init(key, batch))

    @say
    def make(key, example):
        return _named(task, method.views(key, example))

    @say
    def loss(params, aux, views, key, update):
        given = {k: x for k, x in views.items() if k == base.KEYS} | _of(task, views)
        own = its_own(params, aux)
        one, (after, metrics) = method.loss(*own, given, key, update)
        _, aux = among(params, aux, own[0], after)
        metrics = {"loss": one, **metrics}
        return one, (aux, {f"{what}/{task}": x for what, x in metrics.items()})

    def after_update(params, aux, update):
        moved = method.after_update(*its_own(params, aux), update)
        return among(params, aux, *moved)

    def predict(params, aux, images):
        return method.predict(*its_own(params, aux), images)

    def in_words(tell):
        def told(metrics):
            end = f"/{task}"
            own = {
                k.removesuffix(end): x for k, x in metrics.items() if k.endswith(end)
            }
            text = tell(own)
            return f"{task}: {text}" if text else ""

        return told

    return method._replace(
        init=init,
        views=make,
        loss=loss,
        after_update=after_update,
        predict=predict if method.predict else None,
        frozen=_named(task, method.frozen),
        early=in_words(method.early),
        verdict=in_words(method.verdict),
    )


def _named(task, parts):
    """Put a task's name before what is its own."""
    return {k if k in _SHARED else f"{task}_{k}": part for k, part in parts.items()}


def _of(task, parts):
    """Return what is a task's own, without its name."""
    start = f"{task}_"
    return {k.removeprefix(start): x for k, x in parts.items() if k.startswith(start)}


def _agreed(members, field):
    """Return what tasks say of a field, those that do; they have to say the same."""
    said = {task: getattr(member, field) for task, member in members.items()}
    said = {task: value for task, value in said.items() if value not in _NONE}
    if len(set(said.values())) > 1:
        plain = {t: v if isinstance(v, int) else tuple(v) for t, v in said.items()}
        each = ", ".join(f"{task} {value}" for task, value in plain.items())
        raise ConfigError(
            f"config.{_FIELD} differ in {field}: {each}; the data has but one of them"
        )
    return next(iter(said.values()), None)


def _method(task):
    try:
        return resolve.factory("medssl_jax.methods", task)
    except ConfigError as error:
        raise ConfigError(f"config.{_FIELD}: {error}") from None


@contextlib.contextmanager
def _naming(task):
    """Name the task in what it refuses."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"config.{_FIELD}.{task}: {error}") from None
