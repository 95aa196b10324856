"""The published recipes' steps on the accelerator that is here, beside PyTorch's.

python benchmarks/published.py
python benchmarks/published.py --steps=byol3d --with=micro_batch_size=16 --kernels=20

Needs the extra [bench]. Ours is the whole step of a run of the config, its views and its
optimizer included, in bfloat16 on an accelerator; PyTorch's is given views, and has Adam:
eager and compiled, bfloat16 by autocast, channels last. The batch lies on the device.
They run in one process, in turn, some steps at a time without a wait between them; what
counts is the ratio of the medians. FLOPs are XLA's count of the program before it is
optimized, views included; the peak is the published one of dense bfloat16. Memory is what
was taken at most. --kernels lists what the device did longest in one step.
"""

import ast
import importlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault(
    "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
)  # PyTorch takes some too

import jax
import numpy as np
from absl import app, flags
from compiled import PEAKS, built, flops_of, lowered_step
from in_turn import range_of, ratio, timed
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load, vary
from medssl_jax.step.parallel import AXIS
from medssl_jax.step.state import views_fed

CONFIGS = str(Path(__file__).parents[1] / "configs" / "any")  # a file beside them


class Row(NamedTuple):
    """A config, what is changed of it, and the same in PyTorch: peers' MODULE.FUNCTION."""

    config: str
    changes: Mapping[str, Any]
    peer: str = ""
    channels: int = 1


def _of(size: int, **changes: Any) -> dict[str, Any]:
    return {"batch_size": size, "micro_batch_size": size} | changes


ROWS = {
    "byol3d": Row("byol3d:mrnet", {"micro_batch_size": 4}, "torch_byol.train_step"),
    "byol3d_16": Row("byol3d:mrnet", {"micro_batch_size": 16}, "torch_byol.train_step"),
    "simclr": Row("simclr:chexpert", _of(128), "torch_images.simclr"),
    "gmml": Row("gmml:mrnet", {}, "torch_gmml.gmml"),
    "slices": Row("finetune_slices:mrnet", {}, "torch_gmml.slices"),
    "segment": Row(
        "segment:pancreas",
        {"method.cross_entropy": 1.0, "method.frozen_epochs": 0.0},
        "torch_unet.train_step",
    ),
    "swav_ct3d": Row("swav:ct3d", _of(8)),
}

_STEPS = flags.DEFINE_list("steps", list(ROWS), "rows of the table")
_WITH = flags.DEFINE_multi_string("with", [], "FIELD=VALUE of the configs")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "times that each is timed")
_AT_ONCE = flags.DEFINE_integer("at_once", 10, "steps that are timed as one")
_PEER = flags.DEFINE_bool("peer", True, "time PyTorch as well")
_KERNELS = flags.DEFINE_integer("kernels", 0, "kernels listed, longest first")


class Ours(NamedTuple):
    """steps, views: what can be timed. flops: of a step. made: the batch's views."""

    steps: Callable[[], float]
    views: Callable[[], None]
    flops: float
    made: Callable[[], Mapping[str, np.ndarray]]


def ours(config: ConfigDict, channels: int) -> Ours:
    device = jax.devices()[0]
    this = built(config, [device], examples=10_000, channels=channels)
    lowered = lowered_step(this, config.micro_batch_size)
    began = time.perf_counter()
    step, mesh = lowered.compile(), this.on.mesh
    print(f"compiled in {time.perf_counter() - began:.0f} s", flush=True)
    state = jax.device_put(this.made.init(this.example)(), NamedSharding(mesh, P()))
    batch = batch_of(this.example, config.micro_batch_size)
    batch = jax.device_put(batch, NamedSharding(mesh, P(AXIS)))

    def steps() -> float:
        nonlocal state
        for _ in range(_AT_ONCE.value):
            state, metrics = step(state, batch)
        return float(metrics["loss"])

    count, key = config.micro_batch_size, jax.random.key(0)
    views = jax.jit(
        lambda batch: views_fed(
            this.made.method, batch, key=key, step=0, global_size=count
        )
    )

    def make_views() -> None:
        for _ in range(_AT_ONCE.value):
            made = views(batch)
        jax.block_until_ready(made)

    flops = flops_of(config, examples=10_000, channels=channels)
    return Ours(steps, make_views, flops, lambda: jax.tree.map(np.array, views(batch)))


def batch_of(example: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Return noise as images, and labels of two classes."""
    rng = np.random.RandomState(0)

    def filled(name, x):
        shape = (size, *x.shape)
        if x.dtype == np.float16:
            return rng.rand(*shape).astype(np.float16)
        return rng.randint(256 if name == "image" else 2, size=shape).astype(x.dtype)

    batch = {name: filled(name, x) for name, x in example.items()}
    return batch | {"patient": np.arange(size, dtype=np.uint32)}


def theirs(
    row: Row, config: ConfigDict, views: Mapping[str, np.ndarray], *, compiled: bool
) -> Callable[[], float]:
    """Return as many steps of PyTorch."""
    import torch

    if torch.cuda.is_available():
        torch.set_default_device("cuda")
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    module, function = row.peer.split(".")
    make = getattr(importlib.import_module(f"peers.{module}"), function)
    adam = {"name": config.optimizer.name, "compiled": compiled}
    step = make(views, config, adam)

    def steps() -> float:
        for _ in range(_AT_ONCE.value):
            loss = step()
        return float(loss)

    return steps


def measured(name: str, others: Mapping[str, Any]) -> str:
    """Return the row of the table."""
    row = ROWS[name]
    config = vary(load(CONFIGS, row.config), {**row.changes, **others})
    size = config.micro_batch_size
    this = ours(config, row.channels)
    steps = {name: this.steps, "views": this.views}
    this.steps()
    memory = [_gib(jax.devices()[0].memory_stats(), "peak_bytes_in_use")]
    if _KERNELS.value:
        print(*kernels(this.steps)[: _KERNELS.value], sep="\n")
    if _PEER.value and row.peer:
        import torch

        views = this.made()
        for compiled, said in ((False, "eager"), (True, "compiled")):
            steps[said] = theirs(row, config, views, compiled=compiled)
            steps[said]()
            if torch.cuda.is_available():
                memory.append(f"{torch.cuda.max_memory_allocated() / 2**30:.2f}")
                torch.cuda.reset_peak_memory_stats()
    taken = timed(steps, rounds=_ROUNDS.value)
    count = size * _AT_ONCE.value
    flops = this.flops * _AT_ONCE.value / np.median(taken[name])
    kind = jax.devices()[0].device_kind.lower()
    peak = [flop_rate for chip, (flop_rate, *_) in PEAKS.items() if chip in kind]
    cells = [name, " x ".join(map(str, (size, *config.data.shape)))]
    cells += [range_of(taken[name], amount=count)]
    for said in ("eager", "compiled"):
        here = said in taken
        cells += [range_of(taken[said], amount=count) if here else "-"]
        cells += [f"{ratio(taken[name], taken[said]):.2f}" if here else "-"]
    cells += [f"{np.median(taken['views']) / np.median(taken[name]):.1%}"]
    cells += [f"{this.flops / 1e12:.2f}", f"{flops / 1e12:.0f}"]
    cells += [f"{flops / peak[0]:.1%}" if peak else "-", ", ".join(memory)]
    return f"| {' | '.join(cells)} |"


def kernels(run: Callable[[], object]) -> list[str]:
    """Return what the device did in a step, longest first: ms, times, name."""
    spent, times = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        for plane in data.planes:
            if not plane.name.startswith("/device:"):
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    spent[event.name] += event.duration_ns
                    times[event.name] += 1
    at_once = _AT_ONCE.value
    whole = f"{sum(spent.values()) / at_once / 1e6:8.3f} ms in all"
    return [whole] + [
        f"{ns / at_once / 1e6:8.3f} ms  {times[name] / at_once:6.1f}  {name[:100]}"
        for name, ns in spent.most_common()
    ]


def _gib(stats: Mapping[str, int] | None, field: str) -> str:
    return f"{stats[field] / 2**30:.2f}" if stats else "-"


def main(_) -> None:
    others = dict(one.split("=", 1) for one in _WITH.value)
    others = {field: ast.literal_eval(value) for field, value in others.items()}
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}")
    rows = []
    for name in _STEPS.value:
        rows.append(measured(name, others))
        print(rows[-1], flush=True)
        jax.clear_caches()
    heads = ["step", "batch", "medssl_jax, examples/s", "PyTorch eager", "ratio"]
    heads += ["compiled", "ratio", "views", "TFLOP", "TFLOP/s", "share of peak"]
    heads += ["GiB: ours, eager, compiled"]
    print(f"\n| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows, sep="\n")


if __name__ == "__main__":
    app.run(main)
