"""The source of phantom radiographs: seeds, patients, findings that agree with boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_configs import load

from medssl_jax.data.host import check
from medssl_jax.data.sources.phantom_chests import REVISION, phantom_chests
from medssl_jax.errors import ConfigError
from medssl_jax.saved.encoder import backbone

FIGURES = {1: (602.887, 190.498, 726.633, 0.315579)}


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


def test_pictures_change_only_with_the_revision():
    # caches of phantoms look at REVISION: raise it when these figures have to move
    record = made(nodule_fraction=1.0)[7]
    image = record["image"].astype(float)
    figures = [image.mean(), image.std(), image[24, 28, 0], record["boxes"][0, 0]]
    np.testing.assert_allclose(figures, FIGURES[REVISION], rtol=1e-3)


@pytest.mark.slow
def test_neither_pixels_nor_an_untrained_encoder_tell():
    train, test = (made(count=400, seed=s, size_pixels=(96, 96)) for s in (0, 2))
    x, more = (
        np.stack([to_unit(source[i]["image"]) for i in range(400)])
        for source in (train, test)
    )
    features = untrained_features()
    for of_both in ((flat(x), flat(more)), (features(x), features(more))):
        for labels, wanted in zip(train.labels.T, test.labels.T, strict=True):
            probe = make_pipeline(
                PCA(64, random_state=0), StandardScaler(), LogisticRegression(C=0.01)
            ).fit(of_both[0], labels)
            found = probe.decision_function(of_both[1])
            assert roc_auc_score(wanted, found) < 0.65


def to_unit(image):
    low, high = np.percentile(image, [0.5, 99.5])
    return np.float32(np.clip((image - low) / (high - low), 0, 1))


def flat(images):
    return images.reshape(len(images), -1)


def untrained_features():
    """Return the demo's network at random weights, by the statistics of each 50."""
    settings = load("detect", "demo").model.to_dict()
    network = backbone(settings, dtype=jnp.float32, axis_name=None)
    variables = network.init(jax.random.key(0), jnp.zeros((2, 96, 96, 1)))
    apply = jax.jit(lambda x: network.apply(variables, x, True)[0].pooled)
    return lambda images: np.concatenate(
        [apply(images[i : i + 50]) for i in range(0, len(images), 50)]
    )


def test_there_are_no_more_than_asked_for():
    with pytest.raises(IndexError):
        made()[40]
