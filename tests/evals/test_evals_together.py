"""Several evaluators as one, and predictions of examples without labels."""

import csv

import numpy as np
import pytest

from medssl_jax import resolve
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator, class_count, together
from medssl_jax.evals.predictions import write_predictions
from medssl_jax.evals.validation import validation


def one(during, **final):
    return Evaluator(lambda params, aux: during, lambda params, aux: final)


def test_what_several_tell_is_merged_in_their_order():
    first = one({"validation_loss": 0.5}, headline="A.", tables=[1], values={"AUC": 1})
    second = one(
        {"speed": 2.0}, headline="B.", tables=[2, 3], roc=[4], values={"Dice": 2}
    )
    merged = together([first, second])
    assert merged.during(None, None) == {"validation_loss": 0.5, "speed": 2.0}
    found = merged.final(None, None)
    assert found["headline"] == "A. B."
    assert found["tables"] == [1, 2, 3] and found["roc"] == [4]
    assert found["values"] == {"AUC": 1, "Dice": 2}


def test_what_the_data_lacks_is_told_of_each_where_only_validation_is_asked_too(
    monkeypatch,
):
    lacking = iter(["no x", "no y"])
    monkeypatch.setattr(
        resolve,
        "factory",
        lambda package, name: (
            lambda context: one({})._replace(lacking=(next(lacking),))
        ),
    )
    of = [{"name": "a"}, {"name": "b"}]
    context = Context(*[None] * 9, seed=0)
    assert validation(context, of=of).lacking == ("no x", "no y")


def test_two_that_choose_the_checkpoint_are_refused():
    same = one({"validation_loss": 0.5}, headline="A.")
    with pytest.raises(ConfigError, match="two evaluators that tell validation_loss"):
        together([same, same]).during(None, None)


def test_two_values_of_one_name_are_refused():
    same = one({}, headline="A.", values={"AUC": 1})
    with pytest.raises(ConfigError, match="two evaluators that tell values"):
        together([same, same]).final(None, None)


def test_classes_are_counted_over_all_roles_and_two_at_least():
    train, test, one = (
        Examples(list("abc"), dict, np.array(labels))
        for labels in ([0, 1, 0], [0, 3, 1], [0, 0, 0])
    )
    assert class_count(train, test) == class_count(test, train) == 4
    assert class_count(one) == 2


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scans_without_labels_have_probabilities_alone(tmp_path):
    source = Examples(["a", "b"], dict)
    write_predictions(tmp_path / "p.csv", source, np.array([[0.25, 0.75], [1, 0]]))
    first, second = rows(tmp_path / "p.csv")
    assert first == {
        "name": "a",
        "patient": "",
        "probability_0": "0.25",
        "probability_1": "0.75",
    }
    assert second["probability_0"] == "1"


def test_other_labels_than_the_models_are_left_out(tmp_path):
    source = Examples(["a"], dict, np.array([3]))
    p = np.array([[0.5, 0.25]])
    write_predictions(tmp_path / "p.csv", source, p, ("edema", "pus"))
    (row,) = rows(tmp_path / "p.csv")
    assert row.keys() == {"name", "patient", "probability_edema", "probability_pus"}
