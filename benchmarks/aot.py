"""Compile a config's step for TPUs or a GPU that are not here, and say what it would take.

python benchmarks/aot.py --config=configs/byol3d.py:mrnet --topology=v5e:2x2 --batch=16
python benchmarks/aot.py --config=configs/simclr.py:chexpert --topology=v5e:8x8 \
    --batch=1024 --examples=191027
python benchmarks/aot.py --config=configs/byol3d.py:mrnet --topology=h200

Needs the extra [tpu] or [gpu], and neither of them. The recipe is the one that a run
builds, on devices that `config.parallel` maps over, in bfloat16; the data is not read, so
that it has to be said how many examples and channels it has. Figures are of one chip.
Bytes and FLOPs are what the compiler counts (bytes of a GPU: what its instructions read
and write), and the roofline is the longer of the two at the chip's published peaks.
--movers lists the instructions that read and write most. For a GPU cuDNN's and cuBLAS'
first choices are compiled, since which is fastest is not known without one.
"""

import os
import time

os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # or it is looked for on the network
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import app, flags
from compiled import (
    PEAKS,
    built,
    collectives,
    described,
    flops_of,
    lowered_step,
    movers,
)
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment: FILE:VARIANT.")
_TOPOLOGY = flags.DEFINE_string(
    "topology", "v5e:2x2", "chips, as libtpu names them, or h100 or h200"
)
_BATCH = flags.DEFINE_integer("batch", 0, "micro-batch over all chips; 0: the config's")
_EXAMPLES = flags.DEFINE_integer("examples", 10_000, "examples of an epoch")
_CHANNELS = flags.DEFINE_integer("channels", 1, "channels of an image")
_MOVERS = flags.DEFINE_integer("movers", 0, "instructions listed, largest first")


def main(_) -> None:
    config = _CONFIG.value
    with config.unlocked():
        config.running.precision = "bfloat16"
        if _BATCH.value:
            config.batch_size = max(config.batch_size, _BATCH.value)
            config.micro_batch_size = _BATCH.value
    chip = _TOPOLOGY.value.split(":")[0]
    flop_rate, byte_rate, memory = PEAKS[chip]
    devices, options = described(_TOPOLOGY.value)
    began = time.monotonic()
    this = built(config, devices, examples=_EXAMPLES.value, channels=_CHANNELS.value)
    lowered = lowered_step(this, config.micro_batch_size)
    at = time.monotonic()
    compiled = lowered.compile(compiler_options=options)
    print(f"lowered in {at - began:.0f} s, compiled in {time.monotonic() - at:.0f} s")
    used, text = compiled.memory_analysis(), compiled.as_text()
    cost = compiled.cost_analysis() or {  # a GPU's compiler does not count
        "flops": flops_of(config, examples=_EXAMPLES.value, channels=_CHANNELS.value),
        "bytes accessed": sum(size for size, _ in movers(text)),
    }
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
    for kind, (count, size) in collectives(text).items():
        print(f"{count} {kind}, {size / 1e6:.1f} MB")
    for size, said in movers(text)[: _MOVERS.value]:
        print(f"{size / 1e9:8.3f} GB  {said}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
