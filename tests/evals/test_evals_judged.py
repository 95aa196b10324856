"""Images judged one by one, against scikit-learn and COCO, and through their table."""

import csv

import numpy as np
import pytest

from medssl_jax.errors import DataError
from medssl_jax.evals.coco import average_precision
from medssl_jax.evals.hits import Detected, matched
from medssl_jax.evals.judged import FILE, MEASURES, judge, values, write_judged
from medssl_jax.protocols.tested import read_cases

KINDS = ["a nodule", "mass"]


def drawn(count=40, seed=0):
    """Return images whose detections lie near what there is, and elsewhere."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        n, extra = rng.integers(0, 3, 2)
        low = rng.random((n, 2)) * 0.6
        truth = np.concatenate([low, low + 0.1 + 0.25 * rng.random((n, 2))], axis=1)
        near = truth + rng.normal(0, 0.03, truth.shape)
        low = rng.random((extra, 2)) * 0.6
        boxes = np.concatenate([near, np.concatenate([low, low + 0.2], axis=1)])
        kinds = rng.integers(0, 2, n)
        found = np.concatenate([kinds, rng.integers(0, 2, extra)])
        scores = rng.random(n + extra) + np.repeat([0.3, 0.0], [n, extra])
        images.append(Detected(truth, kinds, boxes, scores / 1.3, found))
    return images


def test_matches_are_coco_s():
    # detection by detection: the better overlap, once, the likeliest first
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 0.8]])
    boxes = np.array([[0, 0, 1, 0.9], [0, 0, 1, 1], [0, 0, 1, 0.95], [0, 0, 1, 0.3]])
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    one = Detected(truth, np.zeros(2, int), boxes, scores, np.zeros(4, int))
    found = matched(one, 0.5)
    # the first overlaps the first by .9 and the second by .89
    assert found.hit_scores.tolist() == [0.9, 0.8]
    assert found.false_scores.tolist() == [0.7, 0.6]
    other = one._replace(kinds=np.ones(4, int))
    assert matched(other, 0.5).hit_scores.tolist() == []


def test_average_precision_is_coco_s_without_its_interpolation():
    images = drawn(300)
    ours = MEASURES["mAP50"]([judge(one, 0.5, 2) for one in images])
    coco = average_precision(images, 2, (512, 512))["AP50"]
    # precision made to fall, at 101 points of recall: never lower, hardly higher
    assert ours <= coco + 0.005 and ours == pytest.approx(coco, abs=0.03)
    assert 0.5 < ours < 0.95


def test_what_is_never_found_costs():
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    zero, none = np.zeros(1, int), np.zeros(0)
    found = Detected(box, zero, box, np.array([0.5]), zero)
    missed = Detected(box, zero, np.empty((0, 4)), none, none.astype(int))
    judged = [judge(one, 0.5, 1) for one in (found, missed, missed, missed)]
    assert MEASURES["mAP50"](judged) == 0.25
    assert MEASURES["mAP50"](judged[1:]) == 0
    assert MEASURES["FROC"](judged) == 0.25


@pytest.mark.parametrize("kinds", [KINDS, ["=mass", "of boxes a heap"]])
def test_a_run_is_read_as_it_was_judged(tmp_path, kinds):
    images = drawn()
    judged = [judge(one, "centre", 2) for one in images]
    names = [f"{i}.png" for i in range(len(images))]
    patients = [f"p{i // 2}" for i in range(len(images))]
    write_judged(tmp_path / FILE, names, patients, kinds, judged)
    cases = read_cases(tmp_path)
    assert list(cases.names) == names and list(cases.patients) == patients
    assert list(cases.classes) == kinds and cases.main == "AUC"
    expected = values(judged)
    assert cases.measures.keys() == expected.keys() == MEASURES.keys()
    for name, measure in cases.measures.items():
        assert measure(np.arange(len(names))) == expected[name]
        some = np.array([3, 3, 7, 20, 21, 30])
        assert measure(some) == MEASURES[name]([judged[i] for i in some])


def test_where_all_images_have_boxes_froc_is_the_main_measure(tmp_path):
    images = [one for one in drawn() if len(one.truth)]
    judged = [judge(one, 0.5, 2) for one in images]
    names = list(map(str, range(len(images))))
    write_judged(tmp_path / FILE, names, None, KINDS, judged)
    cases = read_cases(tmp_path)
    assert cases.main == "FROC" and "AUC" not in cases.measures
    assert cases.patients is None


@pytest.mark.parametrize(
    "column, cell, said",
    [
        ("hits", "0.5 x", "could not convert"),
        ("hits", "0.1 0.2 0.3 0.4", "are no scores of"),
        ("false", "nan", "are no scores"),
        ("guess", "cyst", "'cyst' is no kind"),
        ("boxes", None, "has no column 'boxes'"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, column, cell, said):
    judged = [judge(one, 0.5, 2) for one in drawn()]
    names = list(map(str, range(len(judged))))
    path = tmp_path / FILE
    write_judged(path, names, None, KINDS, judged)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop(column) if cell is None else row.update({column: cell})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DataError, match=said):
        read_cases(tmp_path)
