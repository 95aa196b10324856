"""A whole volume through one network by windows: ours and MONAI's.

python benchmarks/sliding_window.py --classes=3,60 --shape=128,256,256 --tile=64,64,64

Needs the extra [bench]; --peer=False leaves MONAI out. Both give every voxel's class by
Gaussian weights at half steps, from a network of two convolutions with the same weights
and a softmax, so that what is measured is mostly what is done with its probabilities.
Every run has a process of its own, in turn: seconds are of the volume alone, memory is
by how much the process's peak (ru_maxrss) grew over that of one batch of windows.
"""

import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

_CLASSES = flags.DEFINE_list("classes", ["3", "60"], "classes of the network")
_SHAPE = flags.DEFINE_list("shape", ["128", "256", "256"], "of the volume")
_TILE = flags.DEFINE_list("tile", ["64", "64", "64"], "of a window")
_WIDTH = flags.DEFINE_integer("width", 8, "channels of the network")
_BATCH = flags.DEFINE_integer("batch", 1, "windows at a time")
_ROUNDS = flags.DEFINE_integer("rounds", 1, "runs of each")
_PEER = flags.DEFINE_bool("peer", True, "run MONAI as well")
_ONE = flags.DEFINE_string("one", "", "run this one in this process")
_OUT = flags.DEFINE_string("out", "", "where its classes are written")


def kernels(classes: int) -> list[np.ndarray]:
    """Return the network's kernels, (*size, in, out)."""
    rng, width = np.random.RandomState(0), _WIDTH.value
    shapes = (3, 3, 3, 1, width), (3, 3, 3, width, width), (1, 1, 1, width, classes)
    return [
        rng.randn(*shape).astype(np.float32) * math.sqrt(2 / math.prod(shape[:-1]))
        for shape in shapes
    ]


def ours(classes: int):
    """Return functions of a volume: its first windows, all of it."""
    import jax

    from medssl_jax.evals import sliding
    from medssl_jax.models.conv import convolve

    tile, weights = tuple(map(int, _TILE.value)), kernels(classes)

    @jax.jit
    def predict(x):
        for kernel in weights[:-1]:
            x = jax.nn.relu(convolve(x, kernel, (1, 1, 1)))
        return jax.nn.softmax(convolve(x, weights[-1], (1, 1, 1)))

    def run(volume):
        slabs = sliding.slabs(
            volume[..., None],
            predict,
            tile=tile,
            batch_size=_BATCH.value,
            step=0.5,
            places=[np.arange(float(n)) for n in volume.shape],
            decide=sliding.classes,
        )
        return np.concatenate(list(slabs))

    images = np.zeros((_BATCH.value, *tile, 1), np.float32)
    return lambda: jax.block_until_ready(predict(images)), run


def monai(classes: int):
    """Return what `ours` does."""
    import torch
    from monai.inferers import SlidingWindowInferer

    tile = tuple(map(int, _TILE.value))
    weights = [
        torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1))).contiguous()
        for kernel in kernels(classes)
    ]
    inferer = SlidingWindowInferer(
        tile, _BATCH.value, overlap=0.5, mode="gaussian", sigma_scale=0.125
    )

    def predict(x):
        for kernel in weights[:-1]:
            x = torch.relu(torch.conv3d(x, kernel, padding=1))
        return torch.softmax(torch.conv3d(x, weights[-1]), dim=1)

    @torch.inference_mode()
    def run(volume):
        found = inferer(torch.tensor(volume)[None, None], predict)
        return found.argmax(dim=1)[0].to(torch.uint8).numpy()

    @torch.inference_mode()
    def first():
        predict(torch.zeros(_BATCH.value, 1, *tile))

    return first, run


def measure(name: str, classes: int) -> str:
    """Run one volume; return what it took, as one line."""
    first, run = {"medssl_jax": ours, "MONAI": monai}[name](classes)
    shape = tuple(map(int, _SHAPE.value))
    volume = np.random.RandomState(1).rand(*shape).astype(np.float32)
    first()
    before, began = _peak_mib(), time.perf_counter()
    found = run(volume)
    seconds, grown = time.perf_counter() - began, _peak_mib() - before
    np.save(_OUT.value, found)
    return (
        f"{classes} classes, {name}: {seconds:.1f} s, {grown:.0f} MiB "
        f"over {before:.0f} MiB"
    )


def _peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(_) -> None:
    if _ONE.value:
        name, classes = _ONE.value.split(",")
        print(measure(name, int(classes)), flush=True)
        return
    names = ("medssl_jax", "MONAI") if _PEER.value else ("medssl_jax",)
    with tempfile.TemporaryDirectory() as folder:
        for classes in _CLASSES.value:
            for name in names * _ROUNDS.value:
                subprocess.run(
                    [
                        *(sys.executable, *sys.argv),
                        f"--one={name},{classes}",
                        f"--out={folder}/{name}.npy",
                    ],
                    check=True,
                )
            found = [np.load(Path(folder, f"{name}.npy")) for name in names]
            same = np.mean(found[0] == found[-1])
            print(f"{classes} classes: the same in {100 * same:.3f} % of the voxels")


if __name__ == "__main__":
    app.run(main)
