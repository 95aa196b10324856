"""Folders of shards for tests: configs/prepare.py run on small data."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from medssl_jax.commands import prepare
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.pipeline import Rows, train_batches

ROOT = Path(__file__).parents[1]
_HOST = {field.name for field in dataclasses.fields(HostTransform)}


def get_config(variant: str = "demo") -> ConfigDict:
    path = ROOT / "configs/prepare.py"
    spec = importlib.util.spec_from_file_location("configs_prepare", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant).lock()


def config(variant: str = "demo", **settings) -> ConfigDict:
    """Return the config with changed fields; a setting's `__` is a dot."""
    found = get_config(variant)
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    found.update_from_flattened_dict(changed)
    return found


def images(root: Path, count: int, *, seed: int = 0, shape=(9, 11)) -> Path:
    """Write `count` .npy images of different sizes, and a table; return the root."""
    root.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        size = [n + int(random.integers(4)) for n in shape]
        np.save(root / f"{i:03d}.npy", random.integers(0, 255, size, dtype=np.uint8))
    rows = [f"{i:03d}.npy,{i % 3},p{seed}-{i // 2}" for i in range(count)]
    (root / "table.csv").write_text("path,label,patient\n" + "\n".join(rows))
    return root


def npy(root: Path, **settings) -> ConfigDict:
    """Return the config for the images of `images`."""
    settings = {
        "data__root": str(root),
        "data__labels": str(root / "table.csv"),
        "data__shape": (8, 8),
        "data__window": "none",
        "examples_per_shard": 4,
        **settings,
    }
    return config("npy", **settings)


def run(found: ConfigDict, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    prepare.run(found, folder)
    return folder


def sources(found: ConfigDict, source: dict, folder: Path, **splits):
    """Open `source` as training does, with the host settings of a prepare config.

    Returns:
      The sources by role, and what draws from their images.
    """
    data = found.data.to_dict()
    settings = {name: data[name] for name in _HOST & data.keys()}
    host = HostTransform(frames="all", **settings)
    opened = roles.sources(
        source,
        splits,
        prepare=host.prepare,
        cache="",
        on_error=data["on_error"],
        balance="",
        seed=0,
        folder=folder,
    )
    return opened, host.draw


def raw(found: ConfigDict) -> dict:
    """Return the settings of the source that a prepare config names."""
    others = _HOST | {"on_error"}
    return {k: v for k, v in found.data.to_dict().items() if k not in others}


def batches(opened, draw, count: int, *, workers: int = 0) -> list[dict]:
    source, rows = opened[roles.TRAIN], Rows(4, 0, 1)
    order = sampler("shuffled", source, batch_size=4, seed=3)
    iterator = train_batches(
        source, draw, sampler=order, rows=rows, seed=3, workers=workers
    )
    return [next(iterator) for _ in range(count)]
