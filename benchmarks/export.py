"""A saved model's StableHLO file against the model itself: seconds, bytes, latency.

python benchmarks/export.py RUN [RUN ...] [--batch=1,16] [--rounds=50] [--kind=encoder]

Of each run's folder: how long writing model.stablehlo takes and how large it is beside the
weights; then both are called in turn on the same float32 images, and the medians of the
rounds are printed with the largest difference of what they say, over the largest of that.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

sys.path.append(str(Path(__file__).parent))
from in_turn import ratio, timed

from medssl_jax.saved import stablehlo
from medssl_jax.saved.encoder import load_encoder
from medssl_jax.saved.predictor import load_predictor

_BATCH = flags.DEFINE_list("batch", ["1", "16"], "images at once")
_ROUNDS = flags.DEFINE_integer("rounds", 50, "calls of each that are timed")
_KIND = flags.DEFINE_enum("kind", "encoder", ["encoder", "predictor"], "of model")


def main(arguments) -> None:
    load = {"encoder": load_encoder, "predictor": load_predictor}[_KIND.value]
    for path in arguments[1:]:
        model = load(path)
        print(f"{path}: {model.spec['model']}")
        program = _written(model)
        for count in map(int, _BATCH.value):
            _compare(model, program, count)


def _written(model):
    """Write the file and read it back; print what that takes."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        stablehlo.write(Path(folder), model)
        took = time.perf_counter() - began
        model.save(Path(folder))
        content = (Path(folder) / stablehlo.FILE).read_bytes()
        weights = (Path(folder) / "weights.safetensors").stat().st_size
    print(f"  written in {took:.1f} s: {len(content):,} bytes, weights {weights:,}")
    return jax.jit(jax.export.deserialize(content).call)


def _compare(model, program, count: int) -> None:
    shape = (count, *model.host.shape, model.spec["channels"])
    images = np.random.RandomState(0).rand(*shape).astype(np.float32)
    found, expected = (jax.tree.leaves(f(images)) for f in (program, model))
    apart = max(  # of the largest that is said
        np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
        for a, b in zip(found, expected, strict=True)
    )
    calls = {
        "program": lambda: jax.block_until_ready(program(images)),
        "package": lambda: jax.block_until_ready(model(images)),
    }
    taken = timed(calls, rounds=_ROUNDS.value)
    said = ", ".join(
        f"{name} {1e3 * statistics.median(t):.2f} ms" for name, t in taken.items()
    )
    times = ratio(taken["program"], taken["package"])
    print(f"  {count} image(s): {said}; {times:.2f} times as fast; apart {apart:.1e}")


if __name__ == "__main__":
    app.run(main)
