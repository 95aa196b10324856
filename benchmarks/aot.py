"""Compile a config's step for a TPU that is not here, and say what it would take.

python benchmarks/aot.py --config=configs/byol3d.py:mrnet --topology=v5e:2x2 --batch=16
python benchmarks/aot.py --config=configs/simclr.py:chexpert --topology=v5e:8x8 \
    --batch=1024 --examples=191027

Needs the extra [tpu], and no TPU. The recipe is the one that a run builds, on devices that
`config.parallel` maps over, in bfloat16; the data is not read, so that it has to be said
how many examples and channels it has. Figures are of one chip. Bytes and FLOPs are what
the compiler counts, and the roofline is the longer of the two at the chip's published peaks.
--movers lists the instructions that read and write most.
"""

import collections
import math
import os
import re
import time
from collections.abc import Sequence

os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # or it is looked for on the network
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from absl import app, flags
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict, config_flags

from medssl_jax.optim.durations import Durations
from medssl_jax.run.recipe import recipe
from medssl_jax.step.parallel import AXIS, check_divisible, parallel
from medssl_jax.step.state import make_train_step

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment: FILE:VARIANT.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "chips, as libtpu names them")
_BATCH = flags.DEFINE_integer("batch", 0, "micro-batch over all chips; 0: the config's")
_EXAMPLES = flags.DEFINE_integer("examples", 10_000, "examples of an epoch")
_CHANNELS = flags.DEFINE_integer("channels", 1, "channels of an image")
_MOVERS = flags.DEFINE_integer("movers", 0, "instructions listed, largest first")

# of a chip: bfloat16 FLOP/s, bytes/s of its memory, and its size (Google Cloud's pages)
_PEAKS = {
    "v4": (275e12, 1228e9, 32),
    "v5e": (197e12, 819e9, 16),
    "v5p": (459e12, 2765e9, 95),
    "v6e": (918e12, 1640e9, 32),
}
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


def compiled_step(
    config: ConfigDict, devices: Sequence[jax.Device], *, examples: int, channels: int
) -> jax.stages.Compiled:
    """Lower and compile the step that a run of `config` would take on `devices`.

    Epochs are of so many examples, whose images have so many channels.
    """
    size = config.micro_batch_size
    check_divisible(size, len(devices))
    durations = Durations(examples, config.batch_size, size, config.train_epochs)
    made = recipe(config, durations, fill=_with_energies)
    example = _example(config, made.method, channels)
    mesh = jax.make_mesh(  # which orders chips as `parallel` has them
        (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )
    state = _abstract(jax.eval_shape(made.init(example)), mesh, P())
    batch = {
        name: np.broadcast_to(x, (size, *np.shape(x))) for name, x in example.items()
    }
    batch = _abstract(batch, mesh, P(AXIS))
    step = make_train_step(made.method, made.tx, seed=config.seed, axis_name=AXIS)
    began = time.monotonic()
    lowered = parallel(config.parallel, devices).compile(step).lower(state, batch)
    at = time.monotonic()
    compiled = lowered.compile()
    print(f"lowered in {at - began:.0f} s, compiled in {time.monotonic() - at:.0f} s")
    return compiled


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


def main(_) -> None:
    config = _CONFIG.value
    with config.unlocked():
        config.running.precision = "bfloat16"
        if _BATCH.value:
            config.batch_size = max(config.batch_size, _BATCH.value)
            config.micro_batch_size = _BATCH.value
    chip = _TOPOLOGY.value.split(":")[0]
    flop_rate, byte_rate, memory = _PEAKS[chip]
    devices = topologies.get_topology_desc(
        platform="tpu", topology_name=_TOPOLOGY.value
    ).devices
    compiled = compiled_step(
        config, devices, examples=_EXAMPLES.value, channels=_CHANNELS.value
    )
    used, cost = compiled.memory_analysis(), compiled.cost_analysis()
    gib = 2**30
    state, temporaries = used.argument_size_in_bytes, used.temp_size_in_bytes
    print(
        f"{config.name}, micro-batch {config.micro_batch_size}, {len(devices)} {chip}"
    )
    print(
        f"memory: {(state + temporaries) / gib:.2f} of {memory} GiB; state and batch "
        f"{state / gib:.2f}, temporaries {temporaries / gib:.2f}"
    )
    seconds = cost["flops"] / flop_rate, cost["bytes accessed"] / byte_rate
    print(
        f"{cost['flops'] / 1e12:.2f} TFLOP, {1e3 * seconds[0]:.1f} ms; "
        f"{cost['bytes accessed'] / 1e9:.1f} GB, {1e3 * seconds[1]:.1f} ms; roofline "
        f"{1e3 * max(seconds):.1f} ms, {config.micro_batch_size / max(seconds):.0f} /s"
    )
    text = compiled.as_text()
    for kind, (count, size) in collectives(text).items():
        print(f"{count} {kind}, {size / 1e6:.1f} MB")
    for size, said in movers(text)[: _MOVERS.value]:
        print(f"{size / 1e9:8.3f} GB  {said}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
