"""What the detector finds, and suppression among many boxes, beside torchvision's.

python benchmarks/detector.py
python benchmarks/detector.py --with="data.shape=(256, 256)" --least=0.2

Needs the extra [bench] and torchvision with its compiled operators: both from one index,
by pip install torch torchvision. Flags and network are those of the row `detect` of
steps.py, in which a training step is measured; both networks are drawn, and say of each
point that it is in the middle of a box of four strides, so that there is to suppress.
Suppression is among the boxes of 16 images, ours in one call, torchvision's one after
another, around so many places of each image as --places says; both have to keep the
same. On a machine that others use, taskset gives both one core: PyTorch's threads wait
for each other.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import steps
from absl import app, flags
from in_turn import compare
from ml_collections import ConfigDict

from medssl_jax.boxes import nms
from medssl_jax.methods.base import Method

_LEAST = flags.DEFINE_float("least", 0.0, "probability that torchvision asks of boxes")
_BOXES = flags.DEFINE_integer("boxes", 1000, "to suppress among")
_PLACES = flags.DEFINE_list("places", ["20", "1000"], "things that boxes are of")
_IMAGES, _SIDE, _KINDS, _IOU = 16, 512, 3, 0.5


def finding(method: Method, batch: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Return a function that finds the boxes of the batch's images."""
    params, aux = jax.jit(method.init)(jax.random.key(0), batch)
    bias = params["head"]["faces"]["bias"]
    params["head"]["faces"]["bias"] = jnp.full_like(bias, 2.0)
    images = jax.device_put(batch["image"])
    found = jax.jit(lambda *given: method.decide(method.predict(*given)))
    return lambda: jax.block_until_ready(found(params, aux, images))


def crowd(rng: np.random.RandomState, places: int) -> tuple[np.ndarray, ...]:
    """Return an image's boxes, scores and kinds, in equal parts around so many places."""
    count = _BOXES.value
    middles = rng.rand(places, 2) * _SIDE
    sides = 16 + rng.rand(places, 2) * 48
    of = np.arange(count) % places
    low = middles[of] - sides[of] / 2 + rng.randn(count, 2) * 8
    boxes = np.concatenate([low, low + sides[of]], axis=1).astype(np.float32)
    kinds = rng.randint(0, _KINDS, places)[of].astype(np.int32)
    return boxes, rng.rand(count).astype(np.float32), kinds


def suppressing(images: list[tuple[np.ndarray, ...]]) -> Callable[[], np.ndarray]:
    """Return a function that says of each image which boxes are kept."""
    given = jax.device_put([np.stack(arrays) for arrays in zip(*images, strict=True)])
    each = jax.jit(jax.vmap(functools.partial(nms, iou=_IOU)))
    return lambda: np.asarray(each(*given))


def inference(config: ConfigDict, *, peer: bool, rounds: int) -> None:
    method = steps.method_of(steps.ROWS["detect"], config)
    batch = steps.batch_of(config, method)
    found = {"medssl_jax": finding(method, batch)}
    if peer:
        found["torchvision"] = torch_fcos().inference(
            batch["image"], config, least=_LEAST.value
        )
    print(f"\ninference, {config.data.shape}")
    compare(found, amount=len(batch["image"]), unit="images", rounds=rounds)


def suppression(places: int, *, peer: bool, rounds: int) -> None:
    """Raises AssertionError if the two do not keep the same."""
    rng = np.random.RandomState(0)
    images = [crowd(rng, places) for _ in range(_IMAGES)]
    kept = {"medssl_jax": suppressing(images)}
    if peer:
        kept["torchvision"] = torch_fcos().suppressing(images, iou=_IOU)
    print(f"\nsuppression, {_BOXES.value} boxes around {places} places")
    compare(kept, amount=_IMAGES, unit="images", rounds=rounds)
    ours = kept["medssl_jax"]()
    if peer:
        for mine, theirs in zip(ours, kept["torchvision"](), strict=True):
            np.testing.assert_array_equal(np.flatnonzero(mine), np.sort(theirs))
    print(f"kept: {ours.mean():.0%}")


def torch_fcos():
    """Return the peer, which needs PyTorch."""
    return importlib.import_module("peers.torch_fcos")


def main(_) -> None:
    given = {"peer": flags.FLAGS.peer, "rounds": flags.FLAGS.rounds}
    inference(steps.config_of(steps.ROWS["detect"], steps.others()), **given)
    for places in map(int, _PLACES.value):
        suppression(places, **given)


if __name__ == "__main__":
    app.run(main)
