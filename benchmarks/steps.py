"""One training step of every method, beside the same network and loss in PyTorch.

python benchmarks/steps.py
python benchmarks/steps.py --steps=gmml,slices --with=model.width=192
python benchmarks/steps.py --steps=segment --with="data.shape=(64, 64, 64)" --peer=False

Needs the extra [bench]. A row is the network and method of a config, made small by what
`ROWS` changes of it; --with changes more, of all rows that have the field. A step is the
whole of it: views, forward, backward, Adam (AdamW for transformers), in float32, as the
trainer takes it. Random crops, blur and the like are left out; what the method itself
does to an image (patches, turns, rectangles) is in ours, and PyTorch is given it. The two
run in one process, in turn: what counts is the ratio of the medians. "Kept" is what the
forward leaves of an example for its backward, weights aside;
--with=running.recompute=True has norms and the like made anew.
"""

import ast
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from in_turn import range_of, ratio, share, timed
from ml_collections import ConfigDict
from one_step import durations, kept_mb, step_of, views_of

from medssl_jax import resolve
from medssl_jax.methods.base import Method
from medssl_jax.protocols.experiment import load, vary
from medssl_jax.saved import encoder
from medssl_jax.views.compose import compose

CONFIGS = str(Path(__file__).parents[1] / "configs" / "any")  # a file beside them


class Row(NamedTuple):
    """A config, what is changed of it, and the same in PyTorch: peers' MODULE.FUNCTION.

    `views` are those that are more than the image as it is.
    """

    config: str
    peer: str
    changes: Mapping[str, Any]
    views: Mapping[str, Mapping[str, Any]] = {}


def _proxy(task: str, batch: int, **changes: Any) -> Row:
    common = {"data.shape": (32,) * 3, "micro_batch_size": batch}
    return Row(f"proxy:{task}:nifti", f"torch_proxies.{task}", common | changes)


_CROPS = {
    "large": {"resize": {"size": (64, 64)}},
    "small": {"resize": {"size": (32, 32)}},
}
_R18 = {"model.layers": (2, 2, 2, 2), "model.block": "basic"}
_IMAGES = {"data.shape": (64, 64), "micro_batch_size": 16}
_VIT = {"width": 96, "heads": 3, "depth": 6, "maps": (3, 4, 5, 6), "patch": 8}
_BOXES = 4  # of an image

ROWS = {
    "byol": Row(
        "byol3d:mrnet",
        "torch_byol.train_step",
        {"model.width": 16, "data.shape": (8, 28, 28), "micro_batch_size": 4},
    ),
    "simclr": Row(
        "simclr:chexpert", "torch_images.simclr", _IMAGES | {"method.hidden_size": 2048}
    ),
    "swav": Row(
        "swav_small:npz",
        "torch_images.swav",
        _IMAGES | {"method.queue_length": 0, "method.frozen_updates": 0},
        {"assigned": _CROPS["large"], "small": _CROPS["small"]},
    ),
    "gmml": Row(
        "gmml:mrnet",
        "torch_gmml.gmml",
        _IMAGES
        | {"method.align": 8}
        | {f"model.{field}": value for field, value in _VIT.items()},
    ),
    "rotation": _proxy("rotation", 8),
    "jigsaw": _proxy("jigsaw", 8),
    "relative_patch_location": _proxy("relative_patch_location", 8),
    "exemplar": _proxy("exemplar", 8),
    # patches of 8, as the config has them at this size, its five levels halve to nothing
    "cpc": _proxy("cpc", 4, **{"method.patch": 16, "method.stride": 8}),
    "segment": Row(
        "segment:pancreas",
        "torch_unet.train_step",
        {"method.cross_entropy": 1.0, "method.frozen_epochs": 0.0}
        | {"data.shape": (32, 48, 32)},
    ),
    "finetune": Row("finetune:images", "torch_images.supervised", _IMAGES),
    "slices": Row(
        "finetune_slices:mrnet",
        "torch_gmml.slices",
        {"data.shape": (8, 64, 64), "micro_batch_size": 4, "method.hidden_sizes": (96,)}
        | {f"model.of.{field}": value for field, value in _VIT.items()},
    ),
    "detect": Row(
        "detect:xray",
        "torch_fcos.train_step",
        {"model.width": 64, "data.shape": (128, 128), "micro_batch_size": 4},
    ),
}

_STEPS = flags.DEFINE_list("steps", list(ROWS), "rows of the table")
_WITH = flags.DEFINE_multi_string("with", [], "FIELD=VALUE of the configs")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "steps of each that are timed")
_PEER = flags.DEFINE_bool("peer", True, "time PyTorch as well")


def others() -> dict[str, Any]:
    """Return what --with changes, by field."""
    stated = (one.split("=", 1) for one in _WITH.value)
    return {field: ast.literal_eval(value) for field, value in stated}


def config_of(row: Row, others: Mapping[str, Any]) -> ConfigDict:
    """Return the row's config with its changes, and those of the others it has."""
    config = vary(load(CONFIGS, row.config), row.changes)
    known = config.to_dict()
    return vary(config, {k: v for k, v in others.items() if _has(known, k)})


def _has(known: Mapping[str, Any], field: str) -> bool:
    for part in field.split("."):
        if not isinstance(known, Mapping) or part not in known:
            return False
        known = known[part]
    return True


def method_of(row: Row, config: ConfigDict) -> Method:
    """Build the row's method, in float32 and without crops, blur and the like."""
    common = {"dtype": jnp.float32, "axis_name": None}
    running = {k: v for k, v in config.running.items() if k != "precision"}
    names = {*config.views, *row.views}
    return resolve.named(
        "method",
        "medssl_jax.methods",
        config.method.to_dict(),
        encoder.backbone(config.model.to_dict(), running=running, **common),
        views={name: compose(row.views.get(name, {})) for name in names},
        durations=durations(config.micro_batch_size),
        **common,
    )


def batch_of(config: ConfigDict, method: Method) -> dict[str, np.ndarray]:
    """Return grey images of noise, with whatever the method learns from."""
    rng, count = np.random.RandomState(0), config.micro_batch_size
    shape = (count, *config.data.shape)
    batch = {
        "image": rng.rand(*shape, 1).astype(np.float32),
        "patient": np.arange(count, dtype=np.uint32),
    }
    if any(method.learns):
        batch["label"] = np.arange(count, dtype=np.int32) % config.method.classes
    if any(method.voxels):
        batch["mask"] = rng.randint(0, config.method.classes, shape).astype(np.uint8)
    if method.boxes:
        axes = len(config.data.shape)
        low, sides = rng.rand(2, count, _BOXES, axes) / 2
        kinds = rng.randint(0, method.boxes, (count, _BOXES, 1))
        rows = np.concatenate([low, low + sides, kinds], axis=-1)
        batch["boxes"] = rows.astype(np.float32)
    return batch


def optimizer_of(config: ConfigDict) -> dict[str, Any]:
    if config.optimizer.name == "adamw":
        return {"name": "adamw", "weight_decay": 0.04, "clip_norm": 3.0}
    return {"name": "adam"}


def measured(name: str, others: Mapping[str, Any]) -> str:
    """Return the row of the table: rates, their ratio, the views' share, what is kept."""
    row = ROWS[name]
    config = config_of(row, others)
    method = method_of(row, config)
    batch, optimizer = batch_of(config, method), optimizer_of(config)
    make_views = views_of(method, batch)
    steps = {name: step_of(method, batch, **optimizer), "views": make_views}
    if _PEER.value:
        module, function = row.peer.split(".")
        peer = getattr(importlib.import_module(f"peers.{module}"), function)
        steps["PyTorch"] = peer(jax.tree.map(np.array, make_views()), config, optimizer)
    taken = timed(steps, rounds=_ROUNDS.value)
    count = config.micro_batch_size
    cells = [name, " x ".join(map(str, (count, *config.data.shape)))]
    cells += [range_of(taken[name], amount=count)]
    if _PEER.value:
        cells += [range_of(taken["PyTorch"], amount=count)]
        cells += [f"{ratio(taken[name], taken['PyTorch']):.2f}"]
    cells += [f"{share(taken['views'], taken[name]):.1%}"]
    cells += [f"{kept_mb(method, batch):.1f}"]
    return f"| {' | '.join(cells)} |"


def main(_) -> None:
    changed = others()
    configs = [config_of(ROWS[name], {}).to_dict() for name in _STEPS.value]
    for field in changed:
        if not any(_has(config, field) for config in configs):
            raise app.UsageError(f"--with: no config of {_STEPS.value} has {field}")
    rows = []
    for name in _STEPS.value:
        rows.append(measured(name, changed))
        print(rows[-1], flush=True)
        jax.clear_caches()
    peer = ["PyTorch", "ratio"] if _PEER.value else []
    heads = ["step", "batch", "medssl_jax, examples/s", *peer, "views", "kept, MB"]
    print(f"\n| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows, sep="\n")


if __name__ == "__main__":
    app.run(main)
