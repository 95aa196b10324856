"""Boxes of more kinds than a method learns are refused where they are read."""

import numpy as np
import pytest
import tiny

from medssl_jax.data.boxed import Boxed
from medssl_jax.data.cache import Cached
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.run.suitable import check_boxes

ROWS = np.array([[0.1, 0.1, 0.5, 0.6, 0], [0.2, 0.2, 0.9, 0.8, 2]], np.float32)


def of_rows(rows, **known):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    record = {"image": image, "boxes": rows}
    raw = Examples(["chest.png"] * 2, lambda name: record, has_boxes=True, **known)
    return Cached(raw, Prepare(2, None, "none"), "")


@pytest.mark.parametrize("rows, kinds", [(ROWS, 3), (ROWS[:1], 1), (ROWS[:0], 1)])
def test_boxes_of_what_is_learnt_are_read_as_they_are(rows, kinds):
    source = Boxed(of_rows(rows), kinds, most=2)
    np.testing.assert_array_equal(source[0]["boxes"], rows)


def test_a_kind_too_many_is_named_with_the_setting():
    said = "chest.png: .*kind 2, and method.kinds is 2: kinds are 0 to 1"
    with pytest.raises(DataError, match=said):
        Boxed(of_rows(ROWS), 2, most=2)[0]


def test_a_box_too_many_is_named_with_the_setting():
    with pytest.raises(
        DataError, match="chest.png: has 2 boxes, and data.most_boxes is 1"
    ):
        Boxed(of_rows(ROWS), 3, most=1)[0]


def test_data_without_boxes_or_of_other_kinds_are_refused():
    method = tiny.method("detect", axis_name=None)
    named = of_rows(ROWS, kind_names=("nodule", "mass", "cyst"))
    with pytest.raises(
        ConfigError, match="kinds is 2, .* of train have 3: nodule, mass"
    ):
        check_boxes(method, {"train": named}, 2)
    without = Examples(["a", "b"], lambda name: {})
    with pytest.raises(ConfigError, match="the training data has none: set data.boxes"):
        check_boxes(method, {"train": without}, 2)
    check_boxes(method, {"train": of_rows(ROWS), "test": without}, 2)
    train, test = (
        of_rows(ROWS, kind_names=names) for names in (("a", "b"), ("b", "a"))
    )
    with pytest.raises(ConfigError, match="train: a, b; test: b, a; set data.kinds"):
        check_boxes(method, {"train": train, "test": test}, 2)


@pytest.mark.parametrize(
    "of_train, of_test, said",
    [
        ([[0], [0, 0]], [[1], []], "train has no box of the kind 1: label more"),
        ([[0], [1]], [[1], [2]], "chest.png: has a box of the kind 2"),
        ([[0], [1]], [[1], [0, 0, 0]], "chest.png: has 3 boxes, and .*most_boxes is 2"),
    ],
)
def test_what_a_table_tells_is_refused_before_anything_is_read(of_train, of_test, said):
    method = tiny.method("detect", axis_name=None)
    sources = {
        role: of_rows(None, box_kinds=kinds)
        for role, kinds in (("train", of_train), ("test", of_test))
    }
    with pytest.raises((ConfigError, DataError), match=said):
        check_boxes(method, sources, 2)
