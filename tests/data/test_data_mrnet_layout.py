"""The MRNet reader on phantoms in MRNet's layout: the archive itself is not public."""

import numpy as np
import pytest
from reference.mrnet_layout import write_mrnet_layout

from medssl_jax.data.sources.mrnet import mrnet


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("mrnet")
    return root, write_mrnet_layout(root, train=6, valid=3, seed=4, shape=(5, 24, 32))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_plane_is_read_with_its_labels(archive, plane):
    root, phantoms = archive
    for split, first, count in (("train", 0, 6), ("valid", 6, 3)):
        source = mrnet(root=str(root), split=split, plane=plane, task="acl")
        np.testing.assert_array_equal(source.labels, phantoms[split].labels)
        assert source.patients == [f"{first + i:04d}" for i in range(count)]
        for i in range(count):
            image = source[i]["image"]
            slices = len(phantoms[split][i]["image"])
            assert image.dtype == np.uint8 and image.shape == (slices, 24, 32, 1)


def test_sagittal_stacks_keep_their_order(archive):
    root, phantoms = archive
    source = mrnet(root=str(root), split="valid", plane="sagittal")
    for i in range(3):
        stored, raw = source[i]["image"], phantoms["valid"][i]["image"]
        assert np.corrcoef(stored.ravel(), raw.ravel())[0, 1] > 0.99


def test_tasks_have_tables_of_their_own(archive):
    root, _ = archive
    labels = {
        task: mrnet(root=str(root), split="train", plane="coronal", task=task).labels
        for task in ("abnormal", "acl", "meniscus")
    }
    assert np.all(labels["abnormal"] >= labels["acl"])
    assert labels["acl"].any() and not labels["meniscus"].any()
