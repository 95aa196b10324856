"""LARS, LARC, SGD, Adam, weight-decay masks, clipping, accumulation."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from medssl_jax import resolve
from medssl_jax.errors import ConfigError
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.frozen import frozen_until, only_moving
from medssl_jax.optim.schedules import Schedule
from medssl_jax.ranges import Decay, NotNegative


def lars(
    learning_rate: float | Schedule,
    *,
    weight_decay: float | Schedule,
    momentum: Decay,
    trust_coefficient: NotNegative,
    mask: PyTree | Callable[[PyTree], PyTree],
    lr_after_momentum: bool,
) -> optax.GradientTransformation:
    """Build LARS: weight decay, layer-wise trust ratio, then heavy-ball momentum.

    Args:
      learning_rate: a value, or a schedule over optimizer updates.
      weight_decay: a value, or a schedule; added to the gradient where `mask` is true.
      momentum: decay of the velocity.
      trust_coefficient: factor of ||w|| / ||g + weight_decay w||; the ratio is 1
        where either norm is 0.
      mask: tree of booleans (or a function from params to one): where decay and
        trust apply. `is_kernel` is BYOL's and SimCLR's choice.
      lr_after_momentum: multiply by the learning rate after the momentum, as BYOL
        does, or before it, as SimCLR (and `optax.lars`) does. The two differ
        whenever the learning rate changes.

    Adapted parameters move by a length that does not depend on the gradient's scale,
    so the mean or the sum over accumulated micro-batches trains them alike.

    Source: LARS, arXiv:1708.03888; BYOL, arXiv:2006.07733, app. J (order and masks);
    SimCLR, arXiv:2002.05709.
    """
    adapt = [
        optax.add_decayed_weights(weight_decay, mask),
        optax.masked(
            optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), mask
        ),
    ]
    move = [
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(learning_rate),
    ]
    return optax.chain(*adapt, *(move if lr_after_momentum else reversed(move)))


def larc(
    learning_rate: float | Schedule,
    *,
    weight_decay: float | Schedule,
    momentum: Decay,
    trust_coefficient: NotNegative,
) -> optax.GradientTransformation:
    """Build SGD with heavy-ball momentum in LARC, without clipping, for all parameters.

    A leaf's gradient g becomes (g + weight_decay w) r, where
    r = trust_coefficient ||w|| / (||g|| + weight_decay ||w|| + 1e-8). Where either norm
    is 0 it stays g, without decay: so a bias that starts at 0 makes its first move by
    the whole of its gradient. The learning rate comes after the momentum.

    Unlike `lars`, biases and norms' parameters decay and adapt too, and r has the sum
    of two norms where `lars` has the norm of the sum.

    Args:
      learning_rate: a value, or a schedule over optimizer updates.
      weight_decay: a value, or a schedule; added to the gradient.
      momentum: decay of the velocity.
      trust_coefficient: length of a move over ||w||, at learning rate 1.

    Source: apex.parallel.LARC of NVIDIA with clip=False around torch's SGD, as in the
    public code of SwAV, arXiv:2006.09882; the ratio is that of arXiv:1708.03888.
    """

    def adapt(weight_decay):
        def leaf(gradient, parameter):
            length, steepness = jnp.linalg.norm(parameter), jnp.linalg.norm(gradient)
            ratio = trust_coefficient * length
            ratio = ratio / (steepness + weight_decay * length + 1e-8)
            adapted = (gradient + weight_decay * parameter) * ratio
            return jnp.where((length > 0) & (steepness > 0), adapted, gradient)

        return optax.stateless_with_tree_map(leaf)

    if callable(weight_decay):
        adapt = optax.inject_hyperparams(adapt)
    return optax.chain(
        adapt(weight_decay),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def adam(
    learning_rate: float | Schedule, *, b1: Decay, b2: Decay
) -> optax.GradientTransformation:
    """Build Adam without weight decay (arXiv:1412.6980)."""
    return optax.adam(learning_rate, b1=b1, b2=b2)


def adamw(
    learning_rate: float | Schedule,
    *,
    b1: Decay,
    b2: Decay,
    weight_decay: float | Schedule,
) -> optax.GradientTransformation:
    """Build Adam with decoupled decay of kernels alone (arXiv:1711.05101)."""
    return optax.adamw(
        learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=is_kernel
    )


def sgd(
    learning_rate: float | Schedule,
    *,
    weight_decay: float | Schedule,
    momentum: Decay,
    nesterov: bool,
    mask: PyTree | Callable[[PyTree], PyTree],
) -> optax.GradientTransformation:
    """Build SGD with momentum; weight decay is part of the gradient, as L2 would be.

    Args:
      learning_rate: a value, or a schedule over optimizer updates.
      weight_decay: a value, or a schedule; added to the gradient where `mask` is true.
      momentum: decay of the velocity.
      nesterov: look ahead by the momentum, as SimCLR's public code does.
      mask: tree of booleans, or a function from params to one.

    Source: fine-tuning in SimCLR, arXiv:2002.05709, app. B.8, and in arXiv:2101.05224,
    section 4.3. Their codes also decay the biases of dense layers.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )


def is_kernel(params: PyTree) -> PyTree:
    """Mark the leaves that decay and adapt: what multiplies features.

    Neither biases nor norms' parameters, nor a ViT's class token and positions, which
    are added: as in timm.
    """

    def multiplies(path, leaf):
        return leaf.ndim > 1 and jax.tree_util.keystr(path[-1:]) != "['positions']"

    return jax.tree_util.tree_map_with_path(multiplies, params)


def optimizer(
    durations: Durations,
    learning_rate: Schedule,
    *,
    name: str,
    frozen: Mapping[str, int] | None = None,
    clip_norm: NotNegative | None = None,
    backbone_rate: NotNegative = 1.0,
    **settings,
) -> optax.MultiSteps:
    """Build the optimizer `name` with accumulation over micro-batches.

    The mean gradient of `durations.accumulation` micro-batches makes one update. A
    micro-batch whose gradient is not finite is left out: the accumulation waits for
    another.

    Args:
      durations: of the run.
      learning_rate: a schedule over optimizer updates.
      name: of the optimizer.
      frozen: updates for which a part of the parameters is left alone (`frozen_until`).
      clip_norm: the length to which a longer mean gradient is cut, over all parts that
        move at that update; 0 and None leave it.
      backbone_rate: what the learning rate of the backbone is multiplied by: less than 1
        keeps a pretrained one nearer to where it began than a new head.
      settings: of the optimizer, `weight_decay` as in the config: a number, or a
        mapping that `schedules.weight_decay` takes.

    Raises:
      ConfigError: if the name is unknown, it has no such setting or lacks one, or
        clipping or decay cannot be.
    """
    known = {
        "lars": functools.partial(lars, mask=is_kernel),
        "larc": larc,
        "adam": adam,
        "adamw": adamw,
        "sgd": functools.partial(sgd, mask=is_kernel),
    }
    if name not in known:
        raise ConfigError(
            f"optimizer.name {name!r} is unknown; known: {', '.join(sorted(known))}"
        )
    make_one = functools.partial(known[name], learning_rate)
    if "weight_decay" in settings:
        decay = schedules.weight_decay(durations, settings["weight_decay"])
        settings["weight_decay"] = decay
    resolve.check("optimizer", make_one, settings, part=name)

    def make(updates):
        ahead = {field: _ahead(setting, updates) for field, setting in settings.items()}
        return known[name](_ahead(learning_rate, updates), **ahead)

    frozen = frozen or {}
    tx = frozen_until(make, frozen)
    if clip_norm:
        # what does not move must not shorten what does
        tx = optax.chain(only_moving(frozen), optax.clip_by_global_norm(clip_norm), tx)
    if backbone_rate != 1:
        tx = optax.chain(tx, _times(backbone_rate, "backbone"))
    return optax.MultiSteps(
        tx,
        every_k_schedule=durations.accumulation,
        should_skip_update_fn=optax.skip_not_finite,
    )


def _times(factor: float, part: str) -> optax.GradientTransformation:
    """Multiply the moves of one part of the parameters."""

    def is_part(params):
        return {name: name == part for name in params}

    return optax.masked(optax.scale(factor), is_part)


def _ahead(setting, updates: int):
    """Return a schedule ahead by a number of updates, other settings as they are."""
    return (lambda at: setting(at + updates)) if callable(setting) else setting
