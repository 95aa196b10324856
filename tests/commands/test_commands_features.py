"""Features and masks of a source: each under the name of its example."""

import numpy as np
from ml_collections import ConfigDict

from medssl_jax.commands import features, predict
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.data.source import Examples, Subset
from medssl_jax.methods.base import Voxels
from medssl_jax.saved.predictor import Predictor

HOST = HostTransform((2, 3), None, "none", "all")


def read(name):
    image = np.random.default_rng(int(name[1:])).random((2, 3, 1))
    return {"image": image.astype(np.float32)}


def test_features_names_and_labels_are_of_the_same_example(tmp_path, monkeypatch):
    names, labels = [f"s{i}" for i in (3, 0, 4, 1, 2)], np.array([2, 0, 1, 1, 0])
    source = Examples(names, read, labels)

    class Flat:
        host, spec = HOST, {}

        def __call__(self, images):
            assert len(images) == 2  # of one shape: it compiles once
            return np.asarray(images).reshape(len(images), -1)

    monkeypatch.setattr(features, "load_encoder", lambda path: Flat())
    monkeypatch.setattr(roles, "whole", lambda data, prepare, folder: source)
    config = ConfigDict({"batch_size": 2, "init_from": "a", "data": {}})
    features.run(config, tmp_path)
    found = np.load(tmp_path / "features.npz")
    assert found["names"].tolist() == names
    np.testing.assert_array_equal(found["labels"], labels)
    expected = [read(name)["image"].ravel() for name in names]
    np.testing.assert_array_equal(found["features"], expected)


def test_a_mask_is_written_under_the_name_of_the_file_that_it_is_of(tmp_path, capsys):
    written = {}

    def write_mask(name, mask, folder, names):
        written[name] = mask.tolist()
        assert names == ["bone"]

    note = {"mask_note": "they are marked"}
    whole = Examples(["s0", "s1", "s2"], read, write_mask=write_mask, **note)

    class Found(Predictor):
        def __init__(self):
            self.spec = {"class_names": ("air", "bone")}

        voxels = Voxels(classes=2, regions=0)

        def of_record(self, record, name="an image"):
            return {"mask": record["image"]}

    predict._masks(Found(), Subset(whole, np.array([2, 0])), tmp_path / "masks")
    assert written == {name: read(name)["image"].tolist() for name in ("s2", "s0")}
    assert capsys.readouterr().out.endswith("/masks\nthey are marked\n")
