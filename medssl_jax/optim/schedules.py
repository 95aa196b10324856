"""Schedules over optimizer updates: learning rates, weight decay, BYOL's tau."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from medssl_jax import resolve
from medssl_jax.errors import ConfigError
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import NotNegative, Share

Schedule = Callable[..., Float[Array, ""] | float]


class LearningRate(NamedTuple):
    """A schedule over optimizer updates, and its factors: `peak` times `over`."""

    peak: float
    over: Schedule

    def __call__(self, update):
        return self.peak * self.over(update)


def byol_tau(base: float, updates: int) -> Schedule:
    """Return BYOL's target decay over updates: from `base` at 0 to 1 at `updates`.

    Source: arXiv:2006.07733, sec. 3.1: 1 - (1 - base) (cos(pi k / K) + 1) / 2.
    """
    one_minus_tau = optax.cosine_decay_schedule(1.0 - base, updates)
    return lambda update: 1.0 - one_minus_tau(jnp.asarray(update, float))


def weight_decay(
    durations: Durations, setting: float | Mapping[str, float]
) -> float | Schedule:
    """Return what `config.optimizer.weight_decay` means: a number, or a schedule.

    A mapping with `start` and `end` is half a cosine from the one, at the first update,
    to the other, at the end of the run.

    Raises:
      ConfigError: for other fields, and numbers that no decay can have.

    Source: DINO, arXiv:2104.14294, section 3.2.
    """
    field = "config.optimizer.weight_decay"
    if not isinstance(setting, Mapping):
        return not_negative(field, setting)
    if set(setting) != {"start", "end"}:
        has = ", ".join(sorted(setting)) or "no fields"
        raise ConfigError(f"{field} has {has}; it takes a number, or start and end")
    start = not_negative(f"{field}.start", setting["start"])
    end = not_negative(f"{field}.end", setting["end"])
    fall = optax.cosine_decay_schedule(start - end, durations.updates)
    return lambda update: end + fall(jnp.asarray(update, float))


def not_negative(field: str, number: float) -> float:
    """Return the number; ConfigError with the field's name unless it is 0 or more."""
    if not 0 <= number < math.inf:
        raise ConfigError(f"{field} is {number}; use a number, 0 or more")
    return number


def schedule(
    durations: Durations,
    *,
    name: str,
    peak: NotNegative,
    scaling: str = "none",
    **settings,
) -> LearningRate:
    """Build the learning-rate schedule `name` over optimizer updates.

    `scaling` is what `peak`, `start` and `end` are multiplied by: 1 ("none"),
    batch_size / 256 ("linear") or the square root of batch_size ("sqrt", where .075 is
    usual for `peak`).

    Source: SimCLR, arXiv:2002.05709, section 2.2 and app. B.1.
    """
    known = {
        "cosine": _cosine,
        "multistep": _multistep,
        "per_epoch": _per_epoch,
        "swav": _swav,
    }
    if name not in known:
        raise ConfigError(
            f"schedule.name {name!r} is unknown; known: {', '.join(sorted(known))}"
        )
    factors = {
        "none": 1.0,
        "linear": durations.batch_size / 256,
        "sqrt": math.sqrt(durations.batch_size),
    }
    if scaling not in factors:
        raise ConfigError(
            f"schedule.scaling {scaling!r} is unknown; known: {', '.join(factors)}"
        )
    rates = {"peak": peak} | {
        field: settings.pop(field) for field in ("start", "end") if field in settings
    }
    unit = peak if peak > 0 else 1.0
    rates = {field: rate / unit for field, rate in rates.items()}
    make = functools.partial(known[name], durations)
    over = resolve.call("schedule", make, rates | settings, part=name)
    return LearningRate(unit * factors[scaling], over)


def _cosine(
    durations: Durations, *, peak: NotNegative, warmup_epochs: NotNegative
) -> Schedule:
    """Rise linearly from 0 to `peak`, then fall to 0 along half a cosine."""
    return warmup_cosine(peak, durations.to_updates(warmup_epochs), durations.updates)


def warmup_cosine(peak: float, warmup_updates: int, updates: int) -> Schedule:
    """Rise linearly from 0 to `peak`, then fall to 0 at `updates` along a cosine.

    Source: BYOL, arXiv:2006.07733, app. J.
    """
    _check_fits(warmup_updates, updates)
    if warmup_updates == 0:
        return optax.cosine_decay_schedule(peak, updates)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_updates, updates)


def _swav(
    durations: Durations,
    *,
    peak: NotNegative,
    start: NotNegative,
    end: NotNegative,
    warmup_epochs: NotNegative,
) -> Schedule:
    """Rise linearly from `start` to `peak`, then fall to `end` along half a cosine.

    Not `_cosine`, whose warm-up reaches `peak` with the first update after it: here the
    warm-up's last update has it already, as in SwAV's public code. `start` is not used
    where warmup_epochs is 0.

    Source: arXiv:2006.09882, app. A.1.
    """
    warmup = durations.to_updates(warmup_epochs)
    _check_fits(warmup, durations.updates)
    fall = optax.cosine_decay_schedule(peak - end, durations.updates - warmup)
    rise = optax.linear_schedule(start, peak, warmup - 1)
    return optax.join_schedules([rise, lambda update: end + fall(update)], [warmup])


def _check_fits(warmup_updates: int, updates: int) -> None:
    if not 0 <= warmup_updates < updates:
        raise ConfigError(
            f"warm-up of {warmup_updates} updates does not fit in {updates} updates; "
            "lower schedule.warmup_epochs or raise train_epochs"
        )


def _multistep(
    durations: Durations, *, peak: NotNegative, factor: NotNegative, at: Sequence[Share]
) -> Schedule:
    """Multiply by `factor` at each fraction of the training in `at`."""
    boundaries = {round(fraction * durations.updates): factor for fraction in at}
    return optax.piecewise_constant_schedule(peak, boundaries)


def _per_epoch(
    durations: Durations, *, peak: NotNegative, factor: NotNegative
) -> Schedule:
    """Multiply by `factor` after every epoch."""
    return optax.exponential_decay(
        peak, durations.updates_per_epoch, factor, staircase=True
    )
