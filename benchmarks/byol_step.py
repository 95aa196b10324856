"""One BYOL micro-batch, forward and backward, against PyTorch's own CPU kernels.

python benchmarks/byol_step.py --width=16 --shape=8,28,28 --batch=4
python benchmarks/byol_step.py --width=64 --shape=4,56,56 --batch=4

Needs the extra [bench]. Both run in one process, in turn, so that a slow spell of the
machine hits both: what counts is the ratio of the medians. The networks are the same,
an R3D-18, projector and predictor with 4096 hidden units, and both take the gradient
of the symmetric loss. --peer=False leaves PyTorch out.
"""

import jax
import jax.numpy as jnp
from absl import app, flags
from in_turn import compare

from medssl_jax.methods.byol import byol
from medssl_jax.models.resnet import resnet
from medssl_jax.optim.durations import Durations

_WIDTH = flags.DEFINE_integer("width", 16, "channels of the first stage")
_SHAPE = flags.DEFINE_list("shape", ["8", "28", "28"], "slices, rows, columns")
_BATCH = flags.DEFINE_integer("batch", 4, "clips")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "steps of each that are timed")
_PEER = flags.DEFINE_bool("peer", True, "time PyTorch as well")


def ours(width: int, shape: tuple[int, ...], batch: int):
    """Return a function that runs one micro-batch and gives the loss."""
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    common = {"dtype": dtype, "axis_name": None}
    backbone = resnet(
        ndim=3, layers=(2, 2, 2, 2), block="basic", width=width, stem="r3d", **common
    )
    method = byol(
        backbone,
        views=dict.fromkeys(("first", "second"), lambda key, image: image),
        durations=Durations(1000, 1, 1, 1),
        hidden_size=4096,
        output_size=256,
        base_tau=0.996,
        **common,
    )
    key = jax.random.key(0)
    first, second = jax.random.normal(key, (2, batch, *shape, 1))
    params, aux = jax.jit(method.init)(key, {"image": first})

    @jax.jit
    def gradient(params, aux):
        views = {"first": first, "second": second}
        return jax.value_and_grad(method.loss, has_aux=True)(
            params, aux, views, key, jnp.int32(0)
        )

    def step() -> float:
        (loss, _), gradients = gradient(params, aux)
        jax.block_until_ready(gradients)
        return float(loss)

    return step


def main(_) -> None:
    shape = tuple(map(int, _SHAPE.value))
    steps = {"medssl_jax": ours(_WIDTH.value, shape, _BATCH.value)}
    if _PEER.value:
        from peers.torch_byol import micro_batch

        steps["PyTorch"] = micro_batch(_WIDTH.value, shape, _BATCH.value)
    compare(steps, amount=_BATCH.value, unit="clips", rounds=_ROUNDS.value)


if __name__ == "__main__":
    app.run(main)
