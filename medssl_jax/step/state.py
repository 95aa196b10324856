"""The state of a run, and the one step that moves it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from medssl_jax.methods.base import KEYS, Aux, Batch, Method, Params


@struct.dataclass
class TrainState:
    """All that a run needs to go on, to the bit.

    step: micro-batches consumed: seeds randomness, never drives a schedule.
    key: uint32 (2,), the run's: all that a micro-batch draws comes from it and `step`.
    rate: what the optimizer's moves are multiplied by. Like `key` it is here, and no
      constant of the step: runs that differ in both alone share one program.
    params: what the optimizer trains.
    aux: what it does not: batch statistics, target, queue.
    opt_state: of `optax.MultiSteps`; its `gradient_step` counts updates and drives
      every schedule.
    """

    step: Any  # not ArrayLike: Orbax makes trees of this structure with its own leaves
    key: Any
    rate: Any
    params: Params
    aux: Aux
    opt_state: Any


IMAGES = ("image", "partner")  # keys of a batch that hold images, as the host has them

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def init_state(
    method: Method,
    tx: optax.MultiSteps,
    key: PRNGKeyArray,
    batch: Batch,
    rate: float | Float[Array, ""] = 1.0,
) -> TrainState:
    """Make the first state; jit it, so that no two leaves share a buffer."""
    params, aux = method.init(key, _images_to_unit(batch))
    return TrainState(
        jnp.zeros((), jnp.int32),
        jax.random.key_data(key),
        jnp.float32(rate),
        params,
        aux,
        tx.init(params),
    )


def make_train_step(
    method: Method, tx: optax.MultiSteps, *, axis_name: str | None
) -> Step:
    """Build the step over one micro-batch, written for one device of `axis_name`.

    Examples meet other devices' only under `axis_name`. Keys are drawn for the global
    batch and sliced, so any number of devices sees the same views.
    """

    def step(state, batch):
        key = jax.random.wrap_key_data(state.key)
        view_key, loss_key, network_key = _step_keys(key, state.step)
        view_keys, network_keys = (
            _local_keys(key, len(batch["image"]), axis_name)
            for key in (view_key, network_key)
        )
        views = {**_views(method, view_keys, batch), KEYS: network_keys}
        update = state.opt_state.gradient_step

        (loss, (aux, metrics)), gradient = jax.value_and_grad(
            method.loss, has_aux=True
        )(state.params, state.aux, views, loss_key, update)
        gradient = _mean(gradient, axis_name)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        updates = optax.tree.scale(state.rate, updates)
        params = optax.apply_updates(state.params, updates)

        skipped = opt_state.skip_state["should_skip"]
        aux = jax.tree.map(  # what a broken batch has written does not stay
            lambda old, new: jnp.where(skipped, old, new), state.aux, aux
        )
        # Not `tx.has_updated`: it stays true while the micro-batch after an update
        # is skipped, and the target would move once more.
        moved = opt_state.gradient_step > update
        params, aux = lax.cond(
            moved,
            lambda: method.after_update(params, aux, update),
            lambda: (params, aux),
        )
        metrics = {
            "loss": loss,
            "gradient_norm": optax.tree.norm(gradient),
            **metrics,
        }
        metrics = _mean(metrics, axis_name)
        metrics |= {"skipped": skipped, "update": opt_state.gradient_step}
        state = state.replace(
            step=state.step + 1, params=params, aux=aux, opt_state=opt_state
        )
        return state, metrics

    return step


def views_fed(
    method: Method, batch: Batch, *, key: PRNGKeyArray, step: int, global_size: int
) -> Batch:
    """Return the views that the step makes of the first examples of a global batch."""
    view_key, *_ = _step_keys(key, step)
    keys = jax.random.split(view_key, global_size)[: len(batch["image"])]
    return _views(method, keys, batch)


def to_unit(
    image: Shaped[Array, "..."],
) -> Float[Array, "..."]:
    """Cast a host image to float32 in [0, 1]: uint8 is 0 to 255, floats are there."""
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255.0
    return image.astype(jnp.float32)


def _step_keys(key, step):
    return jax.random.split(jax.random.fold_in(key, step), 3)


def _views(method, keys, batch):
    return jax.vmap(method.views)(keys, _images_to_unit(batch))


def _images_to_unit(batch):
    images = {name: to_unit(batch[name]) for name in IMAGES if name in batch}
    return {**batch, **images}


def _local_keys(key, count, axis_name):
    if axis_name is None:
        return jax.random.split(key, count)
    keys = jax.random.split(key, count * lax.axis_size(axis_name))
    return lax.dynamic_slice_in_dim(keys, lax.axis_index(axis_name) * count, count)


def _mean(tree, axis_name):
    return tree if axis_name is None else lax.pmean(tree, axis_name)
