"""What stands beside an image in shards: masks as prepared, the voxels' new sides."""

import numpy as np
import prepared

from medssl_jax.data.host import Prepare
from medssl_jax.data.order import roles
from medssl_jax.data.shards import write
from medssl_jax.data.sources.phantom import phantom
from medssl_jax.data.sources.shards import shards


def test_masks_come_back_from_shards_to_the_bit(tmp_path):
    settings = {"count": 5, "seed": 3, "size_voxels": (4, 24, 24), "masks": True}
    found = prepared.config(
        "demo",
        **{f"data__{name}": value for name, value in settings.items()},
        data__shape=(4, 16, 16),
        examples_per_shard=2,
    )
    found.splits = {}
    folder = prepared.run(found, tmp_path / "shards")
    source = shards(root=str(folder), split=roles.TRAIN)
    raw = phantom(**settings)
    assert source.has_masks and tuple(source.class_names) == tuple(raw.class_names)
    for i in range(len(raw)):
        record = source[i]
        np.testing.assert_array_equal(record["mask"], raw[i]["mask"])
        place = record["foreground"]
        classes = record["mask"][tuple(place[:, 1:].T)]
        np.testing.assert_array_equal(classes, place[:, 0])
        assert set(place[:, 0]) == set(np.unique(record["mask"])) - {0}


def test_voxels_that_were_resized_have_the_field_of_view_of_before():
    random = np.random.default_rng(0)
    record = {"image": random.random((3, 10, 20, 1)), "spacing_mm": (4.0, 1.0, 0.5)}
    prepare = Prepare(3, None, "percentiles", resize=(5, 40))
    found = write._spacing_mm(record, prepare(record)["image"], prepare)
    np.testing.assert_allclose(found, (4.0, 2.0, 0.25))
    prepare = Prepare(3, (None, 0.6, 0.5), "percentiles")
    resampled = prepare(record)["image"]
    assert resampled.shape == (3, 17, 20, 1)
    found = write._spacing_mm(record, resampled, prepare)
    np.testing.assert_allclose(found, (4.0, 0.6, 0.5))
    record["image"][:, :5] = 0  # background
    prepare = Prepare(3, None, "percentiles", crop_to_body=True, longest_side=24)
    image = prepare(record)["image"]
    assert image.shape == (24, 10, 20, 1)  # of 12 x 5 x 10 mm
    np.testing.assert_allclose(write._spacing_mm(record, image, prepare), (0.5,) * 3)
