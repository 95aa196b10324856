"""What is known of examples reaches through every wrapper, row by row."""

import dataclasses
import inspect
import pickle
import pkgutil

import numpy as np
import pytest

import medssl_jax.data
from medssl_jax.data.cache import Cached
from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.columns import Columns
from medssl_jax.data.host import Prepare
from medssl_jax.data.order.mixture import Mixture, taken
from medssl_jax.data.relabel import classes, partly_labelled
from medssl_jax.data.source import Examples, Source, Subset, Wrapper, is_labelled
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.run.provenance import summary

LABELS, PATIENTS = [2, 0, 1, 1, 0, 2], list("uvwxyz")
BONES = ("background", "femur", "tibia")
ROWS = np.array([4, 1, 1, 5])


def read(name):
    if name == "c":
        raise DataError(name, "is broken")
    values = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    return {"image": values + np.uint8(ord(name))}


def examples(**others):
    known = {"labels": np.array(LABELS), "patients": PATIENTS, "class_names": BONES}
    return Examples(list("abcdef"), read, **known | others)


def findings():
    table = np.array([[1, -1], [0, 1], [0, 0], [1, 1], [-1, 0], [1, 0]])
    return examples(labels=table, label_names=("edema", "pus"))


def test_one_known_finding_makes_an_example_a_labelled_one():
    marks = np.array([[1, -1], [-1, -1], [-1, 0]])
    assert is_labelled(marks).tolist() == [True, False, True]
    assert is_labelled(np.array([-1, 0, 2])).tolist() == [False, True, True]


def names(source):
    return [source.name(i) for i in range(len(source))]


def wrapped(kind, tmp_path):
    """Return a source under a wrapper, and the places of its examples."""
    source, whole = examples(), np.arange(6)
    return {
        "cached": lambda: (Cached(source, Prepare(2, None, "none"), ""), whole),
        "subset": lambda: (Subset(source, ROWS), ROWS),
        "subset of a subset": lambda: (
            Subset(Subset(source, whole[::-1]), 5 - ROWS),
            ROWS,
        ),
        "checked": lambda: (
            skip_unusable(source, tmp_path / "skipped.csv"),
            np.delete(whole, 2),
        ),
        "relabelled": lambda: (classes(source, (0, 1, 2), 3), whole),
        "all labels shown": lambda: (partly_labelled(source, 1.0, 0), whole),
        "cached, then taken": lambda: (
            taken(Cached(source, Prepare(2, None, "none"), ""), ROWS),
            ROWS,
        ),
        "mixture": lambda: (
            Mixture([Subset(source, whole[:2]), Subset(source, whole[2:])], ("a", "b")),
            whole,
        ),
    }[kind]()


KINDS = [
    "cached",
    "subset",
    "subset of a subset",
    "checked",
    "relabelled",
    "all labels shown",
    "cached, then taken",
    "mixture",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_wrapper_knows_of_its_examples_what_the_source_knows(kind, tmp_path):
    source, places = wrapped(kind, tmp_path)
    for known in (source, source.columns, pickle.loads(pickle.dumps(source))):
        assert np.asarray(known.labels).tolist() == [LABELS[i] for i in places]
        assert list(known.patients) == [PATIENTS[i] for i in places]
        assert known.label_names is None and known.class_names == BONES


@pytest.mark.parametrize("kind", KINDS)
def test_every_wrapper_tells_where_an_example_was_decoded(kind, tmp_path):
    source, places = wrapped(kind, tmp_path)
    origins = [source.origin(i) for i in range(len(source))]
    assert [i for _, i in origins] == places.tolist()
    assert all(type(origin) is Examples for origin, _ in origins)
    assert [origin.name(i) for origin, i in origins] == [
        name.rpartition(": ")[2] for name in names(source)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_wrapper_counts_its_examples_once(kind, tmp_path):
    source, places = wrapped(kind, tmp_path)
    assert source.distinct == len(set(places.tolist())) == summary(source)["distinct"]


def test_repeats_are_seen_under_other_wrappers_and_counted_once():
    fed = Subset(examples(), np.array([0, 1, 3, 1, 0, 1]))
    assert classes(fed, (), 3).distinct == 3
    assert Subset(fed, np.array([0, 1, 3, 4])).distinct == 2  # 0 and 4 are one
    assert Mixture([fed, examples()], ("a", "b")).distinct == 3 + 6


def test_no_wrapper_tells_of_its_examples_by_itself():
    """A column that is new has to be known to `Wrapper`, and to no wrapper."""
    for module in pkgutil.walk_packages(medssl_jax.data.__path__, "medssl_jax.data."):
        __import__(module.name)
    columns = {name for name, _ in inspect.getmembers(Columns, _is_column)}
    assert columns == {
        "labels",
        "patients",
        "label_names",
        "label_classes",
        "has_masks",
        "masked",
        "class_names",
        "has_boxes",
        "kind_names",
        "box_kinds",
    }
    assert columns <= vars(Wrapper).keys() and len(_all(Wrapper)) >= 3
    for wrapper in _all(Wrapper):
        assert not columns & vars(wrapper).keys(), wrapper
    assert columns <= vars(Mixture).keys()


def _is_column(member):
    return hasattr(member, "func")  # a cached property


def _all(kind):
    return {kind for one in kind.__subclasses__() for kind in (one, *_all(one))}


def test_rows_of_findings_keep_their_names():
    found = findings().columns.take(ROWS)
    assert found.labels.tolist() == [[-1, 0], [0, 1], [0, 1], [1, 0]]
    assert found.label_names == ("edema", "pus")


def test_other_labels_leave_what_else_is_known():
    found = classes(examples(), (1, 1, 0), 2)
    assert found.labels.tolist() == [0, 1, 1, 1, 1, 0]
    assert found.patients == PATIENTS and found.class_names == BONES


def test_what_is_not_known_stays_unknown():
    bare = Examples(list("ab"), read)
    for source in (bare, Subset(bare, np.array([1]))):
        columns = source.columns
        known = columns.labels, columns.patients, columns.class_names
        assert known == (None, None, None)


class Unasked(Source):
    """Fails when it is asked for what it knows."""

    @property
    def labels(self):
        raise AssertionError("labels were made")

    patients = label_names = labels

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return read("a")

    def name(self, i):
        return str(i)

    def stamp(self, i):
        return ""


def test_no_column_is_made_before_it_is_asked_for():
    source = Cached(Unasked(), Prepare(2, None, "none"), "")
    subset = Subset(source, ROWS)
    assert subset.name(0) == "4" and subset.distinct == 3 and len(subset) == 4
    assert subset[0]["image"].shape == (4, 4, 1)
    with pytest.raises(AssertionError, match="labels were made"):
        _ = subset.labels


def test_labels_of_a_subset_are_made_once():
    subset = Subset(examples(), ROWS)  # `pipeline` asks for them with every example
    assert subset.labels is subset.labels and subset.patients is subset.patients


def test_classes_of_masks_that_differ_within_a_mixture_are_refused_when_asked_for():
    knees, hearts = examples(), examples(class_names=("background", "ventricle"))
    mixture = Mixture([knees, hearts], ("mr", "ct"))
    assert len(mixture) == 12  # pretraining does not ask
    with pytest.raises(ConfigError, match="femur, tibia and background, ventricle"):
        _ = mixture.class_names
    unnamed = Mixture([examples(class_names=None), knees], ("mr", "ct"))
    assert unnamed.class_names == BONES


def test_kinds_of_boxes_that_differ_within_a_mixture_are_refused_when_asked_for():
    def boxed(*names):
        return dataclasses.replace(examples(), has_boxes=True, kind_names=names)

    mixture = Mixture([boxed("nodule"), boxed("mass")], ("ct", "xray"))
    assert mixture.has_boxes
    with pytest.raises(ConfigError, match="boxes .* the kinds mass and nodule"):
        _ = mixture.kind_names
    same = Mixture([boxed("mass"), boxed("mass")], ("ct", "xray"))
    assert same.kind_names == ("mass",)
    assert not Mixture([boxed("mass"), examples()], ("ct", "xray")).has_boxes


def test_names_of_classes_go_with_labels_that_are_these_classes():
    named = dataclasses.replace(examples(), label_classes=("a", "b", "c"))
    assert Subset(named, np.array([1])).label_classes == ("a", "b", "c")
    assert partly_labelled(named, 1.0, seed=0).label_classes == ("a", "b", "c")
    assert classes(named, (), 3).label_classes == ("a", "b", "c")
    assert classes(named, (0, 1, 1), 3).label_classes is None  # others now
    others = dataclasses.replace(examples(), label_classes=("x",))
    with pytest.raises(ConfigError, match="labels .* the classes a, b, c and x"):
        _ = Mixture([named, others], ("ct", "mr")).label_classes
