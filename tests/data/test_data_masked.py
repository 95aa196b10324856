"""Masks of other structures than a method learns are refused where they are read."""

import numpy as np
import pytest

from medssl_jax.data.cache import Cached
from medssl_jax.data.host import Prepare
from medssl_jax.data.masked import Masked
from medssl_jax.data.source import Examples
from medssl_jax.errors import DataError

EMPTY = np.zeros((4, 8, 8), np.uint8)
BONE = EMPTY.copy()
BONE[:2, 2:5, 3:7] = 1
PAIR = np.stack([BONE, EMPTY], axis=-1)  # two regions, one of them empty


def masked(mask, classes, regions):
    image = np.arange(256, dtype=np.uint8).reshape(*EMPTY.shape, 1)
    record = {"image": image, "mask": mask}
    raw = Examples(["knee.nii.gz"], lambda name: record, has_masks=True)
    return Masked(Cached(raw, Prepare(3, None, "none"), ""), classes, regions)


@pytest.mark.parametrize(
    ("mask", "classes", "regions"),
    [(EMPTY, 2, 0), (BONE, 2, 0), (BONE, 3, 0), (PAIR, 0, 2)],
)
def test_masks_of_what_is_learnt_are_read_as_they_are(mask, classes, regions):
    np.testing.assert_array_equal(masked(mask, classes, regions)[0]["mask"], mask)


@pytest.mark.parametrize(
    ("mask", "classes", "regions", "said"),
    [
        (BONE * 3, 3, 0, "class 3 .* method.classes is 3: classes are 0 to 2"),
        (BONE, 0, 1, "has classes .* learns regions"),
        (PAIR, 3, 0, "has regions .* learns classes"),
        (PAIR, 0, 3, "2 regions .* method.regions is 3"),
    ],
)
def test_a_mask_of_others_is_named_with_the_setting(mask, classes, regions, said):
    with pytest.raises(DataError, match=f"knee.nii.gz: .*{said}"):
        masked(mask, classes, regions)[0]
