"""A step of GMML, and one of fine-tuning on slices, against timm's ViT in PyTorch.

python benchmarks/gmml_step.py
python benchmarks/gmml_step.py --width=384 --heads=6 --batch=4
python benchmarks/gmml_step.py --running=recompute --peer=False

Needs the extra [bench]. ViT-T at 256 x 256, unless stated otherwise. All run in one
process, in turn: what counts is the ratio of the medians. Networks, decoder and loss are
the same, and a step is the whole of it: forward, backward, AdamW with gradients cut at 3,
in float32. Ours draws the rectangles in the step, PyTorch is given them; crops and the
other views are left out. "Kept" is what the forward leaves for the backward, weights
aside (jax._src.ad_checkpoint.saved_residuals). --peer=False leaves PyTorch out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from in_turn import rate, ratio, timed
from jax._src.ad_checkpoint import saved_residuals
from one_step import durations, step_of, views_of

from medssl_jax.methods.gmml import gmml
from medssl_jax.methods.supervised import supervised
from medssl_jax.models.slicewise import slicewise
from medssl_jax.models.vit import vit
from medssl_jax.views.compose import compose

_WIDTH = flags.DEFINE_integer("width", 192, "of the tokens")
_HEADS = flags.DEFINE_integer("heads", 3, "of each block")
_SIZE = flags.DEFINE_integer("size", 256, "pixels along each side")
_BATCH = flags.DEFINE_integer("batch", 8, "slices of GMML's batch; fine-tuning: half")
_SLICES = flags.DEFINE_integer("slices", 4, "of a volume, in fine-tuning")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "steps of each that are timed")
_RUNNING = flags.DEFINE_list("running", [], "of config.running: recompute")
_PEER = flags.DEFINE_bool("peer", True, "time PyTorch as well")

MAPS, DEPTH, PATCH, CLASSES = (6, 8, 10, 12), 12, 16, 2
ADAMW = {"name": "adamw", "weight_decay": 0.04, "clip_norm": 3.0}


def network(**settings):
    running = {name: True for name in _RUNNING.value}
    return vit(**_of_vit(), **running, **settings)


def _of_vit() -> dict:
    sizes = {"width": _WIDTH.value, "heads": _HEADS.value, "depth": DEPTH}
    return {"ndim": 2, "patch": PATCH, "maps": MAPS, **sizes}


def pretraining(batch: int):
    return gmml(
        network(pooling="mean"),
        views={"first": compose({})},
        durations=durations(batch),
        axis_name=None,
        dtype=jnp.float32,
        fill="zeros",
        most=0.7,
        side=0.3,
        align=PATCH,
    )


def finetuning(batch: int):
    running = {name: True for name in _RUNNING.value}
    return supervised(
        slicewise(of={"name": "vit", "pooling": "class", **_of_vit()}, **running),
        views={"first": compose({}), "eval": compose({})},
        durations=durations(batch),
        axis_name=None,
        dtype=jnp.float32,
        classes=CLASSES,
        hidden_sizes=(_WIDTH.value,),
    )


def kept_mb(method, batch) -> float:
    """Return the megabytes that an example's forward leaves for its backward."""
    key = jax.random.key(0)
    params, aux = jax.eval_shape(method.init, key, batch)
    keys = jax.eval_shape(lambda: jax.random.split(key, len(batch["image"])))
    views = jax.eval_shape(jax.vmap(method.views), keys, batch)

    def loss(params, aux, views):
        return method.loss(params, aux, views, jax.random.key(0), jnp.int32(0))[0]

    found = saved_residuals(loss, params, aux, views)
    arrays = [a for a, said in found if "argument" not in said and "const" not in said]
    total = sum(a.size * a.dtype.itemsize for a in arrays)
    return total / len(batch["image"]) / 1e6


def main(_) -> None:
    rng, side, count = np.random.RandomState(0), _SIZE.value, _BATCH.value
    slices = {"image": rng.rand(count, side, side, 1).astype(np.float32)}
    volumes = {
        "image": rng.rand(count // 2, _SLICES.value, side, side, 1).astype(np.float32),
        "label": (np.arange(count // 2) % CLASSES).astype(np.int32),
    }
    tasks = {
        "GMML": (pretraining(count), slices, count),
        "fine-tuning": (finetuning(count // 2), volumes, count // 2 * _SLICES.value),
    }
    steps = {
        name: step_of(method, x, **ADAMW) for name, (method, x, _) in tasks.items()
    }
    if _PEER.value:
        from peers.torch_gmml import gmml_step, slices_step

        made = jax.tree.map(np.array, views_of(tasks["GMML"][0], slices)())
        sizes = {"width": _WIDTH.value, "heads": _HEADS.value, "depth": DEPTH}
        settings = {"size": side, "patch": PATCH, **sizes}
        given = (made["image"], made["corrupted"], made["hidden"])
        steps["GMML, PyTorch"] = gmml_step(*given, maps=MAPS, **settings)
        steps["fine-tuning, PyTorch"] = slices_step(
            volumes["image"], volumes["label"], classes=CLASSES, **settings
        )
    taken = timed(steps, rounds=_ROUNDS.value)
    for name, (method, batch, amount) in tasks.items():
        said = rate(name, taken[name], amount=amount, unit="images")
        print(f"{said}; kept {kept_mb(method, batch):.1f} MB an example")
        if (peer := f"{name}, PyTorch") in taken:
            print(rate(peer, taken[peer], amount=amount, unit="images"))
            print(f"ratio: {ratio(taken[name], taken[peer]):.2f}")


if __name__ == "__main__":
    app.run(main)
