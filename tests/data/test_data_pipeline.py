"""The order of examples: the same for any number of processes, workers and restarts."""

import json

import numpy as np
import pytest
from absl import flags

from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.pipeline import Rows, eval_batches, train_batches
from medssl_jax.data.source import Examples

COUNT, BATCH = 10, 4
SAMPLERS = ["shuffled", "distinct", "bags"]
EARLIER = [[3, 9, 4, 8], [1, 0, 6, 5], [7, 2, 7, 6], [1, 5, 9, 0], [4, 3, 2, 8]]


class Draw:
    """An image as it is, or with the generator's next number added."""

    def __call__(self, record, rng):
        noise = 0.0 if rng is None else rng.random()
        return {"image": record["image"] + noise}


def read(name):
    return {"image": np.full((2, 2, 1), float(name))}


def source(count=COUNT):
    names = [str(i) for i in range(count)]
    patients = [f"p{i // 2}" if i < 6 else f"p{i}" for i in range(count)]
    return Examples(names, read, labels=np.arange(count) % 3, patients=patients)


def batches(
    count, *, name="shuffled", process=0, processes=1, workers=0, iterator=None
):
    rows = Rows(BATCH, process, processes)
    order = sampler(name, source(), batch_size=BATCH, seed=5)
    settings = {"sampler": order, "rows": rows, "seed": 5, "workers": workers}
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


def test_the_shuffled_order_and_its_draws_are_those_of_earlier_runs():
    # a checkpoint keeps a position only: what lies there must not move
    found, _ = batches(5)
    assert [batch["index"].tolist() for batch in found] == EARLIER
    noise = found[3]["image"][:, 0, 0, 0] - found[3]["index"]
    expected = [np.random.default_rng([5, 12 + row]).random() for row in range(4)]
    np.testing.assert_allclose(noise, expected, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_load_the_batches_of_one(processes, name):
    alone, _ = batches(6, name=name)
    each = [
        batches(6, name=name, process=p, processes=processes)[0]
        for p in range(processes)
    ]
    assert_same(together(each), alone)


@pytest.mark.parametrize("name", SAMPLERS)
def test_workers_change_nothing(name):
    flags.FLAGS.mark_as_parsed()  # Grain's workers want absl's flags
    alone, _ = batches(4, name=name)
    assert_same(batches(4, name=name, workers=2)[0], alone)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_saved_position_goes_on_with_the_next_batch(name):
    whole, _ = batches(5, name=name)
    _, iterator = batches(2, name=name)
    position = json.loads(json.dumps(iterator.get_state()))
    _, other = batches(0, name=name)
    other.set_state(position)
    assert_same(batches(3, iterator=other)[0], whole[2:])


def test_evaluation_sees_each_example_once_in_order_without_chance():
    found = list(eval_batches(source(), Draw(), size=BATCH))
    assert [len(batch["image"]) for batch in found] == [BATCH] * 3
    index = np.concatenate([batch["index"] for batch in found])
    np.testing.assert_array_equal(index, np.arange(COUNT))
    images = np.concatenate([batch["image"][:, 0, 0, 0] for batch in found])
    np.testing.assert_array_equal(images[:COUNT], np.arange(COUNT))
    assert set(images[COUNT:]) == {COUNT - 1}  # of the last one, until it is full


def test_findings_are_batched_as_rows():
    numbers = [str(i) for i in range(COUNT)]
    labels = np.arange(COUNT * 3).reshape(COUNT, 3) % 3 - 1
    given = Examples(numbers, read, labels, label_names=("a", "b", "c"))
    (first, *_) = eval_batches(given, Draw(), size=BATCH)
    assert first["label"].dtype == np.int32
    np.testing.assert_array_equal(first["label"], labels[:BATCH])


def test_batches_of_one_hold_the_rows_of_larger_ones():
    """Of a source without end, whose number of batches Python has to count."""
    order = sampler("shuffled", source(), batch_size=1, seed=5)
    settings = {"sampler": order, "rows": Rows(1, 0, 1), "seed": 5, "workers": 0}
    alone = train_batches(source(), Draw(), **settings)
    indices = [int(next(alone)["index"][0]) for _ in range(2 * BATCH)]
    assert indices == EARLIER[0] + EARLIER[1]
