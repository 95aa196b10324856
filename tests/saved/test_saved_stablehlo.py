"""One file that JAX runs without this package: what it says, and for how many."""

import importlib.util
import subprocess
import sys

import exported
import jax
import numpy as np
import pytest
import tiny_run
from reference.layers_numpy import randomised

from medssl_jax.errors import ConfigError
from medssl_jax.saved import stablehlo
from medssl_jax.saved.predictor import Predictor, method_of, together

NEEDED = "flatbuffers, which JAX serialises with, is not installed"
pytest.importorskip("flatbuffers", reason=NEEDED)
HOST = {"spacing_mm": None, "window": "none", "frames": "all"}
SUPERVISED = {"name": "supervised", "classes": 3}
SEGMENT = {"name": "segment", "regions": 2, "dice": 1.0, "cross_entropy": 1.0}
SEGMENT |= {"background": False, "over_batch": False, "deep_supervision": False}
RESNET = {"name": "resnet", "ndim": 2, "layers": [1, 1], "block": "basic"}
RESNET |= {"width": 4, "stem": "small"}
UNET = {"name": "unet", "ndim": 3, "width": 2, "levels": 1}
DETECT = {"name": "detect", "kinds": 2, "levels": 2, "coarser": 0, "width": 8}
DETECT |= {"depth": 1, "alpha": 0.25, "gamma": 2.0, "least_points": 1.0}
DETECT |= {"candidates": 20, "most": 4, "overlap": 0.6, "middle": True}
PREDICTORS = {
    "classifier": (RESNET, SUPERVISED, (12, 12)),
    "segmenter": (UNET, SEGMENT, (4, 8, 8)),
    "detector": (RESNET, DETECT, (16, 16)),
}


def predictor(kind, seed=0):
    model, task, shape = PREDICTORS[kind]
    spec = {"model": model, "view": {"standardise": {}}, "method": task, "channels": 1}
    spec |= {"host": HOST | {"shape": list(shape)}, "provenance": {}}
    batch = {"image": np.zeros((1, *shape, 1), np.float32)}
    init = jax.jit(method_of(spec).init)
    return Predictor(*randomised(init(jax.random.key(seed), batch)), spec)


def images(model, count):
    shape = (count, *model.host.shape, model.spec["channels"])
    return np.random.RandomState(0).rand(*shape).astype(np.float32)


def reread(folder, model):
    stablehlo.write(folder, model)
    return jax.export.deserialize((folder / stablehlo.FILE).read_bytes())


# the subprocess below has a transformer
@pytest.mark.parametrize("kind", ["two stages", "3D, grey"])
def test_it_gives_the_features_of_the_encoder_for_any_number_of_images(tmp_path, kind):
    encoder = exported.encoder(kind)
    found = reread(tmp_path, encoder)
    assert found.platforms == ("cpu", "cuda", "tpu")
    for count in (1, 3) if kind == "two stages" else (2,):
        x = images(encoder, count)
        np.testing.assert_allclose(found.call(x), encoder(x), rtol=1e-4, atol=1e-5)


SLOW = pytest.param("detector", marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["segmenter", SLOW])  # the ensemble below classifies
def test_it_predicts_what_the_predictor_does(tmp_path, kind):
    model = predictor(kind)
    x = images(model, 3)
    found, expected = reread(tmp_path, model).call(x), model(x)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
    assert np.ptp(next(iter(found.values()))) > 0


def test_it_predicts_the_mean_of_an_ensemble(tmp_path):
    members = [predictor("classifier", seed) for seed in (0, 1)]
    x = images(members[0], 3)
    both = together(dict(zip("ab", members, strict=True)))
    found = reread(tmp_path, both).call(x)["probability"]
    mean = np.mean([np.asarray(one(x)["probability"]) for one in members], axis=0)
    np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-5)


def test_it_runs_where_this_package_is_not(tmp_path):
    encoder = exported.encoder("vit")
    stablehlo.write(tmp_path, encoder)
    x = images(encoder, 2)
    np.save(tmp_path / "x.npy", x)
    lines = (
        "import sys; from jax import export; import numpy as np",
        "model = export.deserialize(open('model.stablehlo', 'rb').read())",
        "np.save('y.npy', model.call(np.load('x.npy')))",
        "assert not {'medssl_jax', 'flax', 'pickle5'} & set(sys.modules)",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    subprocess.run(command, cwd=tmp_path, env=tiny_run.environment(), check=True)
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(found, encoder(x), rtol=1e-4, atol=1e-5)


def test_what_is_missing_to_write_it_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"config\.formats.*pip install flatbuffers"):
        stablehlo.check_writable()
