"""Images per second on the host: from raw files, from the cache, and from shards.

python benchmarks/prepare.py --kind=png --size=224,224 --count=400
python benchmarks/prepare.py --kind=nifti --size=32,96,96 --count=100

Files of that kind are made in a temporary folder: smooth noise, so that they compress
about as scans do. All three feed the same batches (checked), windowed by percentiles and
cropped; they take turns, so that a slow spell of the machine hits each. --source names
the source that reads the files, --workers Grain's worker processes.
"""

import statistics
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict
from PIL import Image
from scipy import ndimage

from medssl_jax.commands import prepare
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.pipeline import Rows, train_batches

SOURCES = {"npy": "npy", "nifti": "nifti", "png": "images", "jpeg": "images"}
_KIND = flags.DEFINE_enum("kind", "nifti", list(SOURCES), "files to make")
_SOURCE = flags.DEFINE_string("source", None, "what reads them; default: by kind")
_SIZE = flags.DEFINE_list("size", ["32", "96", "96"], "of an image or a volume")
_COUNT = flags.DEFINE_integer("count", 100, "files")
_BATCH = flags.DEFINE_integer("batch", 32, "images of a batch")
_WORKERS = flags.DEFINE_integer("workers", 0, "Grain's worker processes")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "epochs of each that are timed")

HOST = {
    "spacing_mm": None,
    "window": "percentiles",
    "percentiles": (0.5, 99.5),
    "window_hu": None,
}


def make(folder: Path, kind: str, size: tuple[int, ...], count: int) -> None:
    """Write `count` files of smooth noise with a little sharp noise on top."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        smooth = ndimage.gaussian_filter(random.standard_normal(size), 4)
        image = smooth / smooth.std() + 0.05 * random.standard_normal(size)
        pixels = np.clip(128 + 40 * image, 0, 255).astype(np.uint8)
        path = folder / f"{i:05d}"
        if kind == "npy":
            np.save(path.with_suffix(".npy"), pixels)
        elif kind == "nifti":
            volume = nib.Nifti1Image((8 * pixels).astype(np.int16), np.eye(4))
            nib.save(volume, path.with_suffix(".nii.gz"))
        else:
            Image.fromarray(pixels).save(path.with_suffix(f".{kind}"))


def feed(settings: dict, host: HostTransform, cache: str, folder: Path):
    """Return a function that starts an endless iterator over batches."""
    source = roles.sources(
        settings,
        {},
        prepare=host.prepare,
        cache=cache,
        on_error="raise",
        balance="",
        seed=0,
        folder=folder,
    )[roles.TRAIN]
    rows = Rows(_BATCH.value, 0, 1)
    order = sampler("shuffled", source, batch_size=_BATCH.value, seed=0)
    return lambda: train_batches(
        source, host.draw, sampler=order, rows=rows, seed=0, workers=_WORKERS.value
    )


def main(_) -> None:
    size = tuple(map(int, _SIZE.value))
    shape = tuple(n - n // 8 for n in size)
    host = HostTransform(shape=shape, frames="all", **HOST)
    # a prefetching thread may still fill the cache when it is over
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        make(folder / "raw", _KIND.value, size, _COUNT.value)
        source = _SOURCE.value or SOURCES[_KIND.value]
        settings = {"name": source, "root": str(folder / "raw")}
        config = ConfigDict({"data": settings | HOST | {"on_error": "raise"}})
        config.data.shape = shape
        config.update(splits={}, examples_per_shard=256)
        config.update(workers=0, beam=False, beam_options=())
        (folder / "shards").mkdir()
        began = time.perf_counter()
        prepare.run(config, folder / "shards")
        print(f"prepared {_COUNT.value / (time.perf_counter() - began):.0f} images/s")
        shards = {"name": "shards", "root": str(folder / "shards"), "split": "train"}
        feeds = {
            "raw files": feed(settings, host, "", folder),
            "cache": feed(settings, host, "cache", folder),
            "shards": feed(shards, host, "", folder),
        }
        compare(feeds)
        for part, pattern in {"raw files": "raw/*", "shards": "shards/*-of-*"}.items():
            size_mb = sum(path.stat().st_size for path in folder.glob(pattern)) / 1e6
            print(f"{part}: {size_mb:.1f} MB")


def compare(feeds: dict) -> None:
    """Time epochs of each in turn; check that all give the same batches."""
    steps = max(1, _COUNT.value // _BATCH.value)
    rates = {name: [] for name in feeds}
    for timed in [False] + [True] * _ROUNDS.value:  # first, the cache is filled
        last = []
        for name, start in feeds.items():
            batches = start()  # anew: one that ran before has batches in store
            began = time.perf_counter()
            for _ in range(steps):
                batch = next(batches)
            rate = steps * _BATCH.value / (time.perf_counter() - began)
            batches.close()  # or it would fill its store while the next is timed
            if timed:
                rates[name].append(rate)
            last.append(batch["image"].tobytes())
        assert len(set(last)) == 1, "the batches differ"
    for name, found in rates.items():
        spread = f"{min(found):.0f} to {max(found):.0f}"
        print(f"{name}: {statistics.median(found):.0f} images/s ({spread})")


if __name__ == "__main__":
    app.run(main)
