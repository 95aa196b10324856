"""Records in the sampler's order become batches: Grain, over worker processes."""

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grain
import numpy as np

from medssl_jax.data.order.sampler import Sampler
from medssl_jax.data.source import Record, Source
from medssl_jax.data.workers import begin as begin_worker

# what is written beside a record: for the log, and for whoever wants to know
_HOST_ONLY = ("index", "partner_index", "repeated_frames", "padding")
_ENDLESS = 2**53  # Grain divides it as a float, by 1 too
_CHOICE, _PARTNER = 0, 1  # streams of a row beside that of its first image

# (record, generator or None) -> arrays of one shape
DrawRecord = Callable[[Record, np.random.Generator | None], dict[str, np.ndarray]]


class Rows(NamedTuple):
    """The rows of every global batch that one process loads."""

    global_size: int
    process: int
    processes: int

    @property
    def local_size(self) -> int:
        return self.global_size // self.processes


def train_batches(
    source: Source,
    draw: DrawRecord,
    *,
    sampler: Sampler,
    rows: Rows,
    seed: int,
    workers: int,
) -> grain.DatasetIterator:
    """Return an endless iterator over this process's rows of the global batches.

    The examples of a global batch, their order, and the generator each one is drawn
    with depend on the seed and the position alone, not on the number of processes or
    workers. The iterator's state (`get_state`) is its position, and it is what
    checkpoints keep.

    Batches hold what `draw` returns, and `label` (int32) where the source has labels,
    and `index` (b,), the place in the source, and `patient` (b,), a hash of the patient's
    name, or of the example's where patients are unknown. Where the sampler draws pairs, these
    are of the first, and `partner` and `partner_index` the image and place of the
    second, which is drawn with a generator of its own.
    """
    load = _LoadRow(source, draw, sampler, seed)
    dataset = (
        grain.MapDataset.source(_Positions(rows))
        .map(load)
        .batch(rows.local_size)
        .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=64))
    )
    if workers:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
            worker_init_fn=lambda index, count: begin_worker(),
        )
    return iter(dataset)


def eval_batches(
    source: Source, draw: DrawRecord, *, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield all examples once, in order, as drawn without a generator.

    The last batch repeats its last example up to `size`; `index` ends earlier there,
    so `len(batch["index"])` counts the examples.
    """
    for start in range(0, len(source), size):
        indices = range(start, min(start + size, len(source)))
        records = [_example(source, draw, index, None) for index in indices]
        records += records[-1:] * (size - len(records))
        batch = {
            name: np.stack([record[name] for record in records]) for name in records[0]
        }
        yield {**batch, "index": np.asarray(indices)}


def for_device(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return all fields of a batch but those that the host keeps of its rows."""
    return {name: array for name, array in batch.items() if name not in _HOST_ONLY}


class _Positions:
    """This process's rows, as positions in the global order; there is no last one."""

    def __init__(self, rows: Rows):
        self._rows = rows

    def __len__(self) -> int:
        return _ENDLESS // self._rows.processes

    def __getitem__(self, i: int) -> int:
        batch, row = divmod(i, self._rows.local_size)
        first = batch * self._rows.global_size
        return first + self._rows.process * self._rows.local_size + row


class _LoadRow:
    """Read, draw and label what the sampler has at a position."""

    def __init__(self, source: Source, draw: DrawRecord, sampler: Sampler, seed: int):
        self._source = source
        self._draw = draw
        self._sampler = sampler
        self._seed = seed

    def __call__(self, position: int) -> dict[str, np.ndarray]:
        index, *partner = self._sampler.row(position, self._random(position, _CHOICE))
        example = _example(self._source, self._draw, index, self._random(position))
        for other in partner:
            random = self._random(position, _PARTNER)
            drawn = _example(self._source, self._draw, other, random)
            example["partner"] = drawn["image"]
            example["partner_index"] = drawn["index"]
        return example

    def _random(self, position: int, *stream: int) -> np.random.Generator:
        return np.random.default_rng(
            np.random.SeedSequence([self._seed, position], spawn_key=stream)
        )


def _example(
    source: Source, draw: DrawRecord, index: int, random: np.random.Generator | None
) -> dict[str, np.ndarray]:
    example = draw(source[index], random)
    example["index"] = np.int64(index)
    known = source.patients
    patient = source.name(index) if known is None else str(known[index])
    example["patient"] = np.uint32(zlib.crc32(patient.encode()))
    if source.labels is not None:
        example["label"] = np.int32(source.labels[index])
    return example
