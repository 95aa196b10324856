"""Gradient clipping against its formula in NumPy, on what the optimizer gets of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medssl_jax import optim
from medssl_jax.optim.durations import Durations

SGD = {"name": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
RATE = 0.5


def optimizer(accumulation=2, **settings):
    durations = Durations(8 * accumulation, 2 * accumulation, 2, epochs=1)
    return optim.optimizer(durations, lambda update: RATE, **SGD | settings)


def gradients(*scales):
    """Return the micro-batches' gradients of two parts, each as long as its scale."""
    random = np.random.default_rng(0)
    made = []
    for of_backbone, of_head in scales:
        kernel, bias = random.normal(size=(3, 4)), random.normal(size=5)
        made.append(
            {
                "backbone": {"kernel": of_backbone * kernel / np.linalg.norm(kernel)},
                "head": of_head * bias / np.linalg.norm(bias),
            }
        )
    return made


def moves(tx, micro_batches):
    """Return what each micro-batch moves the parameters by."""
    params = jax.tree.map(lambda g: jnp.ones(g.shape), micro_batches[0])
    state, made = tx.init(params), []
    for gradient in micro_batches:
        given = jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), gradient)
        move, state = tx.update(given, state, params)
        made.append(jax.device_get(move))
    return made


def clipped(gradient, norm):
    """Return -RATE times the gradient, cut to a length of `norm` over all its parts."""
    length = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda g: -RATE * min(1, norm / length) * g, gradient)


def mean(*trees):
    return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *trees)


def assert_close(actual, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        actual,
        expected,
    )


@pytest.mark.parametrize("norm", [0.7, 2.0, 50.0])
def test_the_mean_gradient_is_cut_to_the_norm_of_all_its_parts(norm):
    micro = gradients((3.0, 4.0), (1.0, 2.0), (0.1, 0.2), (0.2, 0.1))
    found = moves(optimizer(clip_norm=norm), micro)
    assert_close(found[1], clipped(mean(*micro[:2]), norm))
    assert_close(found[3], clipped(mean(*micro[2:]), norm))


def test_micro_batches_that_cancel_are_not_cut():
    """Their mean is short, though each alone is long."""
    (one,) = gradients((3.0, 4.0))
    micro = [one, jax.tree.map(lambda g: -0.9 * g, one)]
    found = moves(optimizer(clip_norm=1.0), micro)
    assert_close(found[1], jax.tree.map(lambda g: -RATE * 0.05 * g, one))


def test_a_frozen_part_does_not_shorten_the_moves_of_others():
    micro = gradients((300.0, 0.5), (300.0, 5.0), (3.0, 4.0))
    tx = optimizer(accumulation=1, clip_norm=1.0, frozen={"backbone": 2})
    found = moves(tx, micro)
    for move, gradient in zip(found[:2], micro[:2], strict=True):
        assert not move["backbone"]["kernel"].any()
        assert_close(move["head"], clipped(gradient["head"], 1.0))
    assert_close(found[2], clipped(micro[2], 1.0))


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "adam", "b1": 0.9, "b2": 0.99},
        {"name": "adamw", "b1": 0.9, "b2": 0.99, "weight_decay": 0.1},
        {"name": "larc", "weight_decay": 0.1, "momentum": 0.9},
        {"name": "lars", "weight_decay": 0.1, "momentum": 0.9},
    ],
)
def test_every_optimizer_gets_the_clipped_gradient(settings):
    if settings["name"] in ("larc", "lars"):
        settings = settings | {"trust_coefficient": 0.02}
    if settings["name"] == "lars":
        settings = settings | {"lr_after_momentum": False}
    durations = Durations(8, 2, 2, epochs=1)

    def made(micro, **clipping):
        tx = optim.optimizer(durations, lambda at: RATE, **settings, **clipping)
        return moves(tx, micro)

    micro = gradients((3.0, 4.0), (0.1, 0.2))
    short = [jax.tree.map(lambda g: g / -RATE, clipped(g, 1.0)) for g in micro]
    assert_close(made(micro, clip_norm=1.0), made(short))
    kernels = [move[1]["backbone"]["kernel"] for move in (made(micro), made(short))]
    assert np.abs(np.subtract(*kernels)).max() > 1e-4


def test_a_backbone_moves_at_a_rate_of_its_own():
    micro = gradients((3.0, 4.0))
    usual, slow = (
        moves(optimizer(accumulation=1, clip_norm=1.0, backbone_rate=rate), micro)[0]
        for rate in (1.0, 0.1)
    )
    assert_close(slow["head"], usual["head"])
    assert_close(slow["backbone"], jax.tree.map(lambda m: 0.1 * m, usual["backbone"]))


@pytest.mark.parametrize("norm", [None, 0, 0.0])
def test_without_clipping_the_state_is_as_it_was_before_there_was_any(norm):
    params = {"w": jnp.ones((2, 2))}
    inner = optimizer(clip_norm=norm).init(params).inner_opt_state
    sgd = optax.sgd(lambda update: RATE, momentum=0.0).init(params)
    masked = optax.add_decayed_weights(0.0, optim.is_kernel).init(params)
    assert jax.tree.structure(inner) == jax.tree.structure((masked, sgd))
