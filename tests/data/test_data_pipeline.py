"""The order of examples: the same for any number of processes, workers and restarts."""

import json

import numpy as np
import pytest
from absl import flags

from medssl_jax.data.pipeline import Rows, eval_batches, train_batches
from medssl_jax.data.source import Examples

COUNT, BATCH = 10, 4


class Draw:
    """An image as it is, or with the generator's next number added."""

    def __call__(self, record, rng):
        noise = 0.0 if rng is None else rng.random()
        return {"image": record["image"] + noise}


def read(name):
    return {"image": np.full((2, 2, 1), float(name))}


def source(count=COUNT):
    names = [str(i) for i in range(count)]
    return Examples(names, read, labels=np.arange(count) % 3)


def batches(count, *, process=0, processes=1, workers=0, iterator=None):
    rows = Rows(BATCH, process, processes)
    settings = {"rows": rows, "seed": 5, "workers": workers}
    iterator = iterator or train_batches(source(), Draw(), **settings)
    return [next(iterator) for _ in range(count)], iterator


def together(per_process):
    """Join the processes' rows of each global batch."""
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*per_process, strict=True)
    ]


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_every_epoch_holds_every_example_once_in_a_new_order():
    found, _ = batches(2 * COUNT // BATCH)
    order = np.concatenate([batch["index"] for batch in found])
    first, second = order[:COUNT], order[COUNT:]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert list(first) != list(second)
    np.testing.assert_array_equal(
        np.concatenate([batch["label"] for batch in found]), order % 3
    )


def test_an_example_is_drawn_anew_in_every_epoch():
    found, _ = batches(2 * COUNT // BATCH)
    index = np.concatenate([batch["index"] for batch in found])
    noise = np.concatenate([batch["image"][:, 0, 0, 0] for batch in found]) - index
    assert len(np.unique(noise)) == 2 * COUNT


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_load_the_batches_of_one(processes):
    alone, _ = batches(6)
    each = [batches(6, process=p, processes=processes)[0] for p in range(processes)]
    assert_same(together(each), alone)


def test_workers_change_nothing():
    flags.FLAGS.mark_as_parsed()  # Grain's workers want absl's flags
    alone, _ = batches(4)
    assert_same(batches(4, workers=2)[0], alone)


def test_a_saved_position_goes_on_with_the_next_batch():
    whole, _ = batches(5)
    _, iterator = batches(2)
    position = json.loads(json.dumps(iterator.get_state()))
    _, other = batches(0)
    other.set_state(position)
    assert_same(batches(3, iterator=other)[0], whole[2:])


def test_evaluation_sees_each_example_once_in_order_without_chance():
    found = list(eval_batches(source(), Draw(), size=BATCH))
    assert [len(batch["image"]) for batch in found] == [BATCH] * 3
    index = np.concatenate([batch["index"] for batch in found])
    np.testing.assert_array_equal(index, np.arange(COUNT))
    images = np.concatenate([batch["image"][:, 0, 0, 0] for batch in found])
    np.testing.assert_array_equal(images[:COUNT], np.arange(COUNT))


def test_findings_are_batched_as_rows():
    numbers = [str(i) for i in range(COUNT)]
    labels = np.arange(COUNT * 3).reshape(COUNT, 3) % 3 - 1
    given = Examples(numbers, read, labels, label_names=("a", "b", "c"))
    (first, *_) = eval_batches(given, Draw(), size=BATCH)
    assert first["label"].dtype == np.int32
    np.testing.assert_array_equal(first["label"], labels[:BATCH])
