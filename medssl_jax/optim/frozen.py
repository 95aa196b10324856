"""Parts of the parameters that an optimizer leaves alone for a number of updates."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from medssl_jax.errors import ConfigError


class FrozenState(NamedTuple):
    """An optimizer's state, in parts.

    count: optimizer updates so far.
    parts: by name, the state of each part that is frozen at first.
    rest: the state of all others together.
    """

    count: Int[Array, ""]
    parts: dict[str, PyTree]
    rest: PyTree


def frozen_until(
    make: Callable[[int], optax.GradientTransformation],
    frozen: Mapping[str, int],
) -> optax.GradientTransformation:
    """Build an optimizer that begins with some parts only after their first updates.

    Until then a part has no gradient, no decay and no momentum, and afterwards it
    starts as if the optimizer were new, but for its schedules, which have gone on. It is
    for optimizers that treat each leaf by itself.

    Args:
      make: updates -> the optimizer, its schedules ahead by so many.
      frozen: updates for which a part is left alone, by its top-level name in the
        parameters. Without any, the optimizer is `make(0)`.

    `init` raises ConfigError for a name that the parameters do not have.

    Source: SwAV's prototypes, arXiv:2006.09882, app. A.1.
    """
    frozen = {name: updates for name, updates in frozen.items() if updates > 0}
    others = make(0)
    if not frozen:
        return others
    # Each part has an optimizer of its own, whose counts (Adam's bias correction has
    # one) begin when the part does; so its schedules are that much ahead.
    optimizers = {name: make(start) for name, start in frozen.items()}

    def init(params):
        _check_names(frozen, params)
        parts = {name: tx.init(params[name]) for name, tx in optimizers.items()}
        return FrozenState(jnp.zeros((), jnp.int32), parts, others.init(_rest(params)))

    def update(gradient, state, params):
        moves, rest = others.update(_rest(gradient), state.rest, _rest(params))
        moves, parts = dict(moves), {}
        for name, tx in optimizers.items():
            move, after = tx.update(gradient[name], state.parts[name], params[name])
            is_frozen = state.count < frozen[name]
            still = jax.tree.map(jnp.zeros_like, move)
            moves[name] = _choose(is_frozen, still, move)
            parts[name] = _choose(is_frozen, state.parts[name], after)
        moves = {name: moves[name] for name in gradient}
        return moves, FrozenState(optax.safe_increment(state.count), parts, rest)

    def _rest(tree):
        return {name: part for name, part in tree.items() if name not in frozen}

    return optax.GradientTransformation(init, update)


def only_moving(frozen: Mapping[str, int]) -> optax.GradientTransformation:
    """Set gradients to 0 while their part is frozen, as `frozen_until` names it.

    So a norm over all parts is of those that move. The state counts updates.
    """

    def init(params):
        del params
        return jnp.zeros((), jnp.int32)

    def update(gradient, count, params=None):
        del params
        moving = dict(gradient)
        for name, updates in frozen.items():
            still = jax.tree.map(jnp.zeros_like, gradient[name])
            moving[name] = _choose(count < updates, still, gradient[name])
        return moving, optax.safe_increment(count)

    return optax.GradientTransformation(init, update)


def _check_names(frozen, params):
    for name in frozen:
        if name not in params:
            raise ConfigError(
                f"frozen part {name!r} is not among the parameters; they have: "
                f"{', '.join(sorted(params))}"
            )


def _choose(condition, yes, no):
    return jax.tree.map(lambda yes, no: jnp.where(condition, yes, no), yes, no)
