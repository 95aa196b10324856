"""The smallest of each method, for tests that hold for all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medssl_jax import resolve
from medssl_jax.data.source import NO_BOX
from medssl_jax.models.resnet import resnet
from medssl_jax.models.vit import vit
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.optimizers import is_kernel, lars
from medssl_jax.step.parallel import AXIS
from medssl_jax.step.state import init_state
from medssl_jax.views.compose import View
from medssl_jax.views.op import Op

VARIANTS = ["supervised findings", "segment deep"]
METHODS = [*resolve.known("medssl_jax.methods"), *VARIANTS]
SEGMENT = {"classes": 3, "dice": 1.0, "cross_entropy": 1.0, "background": False}
PATCHES = {"jitter": 0, "standardise": True, "hidden_sizes": (16,)}
SETTINGS = {
    "rotation": {"hidden_sizes": ()},
    "jigsaw": {"orders": 5, "seed": 0, **PATCHES},
    "relative_patch_location": PATCHES,
    "cpc": {
        "patch": 2,
        "stride": 2,
        "standardise": True,
        "code_size": 8,
        "context_size": 6,
        "steps": 1,
        "temperature": 0.1,
        "negatives": "images",
    },
    "gmml": {"fill": "image", "most": 0.7, "side": 0.5, "align": 1},
    "exemplar": {"output_size": 8, "margin": 0.1, "hardest": False},
    "byol": {"hidden_size": 16, "output_size": 8, "base_tau": 0.9},
    "simclr": {"hidden_size": 16, "output_size": 8, "layers": 2, "temperature": 0.5},
    "supervised": {"classes": 3},
    "swav": {  # two modalities would leave eight devices less than a row of each
        "hidden_size": 16,
        "output_size": 8,
        "crops": {"assigned": 2, "small": 1},
        "prototypes": 6,
        "temperature": 0.1,
        "epsilon": 0.05,
        "iterations": 3,
        "frozen_updates": 0,
        "queue_length": 16,
        "queue_from_epoch": 0.0,
        "alpha": 0.5,
        "beta": 2.0,
        "classes": 3,
    },
    "joint": {
        "tasks": {
            "rotation": {"weight": 0.5, "hidden_sizes": (6,)},
            "byol": {
                "weight": 2.0,
                "hidden_size": 16,
                "output_size": 8,
                "base_tau": 0.9,
            },
        }
    },
    "supervised findings": {"findings": 3},
    "detect": {
        "kinds": 2,
        "levels": 2,
        "coarser": 1,
        "width": 4,
        "depth": 1,
        "middle": True,
        "alpha": 0.25,
        "gamma": 2.0,
        "least_points": 2.0,
        "candidates": 12,
        "most": 5,
        "overlap": 0.5,
    },
    "segment": SEGMENT | {"over_batch": False, "deep_supervision": False},
    "segment deep": SEGMENT | {"over_batch": True, "deep_supervision": True},
}
SHAPE = (4, 8, 8, 1)
# of two blocks, as the first is never left out
MODEL = {"ndim": 3, "layers": (2,), "block": "basic", "width": 4, "stem": "r3d"}
# for patches of a voxel or two: nothing is halved
FLAT = MODEL | {"stem": "small"}
# maps of two sizes
PYRAMID = MODEL | {"layers": (1, 1)}
TOKENS = {
    "ndim": 3,
    "patch": 4,
    "width": 8,
    "heads": 2,
    "depth": 2,
    "maps": (1, 2),
    "pooling": "mean",
}
OF_PATCHES = ("jigsaw", "relative_patch_location", "cpc")
FINDINGS = np.array([[0, 1, -1], [1, 1, 0], [-1, 0, -1]], np.int32)  # of each class


def durations(accumulation: int = 2) -> Durations:
    return Durations(
        examples=64, batch_size=8 * accumulation, micro_batch_size=8, epochs=8
    )


def noisy(image):
    """Return a view that adds noise to what `image` makes of an image."""

    def apply(key, x):
        x = image(x)
        return x + 0.1 * jax.random.normal(key, x.shape)

    return View((Op(lambda key, shape: key, apply),))


def views(name: str = ""):
    cube = noisy(lambda x: x[:, 2:6, 2:6])
    if name == "rotation":
        return {"first": cube}
    whole = noisy(lambda x: x)
    return {
        "first": whole,
        "rotation_first": cube,  # of `joint`
        "second": whole,
        "assigned": whole,
        "small": noisy(lambda x: x[:, 2:6, 2:6]),
        "eval": View(()),
    }


def method(
    name: str, axis_name: str | None = AXIS, backbone=None, drop_path=0.0, **settings
):
    if backbone is None:
        make, model = resnet, MODEL
        if name == "gmml":
            make, model = vit, TOKENS
        elif name in OF_PATCHES:
            model = FLAT
        elif name.startswith(("segment", "detect")):
            model = PYRAMID
        parts = {"dtype": jnp.float32, "axis_name": axis_name}
        backbone = make(**model, **parts, drop_path=drop_path)
    kind = name.partition(" ")[0]
    made = resolve.factory("medssl_jax.methods", kind)(
        backbone,
        views=views(kind),
        durations=durations(),
        axis_name=axis_name,
        dtype=jnp.float32,
        **SETTINGS[name] | settings,
    )
    return _with_findings(made) if name == "supervised findings" else made


def _with_findings(method):
    """Give examples their findings, some unknown, in the place of their class."""

    def views(key, example):
        label = jnp.asarray(FINDINGS)[example["label"]]
        return method.views(key, {**example, "label": label})

    return method._replace(views=views)


def optimizer(accumulation: int = 2) -> optax.MultiSteps:
    tx = lars(
        0.5,
        weight_decay=1e-4,
        momentum=0.9,
        trust_coefficient=0.1,
        mask=is_kernel,
        lr_after_momentum=True,
    )
    return optax.MultiSteps(
        tx, accumulation, should_skip_update_fn=optax.skip_not_finite
    )


def batch(seed: int, size: int = 8) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "image": random.random((size, *SHAPE), np.float32),
        "label": random.integers(0, 3, size).astype(np.int32),
        "patient": np.uint32([0, 0, 1, 2, 2, 2, 3, 4])[np.arange(size) % 8],
        "mask": random.integers(0, 3, (size, *SHAPE[:-1]), np.uint8),
        "boxes": boxes(random, size),
    }


def boxes(random: np.random.Generator, size: int) -> np.ndarray:
    """Return two rows for each example, some of no kind."""
    low = random.random((size, 2, 3)) * 0.6
    high = low + 0.1 + random.random((size, 2, 3)) * 0.3
    kinds = random.integers(int(NO_BOX), 2, (size, 2, 1))
    return np.concatenate([low, high, kinds], axis=-1).astype(np.float32)


@functools.cache
def _init(name, accumulation):
    return jax.jit(functools.partial(init_state, method(name), optimizer(accumulation)))


def state(name: str, accumulation: int = 2):
    return _init(name, accumulation)(jax.random.key(0), batch(0))
