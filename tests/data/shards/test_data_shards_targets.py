"""Masks in shards: they come back as they were prepared."""

import numpy as np
import prepared

from medssl_jax.data.order import roles
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
