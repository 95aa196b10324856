"""Relative deviations, on probabilities written out by hand."""

import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.protocols.deviations import Images, Moved, mean_absolute, summarise


def moved(before, after):
    return Moved(np.float32(before)[:, None], np.float32(after)[..., None])


# two images, four transforms each: (p' - p) / p is -.5, 0, 1, 2 and .25, .5, -1, -.5
ONE = moved([0.2, 0.4], [[0.1, 0.2, 0.4, 0.6], [0.5, 0.6, 0.0, 0.2]])
# 0, .1, -.1, .2 and 0, 0, 0, 1
OTHER = moved([0.5, 0.5], [[0.5, 0.55, 0.45, 0.6], [0.5, 0.5, 0.5, 1.0]])
TWO = Images(["a", "b"], ["p", "q"])


def summary(by_model, images=TWO):
    return summarise({"gamma": by_model}, images, of="probability", seed=0)


def rows(found):
    (table,) = found["tables"]
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def test_deviations_are_signed_and_their_absolute_values_meaned():
    expected = [[-0.5, 0, 1, 2], [0.25, 0.5, -1, -0.5]]
    np.testing.assert_allclose(ONE.deviation[..., 0], expected, atol=1e-6)
    assert mean_absolute(ONE.deviation)(np.arange(2)) == pytest.approx(5.75 / 8)
    assert mean_absolute(ONE.deviation)(np.array([1, 1])) == pytest.approx(2.25 / 4)


def test_each_number_of_the_table_is_under_its_name():
    found = summary({"random": ONE, "SwAV": OTHER})
    first, second = rows(found)
    assert (first["view"], first["of"], second["of"]) == ("gamma", "random", "SwAV")
    # sorted: -1, -.5, -.5, 0, .25, .5, 1, 2
    told = {"lower quartile": "-0.500", "median": "+0.125", "upper quartile": "+0.625"}
    assert {name: first[name] for name in told} == told
    assert first["mean absolute (95 % interval)"].startswith("0.719 (")
    assert second["mean absolute (95 % interval)"].startswith("0.175 (")
    assert first["less that of random"] == ""
    # of one patient -.775, of the other -.3125: no resample has 0
    assert second["less that of random"] == "-0.544 (-0.775 to -0.313) *"
    known = found["values"]["gamma, SwAV - random"]
    assert known["value"] == pytest.approx(0.175 - 0.71875)
    np.testing.assert_allclose(
        found["robustness"]["boxes"]["gamma"]["random"],
        np.percentile([-1, -0.5, -0.5, 0, 0.25, 0.5, 1, 2], (5, 25, 50, 75, 95)),
        atol=1e-6,
    )
    assert found["headline"].startswith(
        "Mean absolute deviation less that of random: under gamma SwAV -0.544 ("
    )


def test_images_without_a_ratio_are_counted_and_left_out_of_both_sides():
    p, q = np.copy(OTHER.before), np.copy(OTHER.after)
    p[0] = 0
    found = summary({"random": ONE, "SwAV": Moved(p, q)})
    first, second = rows(found)
    assert first["mean absolute (95 % interval)"].startswith("0.719 (")
    assert second["mean absolute (95 % interval)"].startswith("0.250 (")
    # of the second image alone: .25 - .5625
    assert second["less that of random"].startswith("-0.313 (")
    assert "SwAV gives 1 of 2 a p of 0" in found["tables"][0]["note"]
    with pytest.raises(ConfigError, match="random gives no image a probability above"):
        summary({"random": Moved(np.zeros((2, 1)), q)})


def test_one_model_is_set_against_none():
    found = summary({"random": ONE})
    (row,) = rows(found)
    assert list(row)[-1] == "mean absolute (95 % interval)"
    assert found["headline"].startswith("Mean absolute deviation of random: 0.719 (")
    assert "paired" not in found["tables"][0]["note"]


def test_findings_are_pooled():
    both = Moved(
        np.concatenate([ONE.before, OTHER.before], axis=1),
        np.concatenate([ONE.after, OTHER.after], axis=2),
    )
    found = mean_absolute(both.deviation)(np.arange(2))
    assert found == pytest.approx((5.75 + 1.4) / 16)


def random(rng, count, patients):
    p = rng.uniform(0.2, 0.6, (count, 1))
    q = p[:, None] * (1 + 0.4 * rng.normal(size=(count, 5, 1)))
    names = [str(i) for i in range(count)]
    return Moved(p, q), Images(names, [str(i % patients) for i in range(count)])


def test_the_interval_is_that_of_other_patients():
    rng = np.random.default_rng(0)
    one, images = random(rng, 24, patients=6)
    found = summary({"a": one}, images)["values"]["gamma, a"]
    each = np.abs(one.after / one.before[:, None] - 1).mean(axis=(1, 2))
    by_patient = each.reshape(4, 6).mean(axis=0)  # image i is of patient i % 6
    draws = by_patient[rng.integers(6, size=(20_000, 6))].mean(axis=1)
    assert found["value"] == pytest.approx(each.mean())
    expected = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose([found["low"], found["high"]], expected, atol=0.005)


def test_of_many_differences_the_headline_tells_those_of_the_first_view():
    views = ("gamma", "rotation", "scaling")
    by_view = {view: {"a": ONE, "b": OTHER, "c": OTHER} for view in views}
    found = summarise(by_view, TWO, of="probability", seed=0)
    assert "gamma b" in found["headline"] and "rotation" not in found["headline"]
    assert len(found["tables"][0]["rows"]) == 9
