"""What networks draw in training: a key for every view of every example.

That eight devices draw what one does is in test_step_state.py.
"""

import jax
import numpy as np
import pytest
import tiny

from medssl_jax.models.resnet import resnet
from medssl_jax.step.parallel import AXIS, parallel
from medssl_jax.step.state import make_train_step


def first_step(name):
    """Take the step over the first micro-batch."""
    method, tx = tiny.method(name), tiny.optimizer()
    on = parallel("shard_map", jax.devices()[:1])
    run = on.compile(make_train_step(method, tx, axis_name=AXIS))
    run(on.replicate(tiny.state(name)), on.shard(tiny.batch(1)))


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
    first_step(name)
    jax.effects_barrier()
    keys = np.concatenate([data.reshape(-1, data.shape[-1]) for data in seen])
    assert len(np.unique(keys, axis=0)) == views * 8
