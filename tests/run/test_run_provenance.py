"""What is written down of a run's data."""

import numpy as np

from medssl_jax.data.source import Examples
from medssl_jax.run.provenance import summary


def test_classes_are_counted_and_the_unlabelled_apart():
    source = Examples(list("abcd"), dict, np.array([1, -1, 0, 1]), list("ppqq"))
    found = summary(source)
    assert found["label_counts"] == {"0": 1, "1": 2, "none": 1}
    assert found["count"] == 4 and found["patients"] == 2


def test_findings_are_counted_by_what_is_known_of_each():
    labels = np.array([[1, 0], [1, 0], [-1, 0], [0, 0]])
    source = Examples(list("abcd"), dict, labels, label_names=("edema", "pus"))
    assert summary(source)["label_counts"] == {
        "edema present": 2,
        "edema absent": 1,
        "edema unknown": 1,
        "pus present": 0,
        "pus absent": 4,
    }
    assert summary(Examples(list("abcd"), dict))["label_counts"] is None
