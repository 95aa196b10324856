"""One training step of each proxy task, what its views take, and PyTorch's rotation.

python benchmarks/proxy_step.py --size=32 --batch=8
python benchmarks/proxy_step.py --size=64 --batch=2 --rounds=3

Needs the extra [bench]. All run in one process, in turn: what counts are shares and the
ratio of the medians. The encoder is that of the published 3D U-Net, the tasks' settings
are those of configs/proxy.py at this size, and a step is the whole of it: views,
forward, backward, Adam, in float32. PyTorch turns its volumes, too. A clip is one scan,
of however many patches. --peer=False leaves PyTorch out.
"""

import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import app, flags
from in_turn import rate, ratio, share, timed
from one_step import durations, step_of, views_of

from medssl_jax import resolve
from medssl_jax.methods.base import Method
from medssl_jax.models.unet import unet
from medssl_jax.views.compose import compose

_FILE = Path(__file__).parents[1] / "configs" / "proxy.py"
_SPEC = importlib.util.spec_from_file_location("proxy", _FILE)
CONFIG = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(CONFIG)

_WIDTH = flags.DEFINE_integer("width", 16, "channels of the first level")
_LEVELS = flags.DEFINE_integer("levels", 5, "levels, the bottleneck included")
_SIZE = flags.DEFINE_integer("size", 32, "voxels along each side of a scan")
_BATCH = flags.DEFINE_integer("batch", 8, "scans")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "steps of each that are timed")
_TASKS = flags.DEFINE_list("tasks", [*CONFIG.TASKS], "tasks that are timed")
_PEER = flags.DEFINE_bool("peer", True, "time rotation in PyTorch as well")


def method_of(task: str) -> Method:
    common = {"dtype": jnp.float32, "axis_name": None}
    # CPC's patches are the config's: a quarter, which at 32^3 its encoder halves to nothing
    size = _SIZE.value
    stated = CONFIG.method(task, side=size, patch=max(16, size // 4))
    views = {name: compose(ops) for name, ops in CONFIG.views(task, ndim=3).items()}
    return resolve.named(
        "method",
        "medssl_jax.methods",
        stated,
        unet(ndim=3, width=_WIDTH.value, levels=_LEVELS.value, **common),
        views=views,
        durations=durations(_BATCH.value),
        **common,
    )


def main(_) -> None:
    rng = np.random.RandomState(0)
    shape = (_BATCH.value, *[_SIZE.value] * 3, 1)
    patients = np.arange(_BATCH.value, dtype=np.uint32)
    batch = {"image": rng.rand(*shape).astype(np.float32), "patient": patients}
    steps = {}
    for task in _TASKS.value:
        method = method_of(task)
        steps[task] = step_of(method, batch)
        steps[_views(task)] = views_of(method, batch)
    if _PEER.value:
        from peers.torch_rotation import train_step

        network = {"width": _WIDTH.value, "levels": _LEVELS.value}
        hidden = CONFIG.method("rotation", side=_SIZE.value, patch=1)["hidden_sizes"]
        steps["PyTorch"] = train_step(batch["image"], hidden_sizes=hidden, **network)
    taken = timed(steps, rounds=_ROUNDS.value)
    for task in _TASKS.value:
        said = rate(task, taken[task], amount=_BATCH.value, unit="clips")
        print(f"{said}; its views alone {share(taken[_views(task)], taken[task]):.1%}")
    if _PEER.value:
        print(rate("PyTorch", taken["PyTorch"], amount=_BATCH.value, unit="clips"))
        if "rotation" in taken:
            print(f"ratio: {ratio(taken['rotation'], taken['PyTorch']):.2f}")


def _views(task: str) -> str:
    return f"{task}, views"


if __name__ == "__main__":
    app.run(main)
