"""Auxiliary heads tested: against scikit-learn, what is unknown left out and said."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context
from medssl_jax.evals.heads import heads
from medssl_jax.methods.base import Method

COUNT = 12
STATED = {"types": {"weight": 1.0}, "slices": {"weight": 1.0}}


def context(labels, planes, *, told=None, stated=STATED):
    images = np.random.default_rng(0).random((COUNT, 2, 2, 2, 1)).astype(np.float32)
    names = [str(i) for i in range(COUNT)]

    def read(name):
        return {"image": images[int(name)], "planes": planes[int(name)]}

    def predict(params, aux, batch):
        means = batch.mean(axis=(2, 3, 4))
        return {"types_probability": means, "slices_probability": 1 - means}

    told = {"types": (1, 2), "slices": ()} if told is None else told
    method = Method(*[None] * 5, predict=predict, heads=told)
    given = dict.fromkeys(Context._fields) | {
        "method": method,
        "predict": predict,
        "sources": {"test": Examples(names, read, labels)},
        "draw": lambda record, rng: record,
        "batch_size": 5,
        "spec": {"provenance": {"method": {"heads": stated}}},
        "seed": 0,
    }
    return Context(**given), images.mean(axis=(2, 3, 4))


def drawn():
    rng = np.random.default_rng(1)
    return rng.integers(0, 2, (COUNT, 3)), rng.integers(0, 2, (COUNT, 2))


def test_each_known_label_counts_once():
    labels, planes = drawn()
    labels[0, 1] = planes[2, 1] = -1
    of_run, p = context(labels, planes)
    found = heads(of_run).final(None, None)
    known = planes >= 0
    expected = {
        "AUC types finding 1": roc_auc_score(labels[1:, 1], p[1:, 0]),
        "AUC types finding 2": roc_auc_score(labels[:, 2], p[:, 1]),
        "AUC slices slices": roc_auc_score(planes[known], 1 - p[known]),
    }
    for name, value in expected.items():
        assert found["values"][name]["value"] == pytest.approx(value)
    assert found["values"].keys() == expected.keys()
    first, second, third = expected.values()
    said = (
        f"types finding 1 {first:.3f}, types finding 2 {second:.3f}, slices {third:.3f}"
    )
    assert found["headline"] == f"AUC of other heads: {said}."


def test_of_what_nobody_labelled_nothing_is_told():
    labels, planes = drawn()
    labels[:, 2] = planes[:] = -1
    found = heads(context(labels, planes)[0]).final(None, None)
    assert found["values"].keys() == {"AUC types finding 1"}
    note = found["tables"][0]["note"]
    assert "no labels of: types finding 2, slices." in note


@pytest.mark.parametrize("stated", [{}, STATED])
def test_a_method_that_tells_of_no_head_is_refused(stated):
    with pytest.raises(
        ConfigError, match="needs a classifier or a detector with heads"
    ):
        heads(context(*drawn(), told={}, stated=stated)[0])
