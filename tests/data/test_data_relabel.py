"""Labels of one source in the words of another's classifier."""

from dataclasses import replace

import numpy as np
import pytest

from medssl_jax.data.relabel import classes, findings, first_of, partly_labelled
from medssl_jax.data.source import UNLABELLED, Examples, is_labelled
from medssl_jax.errors import ConfigError


def source(labels):
    names = [f"{i}" for i in range(len(labels))]
    return Examples(names, lambda name: {"name": name}, np.array(labels))


def test_classes_are_renamed_left_out_and_left_unknown():
    found = classes(source([0, 1, 2, UNLABELLED, 1]), (2, UNLABELLED, 0), 3)
    assert found.labels.tolist() == [2, UNLABELLED, 0, UNLABELLED, UNLABELLED]
    assert len(found) == 5 and found[3] == {"name": "3"} and found.name(4) == "4"


def test_without_a_table_a_label_is_the_class_of_its_number():
    assert classes(source([1, 0, 1]), (), 2).labels.tolist() == [1, 0, 1]
    with pytest.raises(ConfigError, match=r"config\.relabel \(\) .* 0 to 2 here"):
        classes(source([1, 0, 2]), (), 2)


def test_findings_that_are_shown_in_part_keep_their_names():
    data = Examples(list("abcd"), dict, np.eye(4, 2, dtype=int), None, None, None)
    shown = partly_labelled(replace(data, label_names=("pus", "edema")), 0.5, seed=0)
    assert shown.label_names == ("pus", "edema")
    known = is_labelled(shown.labels)
    assert 0 < known.sum() < 4
    np.testing.assert_array_equal(shown.labels[known], data.labels[known])


def test_findings_are_matched_by_name_and_unknown_where_there_are_none():
    data = source([[1, 0], [0, -1]])
    found = findings(data, ("edema", "hernia"), ("nodule", "hernia", "edema"))
    assert found.labels.tolist() == [[-1, 0, 1], [-1, -1, 0]]
    assert found.label_names == ("nodule", "hernia", "edema")
    with pytest.raises(ConfigError, match="tells nodule; .* but edema, hernia"):
        findings(data, ("edema", "hernia"), ("nodule",))


def test_the_first_findings_are_those_alone_or_a_class():
    labels = np.array([[1, 0, -1], [0, 1, 1], [-1, 0, 0]])
    examples = Examples(["a", "b", "c"], str, labels, label_names=("any", "x", "y"))
    two = first_of(examples, 2)
    np.testing.assert_array_equal(two.labels, labels[:, :2])
    assert two.label_names == ("any", "x")
    one = first_of(examples, 0)
    assert np.asarray(one.labels).tolist() == [1, 0, -1] and one.label_names is None
    for other in (Examples(["a"], str), Examples(["a"], str, np.array([1]))):
        assert first_of(other, 2) is other  # without labels, or of classes
