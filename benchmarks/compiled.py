"""A step lowered for devices that need not be here, and what its program says."""

import collections
import math
import re
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from medssl_jax.optim.durations import Durations
from medssl_jax.run.recipe import recipe
from medssl_jax.step.parallel import AXIS, check_divisible, parallel
from medssl_jax.step.state import make_train_step

_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16}  # others say it: f32, s8
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.+?) ([\w-]+)\((.*)$")


def lowered_step(
    config: ConfigDict, devices: Sequence[jax.Device], *, examples: int, channels: int
) -> jax.stages.Lowered:
    """Lower the step that a run of `config` would take on `devices`.

    Epochs are of so many examples, whose images have so many channels.
    """
    size = config.micro_batch_size
    check_divisible(size, len(devices))
    durations = Durations(examples, config.batch_size, size, config.train_epochs)
    made = recipe(config, durations, fill=_with_energies)
    example = _example(config, made.method, channels)
    on = parallel(config.parallel, devices)
    state = _abstract(jax.eval_shape(made.init(example)), on.mesh, P())
    batch = {
        name: np.broadcast_to(x, (size, *np.shape(x))) for name, x in example.items()
    }
    batch = _abstract(batch, on.mesh, P(AXIS))
    step = make_train_step(made.method, made.tx, axis_name=AXIS)
    return on.compile(step).lower(state, batch)


def _with_energies(views):
    """Give bands energies that no data was measured for: numbers of the same shape."""
    filled = {name: dict(ops) for name, ops in views.items()}
    for ops in filled.values():
        if "energy_bands" in ops:
            count = len(ops["energy_bands"]["sigmas"]) + 1
            known = {"mean": (0.1,) * count, "std": (0.01,) * count}
            ops["energy_bands"] = {**ops["energy_bands"], **known}
    return filled


def _example(config, method, channels):
    """Return what `data.pipeline` would give of one example, all zeros."""
    shape = tuple(config.data.shape)
    dtype = np.uint8 if config.data.window == "none" else np.float16
    image = np.zeros((*shape, channels), dtype)
    example = {"image": image, "patient": np.uint32(0)}
    if config.data.sampler == "bags":
        example["partner"] = image
    if any(method.learns):
        findings = method.learns[1]
        example["label"] = np.zeros((findings,) if findings else (), np.int32)
    if any(method.voxels):
        regions = method.voxels.regions
        example["mask"] = np.zeros((*shape, regions) if regions else shape, np.uint8)
    return example


def _abstract(tree, mesh, spec):
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def collectives(text: str) -> dict[str, tuple[int, int]]:
    """Return how many of each kind a program has, and the bytes of their results."""
    found = collections.defaultdict(lambda: (0, 0))
    for line in text.splitlines():
        if not (parts := _INSTRUCTION.match(line)):
            continue
        kind = parts[3].removesuffix("-start")
        if kind in _COLLECTIVES:
            count, size = found[kind]
            found[kind] = (count + 1, size + _bytes(parts[2]))
    return dict(found)


def movers(text: str) -> list[tuple[int, str]]:
    """Return bytes read and written by each instruction of the program's entry, and it.

    What is fused into another is not there: it moves nothing by itself.
    """
    entry = text[text.index("\nENTRY ") :].splitlines()[1:]
    found, size = [], {}
    for line in entry:
        if not (parts := _INSTRUCTION.match(line)):
            continue
        name, result, kind, rest = parts.groups()
        size[name] = _bytes(result)
        if kind in ("parameter", "tuple", "get-tuple-element", "bitcast", "constant"):
            continue
        read = sum(size.get(operand, 0) for operand in re.findall(r"%([\w.-]+)", rest))
        source = re.search(r'op_name="([^"]*)"', rest)
        shown = " ".join(f"{a}[{b}]" for a, b in _ARRAY.findall(result)[:2])
        text = f"{kind} {shown} {source[1][-90:] if source else ''}"
        found.append((size[name] + read, text))
    return sorted(found, reverse=True)


def _bytes(result: str) -> int:
    total = 0
    for kind, shape in _ARRAY.findall(result):
        digits = re.sub(r"\D", "", kind)
        bits = _BITS.get(kind) or (int(digits) if digits else 0)
        total += math.prod(int(n) for n in shape.split(",") if n) * bits // 8
    return total
