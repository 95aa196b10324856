"""The source of phantom radiographs: seeds, patients, findings that agree with boxes."""

import numpy as np
import pytest

from medssl_jax.data.host import check
from medssl_jax.data.sources.phantom_chests import phantom_chests
from medssl_jax.errors import ConfigError


def made(**settings):
    return phantom_chests(
        **{"count": 40, "seed": 3, "size_pixels": (48, 56)} | settings
    )


def test_findings_are_those_that_have_boxes():
    source = made()
    assert source.label_names == source.kind_names == ("nodule", "pneumothorax")
    for i in range(len(source)):
        record = check(source[i], source.name(i))
        assert record["image"].shape == (48, 56, 1)
        kinds = record["boxes"][:, -1]
        assert [int((kinds == k).any()) for k in (0, 1)] == source.labels[i].tolist()
        assert (kinds == 1).sum() <= 1
        assert record["spacing_mm"][0] == record["spacing_mm"][1]


def test_findings_are_as_frequent_as_asked():
    labels = made(count=600, nodule_fraction=0.7, pneumothorax_fraction=0.1).labels
    np.testing.assert_allclose(labels.mean(axis=0), [0.7, 0.1], atol=0.06)
    assert made(nodule_fraction=0.0).labels[:, 0].sum() == 0


def test_an_image_depends_on_its_seed_and_number_alone():
    few, many, other = made(), made(count=90), made(seed=4)
    for i in (0, 7, 39):
        for name, value in few[i].items():
            np.testing.assert_array_equal(value, many[i][name])
        assert few.stamp(i) == many.stamp(i) != other.stamp(i)
    assert not set(few.patients) & set(other.patients)
    assert (few[0]["image"] != other[0]["image"]).any()


def test_a_patients_images_share_the_anatomy_alone():
    source = made(images_per_patient=2)
    assert source.patients[0] == source.patients[1] != source.patients[2]
    (first, signs, taken), (second, others, again), (third, *_) = map(
        source.draw, range(3)
    )
    assert first == second != third
    assert signs != others and taken != again


@pytest.mark.parametrize(
    "change, said",
    [
        ({"count": 0}, "data.count 0"),
        ({"size_pixels": (8,)}, r"data.size_pixels \(8,\)"),
        ({"nodule_fraction": 1.5}, "data.nodule_fraction 1.5"),
        ({"pneumothorax_fraction": -0.1}, "data.pneumothorax_fraction -0.1"),
        ({"images_per_patient": 0}, "data.images_per_patient 0"),
    ],
)
def test_a_number_out_of_range_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        made(**change)


def test_there_are_no_more_than_asked_for():
    with pytest.raises(IndexError):
        made()[40]
