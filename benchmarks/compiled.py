"""A step lowered for devices that need not be here, and what its program says."""

import collections
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from medssl_jax.optim.durations import Durations
from medssl_jax.run.recipe import Recipe, recipe
from medssl_jax.step.parallel import AXIS, Parallel, check_divisible, parallel
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


# of a chip: dense bfloat16 FLOP/s, bytes/s of its memory, and its size, as Google Cloud
# and NVIDIA publish them
PEAKS = {
    "a100": (312e12, 2039e9, 80),
    "h100": (989e12, 3350e9, 80),
    "h200": (989e12, 4800e9, 141),
    "l4": (121e12, 300e9, 24),
    "v4": (275e12, 1228e9, 32),
    "v5e": (197e12, 819e9, 16),
    "v5p": (459e12, 2765e9, 95),
    "v6e": (918e12, 1640e9, 32),
}

# as XLA describes a Hopper GPU to itself: one of those is described, not several
_HOPPER = """
platform_name: "CUDA"
device_description_str: "NVIDIA {name}"
dnn_version_info {{ major: 9 minor: 10 }}
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: {bandwidth:.0f} device_memory_size: {size:.0f} l2_cache_size: 52428800
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_block_limit: 1024 threads_per_core_limit: 2048 threads_per_warp: 32
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}}
"""
_GPU_OPTIONS = {
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,  # has no first choice
    "xla_gpu_force_conv_nhwc": True,  # as a run has it
}


def described(topology: str) -> tuple[Sequence[jax.Device], dict[str, Any]]:
    """Return devices that need not be here, and what the compiler is told for them."""
    chip = topology.split(":")[0]
    if chip in ("h100", "h200"):
        _, bandwidth, size = PEAKS[chip]
        text = _HOPPER.format(name=chip.upper(), bandwidth=bandwidth, size=size * 1e9)
        stated = {"platform": "cuda", "topology_name": "", "topology": "1x1x1"}
        found = topologies.get_topology_desc(**stated, target_config=text)
        return found.devices, _GPU_OPTIONS
    stated = {"platform": "tpu", "topology_name": topology}
    if topology.endswith(":1x1"):  # else a host has four
        stated["chips_per_host_bounds"] = [1, 1, 1]
    return topologies.get_topology_desc(**stated).devices, {}


class Built(NamedTuple):
    """What a run of a config would train on some devices, and an example, all zeros."""

    made: Recipe
    on: Parallel
    example: Mapping[str, np.ndarray]


def built(
    config: ConfigDict, devices: Sequence[jax.Device], *, examples: int, channels: int
) -> Built:
    """Build it, without the data.

    Epochs are of so many examples, whose images have so many channels.
    """
    size = config.micro_batch_size
    check_divisible(size, len(devices))
    durations = Durations(examples, config.batch_size, size, config.train_epochs)
    made = recipe(config, durations, fill=_with_energies)
    example = _example(config, made.method, channels)
    return Built(made, parallel(config.parallel, devices), example)


def lowered_step(this: Built, micro_batch_size: int) -> jax.stages.Lowered:
    """Lower the step for devices that need not be here."""
    step, *arguments = _step_of(this, micro_batch_size)
    return step.lower(*arguments)


def flops_of(config: ConfigDict, *, examples: int, channels: int) -> float:
    """Return those of a step as XLA counts them before it optimizes, views included.

    Its clients count them for a CPU's, and convolutions as they are for a TPU alone.
    """
    this = built(config, jax.devices("cpu")[:1], examples=examples, channels=channels)
    step, *arguments = _step_of(this, config.micro_batch_size)
    lowered = step.trace(*arguments).lower(lowering_platforms=("tpu",))
    return lowered.cost_analysis()["flops"]


def _step_of(this, micro_batch_size):
    """Return the step, and what stands for its arguments."""
    made, on, example = this
    state = _abstract(jax.eval_shape(made.init(example)), on.mesh, P())
    batch = {
        name: np.broadcast_to(x, (micro_batch_size, *np.shape(x)))
        for name, x in example.items()
    }
    batch = _abstract(batch, on.mesh, P(AXIS))
    step = make_train_step(made.method, made.tx, axis_name=AXIS)
    return on.compile(step), state, batch


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
