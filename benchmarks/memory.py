"""Peak memory of BYOL's training step as the effective batch grows by accumulation.

python benchmarks/memory.py --width=64 --shape=16,56,56

Every effective batch has a process of its own, which runs the train step of the real
trainer (views, both networks, LARS, MultiSteps) over one whole update, and reports its
peak resident memory (ru_maxrss) and, of the compiled step, arguments and temporaries.
"""

import resource
import subprocess
import sys

import jax
import numpy as np
from absl import app, flags

from medssl_jax.methods.byol import byol
from medssl_jax.models.resnet import resnet
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.optimizers import optimizer
from medssl_jax.step.state import init_state, make_train_step
from medssl_jax.views.compose import compose

_WIDTH = flags.DEFINE_integer("width", 64, "channels of the first stage")
_SHAPE = flags.DEFINE_list("shape", ["16", "56", "56"], "slices, rows, columns")
_MICRO = flags.DEFINE_integer("micro_batch", 4, "clips per step")
_BATCHES = flags.DEFINE_list("batches", ["4", "64", "256"], "clips per update")
_ONE = flags.DEFINE_integer("one", 0, "measure this effective batch in this process")


def measure(batch_size: int) -> str:
    """Run one update; return what it took, as one line."""
    shape, micro = tuple(map(int, _SHAPE.value)), _MICRO.value
    common = {"dtype": jax.numpy.float32, "axis_name": None}
    backbone = resnet(
        ndim=3,
        layers=(2, 2, 2, 2),
        block="basic",
        width=_WIDTH.value,
        stem="r3d",
        **common,
    )
    crop = {"random_resized_crop": {"size": shape[1:]}, "standardise": {}}
    method = byol(
        backbone,
        views=dict.fromkeys(("first", "second"), compose(crop)),
        durations=Durations(1000, 1, 1, 1),
        hidden_size=4096,
        output_size=256,
        base_tau=0.996,
        **common,
    )
    lars = {
        "name": "lars",
        "weight_decay": 1.5e-6,
        "momentum": 0.9,
        "trust_coefficient": 1e-3,
        "lr_after_momentum": True,
    }
    tx = optimizer(Durations(batch_size, batch_size, micro, 1), lambda u: 0.2, **lars)
    batch = {"image": np.random.default_rng(0).random((micro, *shape, 1), np.float32)}
    state = jax.jit(lambda key: init_state(method, tx, key, batch))(jax.random.key(0))
    step = jax.jit(make_train_step(method, tx, axis_name=None), donate_argnums=0)
    compiled = step.lower(state, batch).compile()
    for _ in range(batch_size // micro):
        state, metrics = compiled(state, batch)
    assert int(metrics["update"]) == 1
    used = compiled.memory_analysis()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"batch {batch_size}: peak resident {peak:.0f} MiB; compiled step: arguments "
        f"{used.argument_size_in_bytes / 2**20:.1f} MiB, temporaries "
        f"{used.temp_size_in_bytes / 2**20:.1f} MiB"
    )


def main(_) -> None:
    if _ONE.value:
        print(measure(_ONE.value))
        return
    for batch_size in _BATCHES.value:
        subprocess.run([sys.executable, *sys.argv, f"--one={batch_size}"], check=True)


if __name__ == "__main__":
    app.run(main)
