"""Boxes of more kinds than a method learns are refused where they are read."""

import numpy as np
import pytest
import tiny

from medssl_jax.data.boxed import Boxed
from medssl_jax.data.cache import Cached
from medssl_jax.data.host import Prepare
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.run.suitable import check_data

ROWS = np.array([[0.1, 0.1, 0.5, 0.6, 0], [0.2, 0.2, 0.9, 0.8, 2]], np.float32)


def of_rows(rows, **known):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    record = {"image": image, "boxes": rows}
    raw = Examples(["chest.png"] * 2, lambda name: record, has_boxes=True, **known)
    return Cached(raw, Prepare(2, None, "none"), "")


@pytest.mark.parametrize("rows, kinds", [(ROWS, 3), (ROWS[:1], 1), (ROWS[:0], 1)])
def test_boxes_of_what_is_learnt_are_read_as_they_are(rows, kinds):
    np.testing.assert_array_equal(Boxed(of_rows(rows), kinds)[0]["boxes"], rows)


def test_a_kind_too_many_is_named_with_the_setting():
    said = "chest.png: .*kind 2, and method.kinds is 2: kinds are 0 to 1"
    with pytest.raises(DataError, match=said):
        Boxed(of_rows(ROWS), 2)[0]


def test_data_without_boxes_or_of_other_kinds_are_refused():
    method = tiny.method("detect", axis_name=None)
    named = of_rows(ROWS, kind_names=("nodule", "mass", "cyst"))
    rows = sampler("shuffled", named, batch_size=1, seed=0)
    with pytest.raises(ConfigError, match="method.kinds is 2, and the boxes have 3: n"):
        check_data(method, rows, named)
    without = Examples(["a", "b"], lambda name: {})
    with pytest.raises(ConfigError, match="the training data has none: set data.boxes"):
        check_data(method, rows, without)
    check_data(method, rows, of_rows(ROWS))
