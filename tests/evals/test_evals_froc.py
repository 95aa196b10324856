"""FROC by the step rule, against the reference values."""

import numpy as np
import pytest

from medssl_jax.evals.froc import RATES, sensitivities

FALSE = [0.95, 0.6, 0.55, 0.4, 0.3, 0.2, 0.15, 0.1]


def test_the_step_rule_equals_the_reference_values():
    found = sensitivities(
        FALSE, [0.9, 0.8, 0.7, 0.5, 0.25], lesions=6, images=4, at=RATES
    )
    expected = np.array([0, 0, 0, 3, 3, 4, 5, 5, 5]) / 6
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.mean(), 0.4629629630)


def test_the_lowest_threshold_counts():
    false, hits = [0.85, *FALSE[1:]], [0.9, 0.8, 0.7, 0.5, 0.25, 0.05]
    found = sensitivities(false, hits, lesions=6, images=4, at=RATES)
    np.testing.assert_allclose(found.mean(), 0.5740740741)


def brute(false, hits, lesions, images, rate):
    """Return the best of all thresholds."""
    thresholds = [*false, *hits, np.inf]
    allowed = [t for t in thresholds if np.sum(false >= t) <= rate * images + 1e-9]
    return max(np.sum(hits >= t) for t in allowed) / lesions


def test_equals_all_thresholds_tried_with_ties():
    random = np.random.RandomState(0)
    for _ in range(50):
        images, count = random.randint(1, 9), random.randint(0, 12)
        false = np.round(random.rand(random.randint(0, 20)), 1)
        hits = np.round(random.rand(count), 1)
        lesions = count + random.randint(1, 4)
        rates = [0.0, 0.1, *RATES, 1 / 3]
        found = sensitivities(false, hits, lesions=lesions, images=images, at=rates)
        expected = [brute(false, hits, lesions, images, rate) for rate in rates]
        np.testing.assert_allclose(found, expected)


def test_without_lesions_there_is_nothing_to_find():
    assert np.isnan(sensitivities(FALSE, [], lesions=0, images=4, at=[1.0])).all()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"lesions": 1}, "2 hits of 1 lesions"),
        ({"images": 0}, "0 images"),
        ({"false_scores": [np.nan]}, "not a finite number"),
        ({"at": [-1.0]}, "a rate below 0"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    given = {"false_scores": FALSE, "hit_scores": [0.1, 0.2]}
    given |= {"lesions": 3, "images": 4, "at": RATES} | change
    with pytest.raises(ValueError, match=said):
        sensitivities(**given)
