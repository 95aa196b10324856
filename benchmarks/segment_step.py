"""One training step of segmentation against PyTorch's own CPU kernels.

python benchmarks/segment_step.py --shape=32,48,32 --batch=2
python benchmarks/segment_step.py --shape=64,64,64 --batch=2 --rounds=3

Needs the extra [bench]. All run in one process, in turn: what counts is the ratio of the
medians. The networks are the same, the published 3D U-Net, and a step is the whole of
it: forward, Dice and cross-entropy, backward, Adam, in float32, without augmentation.
Ours is the trainer's, which also takes the gradient's norm, a metric, and care of
gradients that are not finite. --views adds a third that also makes random views, as
configs/segment.py has them; --peer=False leaves PyTorch out.
"""

import jax.numpy as jnp
import numpy as np
from absl import app, flags
from in_turn import compare
from one_step import durations, step_of

from medssl_jax.methods.segment import segment
from medssl_jax.models.unet import unet
from medssl_jax.views.compose import compose

_WIDTH = flags.DEFINE_integer("width", 16, "channels of the first level")
_LEVELS = flags.DEFINE_integer("levels", 5, "levels, the bottleneck included")
_SHAPE = flags.DEFINE_list("shape", ["32", "48", "32"], "slices, rows, columns")
_BATCH = flags.DEFINE_integer("batch", 2, "volumes")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "steps of each that are timed")
_VIEWS = flags.DEFINE_bool("views", False, "time ours with random views as well")
_PEER = flags.DEFINE_bool("peer", True, "time PyTorch as well")

VIEW = {
    "affine": {
        "rotation_degrees": (-15.0, 15.0),
        "scale": (0.85, 1.2),
        "axes": (-3, -2, -1),
        "probability": 0.5,
    },
    "jitter": {"brightness": (0.8, 1.2), "contrast": (0.7, 1.3), "probability": 0.5},
    "gamma": {"log_gamma": (-0.3, 0.3)},
    "gaussian_noise": {"std": (0.0, 0.05)},
}


def ours(image, mask, view: dict):
    """Return a function that trains once and gives the loss."""
    common = {"dtype": jnp.float32, "axis_name": None}
    method = segment(
        unet(ndim=3, width=_WIDTH.value, levels=_LEVELS.value, **common),
        views={"first": compose(view), "eval": compose({})},
        durations=durations(len(image)),
        classes=3,
        dice=1.0,
        cross_entropy=1.0,
        background=False,
        over_batch=False,
        deep_supervision=False,
        **common,
    )
    return step_of(method, {"image": image, "mask": mask})


def main(_) -> None:
    rng = np.random.RandomState(0)
    shape = (_BATCH.value, *map(int, _SHAPE.value))
    image = rng.rand(*shape, 1).astype(np.float32)
    mask = rng.randint(0, 3, shape).astype(np.uint8)
    steps = {"medssl_jax": ours(image, mask, {})}
    if _VIEWS.value:
        steps["medssl_jax with views"] = ours(image, mask, VIEW)
    if _PEER.value:
        from peers.torch_unet import train_step

        network = {"width": _WIDTH.value, "levels": _LEVELS.value}
        steps["PyTorch"] = train_step(image, mask, **network)
    compare(steps, amount=_BATCH.value, unit="volumes", rounds=_ROUNDS.value)


if __name__ == "__main__":
    app.run(main)
