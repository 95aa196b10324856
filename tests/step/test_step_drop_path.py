"""What networks draw in training, under every method in the package."""

import functools

import jax
import numpy as np
import pytest
import tiny

from medssl_jax.models.resnet import resnet
from medssl_jax.models.vit import vit
from medssl_jax.step.parallel import AXIS, parallel
from medssl_jax.step.state import init_state, make_train_step


def first_step(name, devices):
    """Return the gradient of the first micro-batch, and its metrics."""
    method, tx = tiny.method(name), tiny.optimizer()
    on = parallel("shard_map", jax.devices()[:devices])
    state = jax.jit(functools.partial(init_state, method, tx))(
        jax.random.key(0), tiny.batch(0)
    )
    run = on.compile(make_train_step(method, tx, seed=3, axis_name=AXIS))
    state, metrics = run(on.replicate(state), on.shard(tiny.batch(1)))
    return jax.device_get((state.opt_state.acc_grads, metrics))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "byol" else pytest.mark.slow)
        for name in tiny.METHODS
    ],
)
def test_eight_devices_leave_out_what_one_does(name, monkeypatch):
    for make in (resnet, vit):
        drawing = functools.partial(make, drop_path=0.5, recompute=True)
        monkeypatch.setattr(tiny, make.__name__, drawing)
    monkeypatch.setattr(tiny, "MODEL", tiny.PYRAMID)  # a first block leaves nothing out
    gradient, metrics = first_step(name, devices=1)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    close = functools.partial(
        np.testing.assert_allclose, rtol=1e-4, atol=4e-6 * max(1.0, largest)
    )
    jax.tree.map(close, first_step(name, devices=8), (gradient, metrics))


@pytest.mark.parametrize("name, views", [("byol", 2), ("simclr", 2), ("swav", 3)])
def test_every_view_of_every_example_has_a_key_of_its_own(name, views, monkeypatch):
    seen = []

    def watched(**settings):
        network = resnet(**settings)

        def apply(variables, x, train, keys=None):
            if train:
                data = jax.random.key_data(keys)
                assert len(data) == len(x)
                jax.debug.callback(lambda data: seen.append(np.asarray(data)), data)
            return network.apply(variables, x, train, keys)

        return network._replace(apply=apply)

    monkeypatch.setattr(tiny, "resnet", watched)
    first_step(name, devices=1)
    jax.effects_barrier()
    keys = np.concatenate([data.reshape(-1, data.shape[-1]) for data in seen])
    assert len(np.unique(keys, axis=0)) == views * 8
