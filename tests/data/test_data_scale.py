"""A hundred million images take no list of them: not to be opened, nor shuffled."""

import gc
import json
import os
import pickle
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import prepared
import pytest

from medssl_jax import resolve
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.pipeline import Rows, train_batches
from medssl_jax.data.source import Source
from medssl_jax.data.sources import shards as module
from medssl_jax.data.sources.shards import shards
from medssl_jax.run import provenance

COUNT = 10**8
SHARES = {"ct": 0.72, "mr": 0.25, "xray": 0.01, "us": 0.02}  # the paper's
MIB = 2**20
MOST = 4 * MIB
BATCH = 4
RANDOM = np.random.default_rng(0)  # which only bags draw from


class Pretend(Source):
    """Images of 8 x 8 made from their index, as many as are asked for."""

    patients = label_names = None

    def __init__(self, *, count, labelled=False):
        self.count = count
        # all the same number, in the memory of one
        self.labels = np.broadcast_to(np.int64(1), count) if labelled else None

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if not 0 <= i < self.count:
            raise IndexError(i)
        values = np.random.default_rng(i).integers(0, 256, (8, 8, 1), np.uint8)
        return {"image": values}

    def name(self, i):
        return f"pretended-{i}"

    def stamp(self, i):
        return ""


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Return a function that opens a source as a training run does."""
    real = resolve.factory
    monkeypatch.setattr(
        resolve,
        "factory",
        lambda package, name: Pretend if name == "pretend" else real(package, name),
    )
    host = HostTransform(shape=(8, 8), spacing_mm=None, window="none", frames="all")

    def open_source(order, labelled=False):
        source = {"name": "pretend", "count": COUNT}
        if order == "modalities":
            parts = [
                {
                    "name": "pretend",
                    "count": round(share * COUNT),
                    "modality": modality,
                    "labelled": labelled and modality == "mr",
                }
                for modality, share in SHARES.items()
            ]
            source = {"sources": parts}
        found = roles.sources(
            source,
            {"test": {"fraction": 0.0}},
            prepare=host.prepare,
            cache="",
            on_error="raise",
            balance="",
            seed=0,
            folder=tmp_path,
        )
        return found, host.draw

    return open_source


def traced(function):
    """Return the most memory in bytes that a call held more than before, and its value."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        value = function()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before, value


@pytest.mark.parametrize("order", ["shuffled", "distinct", "modalities"])
def test_first_batches_of_a_hundred_million_take_no_list_of_them(opened, order):
    def start():
        found, draw = opened(order)
        train = found[roles.TRAIN]
        rows = sampler(order, train, batch_size=BATCH, seed=3)
        batches = train_batches(
            train, draw, sampler=rows, rows=Rows(BATCH, 0, 1), seed=3, workers=0
        )
        taken = [next(batches) for _ in range(3)]
        batches.close()
        return taken, [train.name(int(i)) for i in taken[0]["index"]], train

    peak, (taken, names, train) = traced(start)
    assert peak < MOST, f"{peak / MIB:.1f} MiB"
    assert (
        provenance.summary(train)["count"]
        == provenance.summary(train)["distinct"]
        == COUNT
    )
    for batch in taken:
        for image, i in zip(batch["image"], batch["index"], strict=True):
            np.testing.assert_array_equal(image, train[int(i)]["image"])
    if order == "modalities":
        assert [name.split(":")[0] for name in names] == [*SHARES]


def test_labels_of_one_source_of_a_mixture_take_no_list_for_all(opened):
    def start():
        found, draw = opened("modalities", labelled=True)
        train = found[roles.TRAIN]
        rows = sampler("modalities", train, batch_size=BATCH, seed=3)
        batches = train_batches(
            train, draw, sampler=rows, rows=Rows(BATCH, 0, 1), seed=3, workers=0
        )
        taken = next(batches)
        batches.close()
        return taken

    peak, batch = traced(start)
    assert peak < MOST, f"{peak / MIB:.1f} MiB"
    assert batch["label"].tolist() == [-1, 1, -1, -1]


def test_a_run_describes_a_hundred_million_without_a_list(opened):
    found, _ = opened("modalities")
    peak, about = traced(lambda: provenance.summary(found[roles.TRAIN]))
    assert peak < MIB and about["count"] == COUNT and about["patients"] is None


@pytest.mark.slow
@pytest.mark.parametrize("order", ["shuffled", "distinct", "modalities"])
def test_a_pass_over_a_hundred_million_is_a_shuffle_of_them(opened, order):
    train = opened(order)[0][roles.TRAIN]
    rows = sampler(order, train, batch_size=BATCH, seed=3)
    count = 100_000
    drawn = np.array([rows.row(i, RANDOM)[0] for i in range(count)])
    if order == "modalities":
        drawn = drawn[:: len(SHARES)]  # computed tomography, the first 72 %
        whole = round(SHARES["ct"] * COUNT)
    else:
        whole = COUNT
    assert len(set(drawn.tolist())) == len(drawn)
    assert drawn.min() >= 0 and drawn.max() < whole
    # each tenth of the source is drawn as often, and the next one may lie anywhere:
    # Grain's cipher leaves a correlation of up to .05, which a random order would not
    tenths = Counter((drawn * 10 // whole).tolist())
    expected = len(drawn) / 10
    assert all(abs(tenths[k] - expected) < 5 * expected**0.5 for k in range(10))
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.1


def test_passes_over_a_hundred_million_differ(opened):
    rows = sampler("shuffled", opened("shuffled")[0][roles.TRAIN], batch_size=4, seed=3)
    first = [rows.row(i, RANDOM)[0] for i in range(100)]
    second = [rows.row(COUNT + i, RANDOM)[0] for i in range(100)]
    assert first != second


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One shard of twelve images, with labels and patients."""
    raw = prepared.images(tmp_path_factory.mktemp("raw") / "images", 12)
    folder = tmp_path_factory.mktemp("shards")
    return prepared.run(prepared.npy(raw, examples_per_shard=12), folder)


def repeated(tiny: Path, folder: Path, times: int) -> Path:
    """Pretend to as many shards by links to the one, each with its examples again."""
    folder.mkdir()
    (one,) = tiny.glob("*array_record*")
    files = []
    for i in range(times):
        name = one.name.replace("00000-of-00001", f"{i:05d}-of-{times:05d}")
        os.link(one, folder / name)
        files.append({"file": name, "bytes": one.stat().st_size, "examples": 12})
    for name in ("dataset_info.json", "features.json"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    about = json.loads((tiny / "prepared.json").read_text())
    about["splits"]["train"]["shards"] = files
    (folder / "prepared.json").write_text(json.dumps(about))
    examples = json.loads((tiny / "train.examples.json").read_text())
    examples["examples"] *= times
    (folder / "train.examples.json").write_text(json.dumps(examples))
    for path in tiny.glob("train.*.npy"):
        rows = np.load(path)
        np.save(folder / path.name, np.concatenate([rows] * times))
    return folder


def test_shards_are_opened_without_what_is_known_of_their_examples(tiny, tmp_path):
    """A hundred times the examples in as many shards take the same memory."""
    times = 300
    folder = repeated(tiny, tmp_path / "many", times)
    shards(root=str(folder), split="train")  # what is imported once is not counted
    few, _ = traced(lambda: shards(root=str(folder), split="train"))
    for path in folder.glob("train.*.npy"):
        rows = np.load(path)
        np.save(path, np.concatenate([rows] * 100))
    about = json.loads((folder / "prepared.json").read_text())
    for file in about["splits"]["train"]["shards"]:
        file["examples"] *= 100
    (folder / "prepared.json").write_text(json.dumps(about))
    many, source = traced(lambda: shards(root=str(folder), split="train"))
    assert len(source) == 12 * 100 * times
    assert many - few < 0.05 * len(source), "bytes of memory for each example"
    assert len(pickle.dumps(source)) < 1000


def test_only_so_many_shards_are_open_at_once(tiny, tmp_path, monkeypatch):
    folder = repeated(tiny, tmp_path / "many", 280)
    source = shards(root=str(folder), split="train")
    module._reader.cache_clear()
    source[0]
    before = len(os.listdir("/proc/self/fd"))
    for i in range(0, len(source), 12):
        record = source[i]
    assert len(os.listdir("/proc/self/fd")) - before < 256
    np.testing.assert_array_equal(record["image"], source[0]["image"])
    module._reader.cache_clear()


def test_patients_and_labels_of_shards_are_counted_without_a_copy(tiny, tmp_path):
    source = shards(root=str(repeated(tiny, tmp_path / "many", 40)), split="train")
    about = provenance.summary(source)
    assert about["count"] == 480 and about["patients"] == 6
    assert about["label_counts"] == {"0": 160, "1": 160, "2": 160}
