"""Records in a fixed, endless order become batches: Grain, over worker processes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import grain
import numpy as np

from medssl_jax.data.source import Record, Source

# (record, generator or None) -> arrays of one shape
Draw = Callable[[Record, np.random.Generator | None], dict[str, np.ndarray]]


class Rows(NamedTuple):
    """The rows of every global batch that one process loads."""

    global_size: int
    process: int
    processes: int

    @property
    def local_size(self) -> int:
        return self.global_size // self.processes


def train_batches(
    source: Source, draw: Draw, *, rows: Rows, seed: int, workers: int
) -> grain.DatasetIterator:
    """Return an endless iterator over this process's rows of the global batches.

    The examples of a global batch, their order, and the generator each one is drawn
    with depend on the seed and the position alone, not on the number of processes or
    workers. Every epoch is shuffled anew; an index shuffle holds no list of examples.
    The iterator's state (`get_state`) is its position, and it is what checkpoints keep.

    Batches hold what `draw` returns, and `label` (int32) where the source has labels,
    and `index` (b,), the place in the source.
    """
    order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    load = _Load(source, draw, seed)
    dataset = (
        grain.MapDataset.source(_Positions(order, rows))
        .map(load)
        .batch(rows.local_size)
        .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=64))
    )
    if workers:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    return iter(dataset)


def eval_batches(
    source: Source, draw: Draw, *, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield all examples once, in order, as drawn without a generator.

    The last batch repeats its last example up to `size`; `index` ends earlier there,
    so `len(batch["index"])` counts the examples.
    """
    load = _Load(source, draw, seed=None)
    for start in range(0, len(source), size):
        indices = range(start, min(start + size, len(source)))
        records = [load((0, index)) for index in indices]
        records += records[-1:] * (size - len(records))
        batch = {
            name: np.stack([record[name] for record in records]) for name in records[0]
        }
        yield {**batch, "index": np.asarray(indices)}


class _Positions:
    """This process's rows of the global order, as (position, index) pairs."""

    def __init__(self, order: grain.MapDataset, rows: Rows):
        self._order = order
        self._rows = rows

    def __len__(self) -> int:
        return len(self._order) // self._rows.processes

    def __getitem__(self, i: int) -> tuple[int, int]:
        batch, row = divmod(i, self._rows.local_size)
        first = batch * self._rows.global_size
        position = first + self._rows.process * self._rows.local_size + row
        return position, int(self._order[position])


class _Load:
    """Read, draw and label the example of a (position, index) pair."""

    def __init__(self, source: Source, draw: Draw, seed: int | None):
        self._source = source
        self._draw = draw
        self._seed = seed

    def __call__(self, place: tuple[int, int]) -> dict[str, np.ndarray]:
        position, index = place
        seeded = self._seed is not None
        random = np.random.default_rng([self._seed, position]) if seeded else None
        example = self._draw(self._source[index], random)
        example["index"] = np.int64(index)
        if self._source.labels is not None:
            example["label"] = np.int32(self._source.labels[index])
        return example
