"""Reference energies against NumPy and SciPy, and the file that keeps them."""

import functools
import itertools
import json
import tracemalloc
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict, config_dict
from scipy import ndimage

from medssl_jax.data import energies
from medssl_jax.data.host import HostTransform
from medssl_jax.data.source import Examples, Source
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.views.compose import compose

SIGMAS = (1.0, 2.0)
HOST = HostTransform(shape=(12, 10), spacing_mm=None, window="none", frames="all")
GIVEN = ((0.1, 0.2, 0.3), (0.01, 0.02, 0.03))


@dataclass
class Pretended(Source):
    """As many images as asked for, made from their place; counts what is read."""

    count: int
    patients = labels = label_names = None

    def __post_init__(self):
        self.read = []

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.read.append(i)
        image = np.random.default_rng(i).integers(0, 256, (14, 10, 1), np.uint8)
        return {"image": image // (1 + i % 3)}

    def name(self, i):
        return f"image {i}"

    def stamp(self, i):
        return ""


def _bands(image):
    blurred = [image.astype(np.float64)]
    for sigma in SIGMAS:
        how = {"sigma": (sigma, sigma, 0), "mode": "constant", "truncate": 20}
        inside = ndimage.gaussian_filter(np.ones(image.shape), **how)
        blurred.append(ndimage.gaussian_filter(blurred[0], **how) / inside)
    return [a - b for a, b in itertools.pairwise(blurred)] + blurred[-1:]


def _energies(image):
    return [band.std() for band in _bands(image)]


def test_mean_and_deviation_are_numpys_over_the_images_that_evaluation_draws():
    source = Pretended(7)
    mean, std = energies.reference_energies(source, HOST.draw, sigmas=SIGMAS, seed=0)
    assert sorted(source.read) == list(range(7))
    # 14 rows, of which the canvas has the middle 12
    measured = [_energies(source[i]["image"][1:13] / 255) for i in range(7)]
    np.testing.assert_allclose(mean, np.mean(measured, axis=0), rtol=1e-4)
    np.testing.assert_allclose(std, np.std(measured, axis=0), rtol=1e-3)
    assert all(isinstance(x, float) for x in mean + std)


def test_a_hundred_million_images_are_sampled_without_repeats_or_a_list_of_them():
    source, seen = Pretended(10**8), []
    measure = functools.partial(
        energies.reference_energies, source, HOST.draw, sigmas=SIGMAS, images=200
    )
    small = Pretended(3)
    energies.reference_energies(small, HOST.draw, sigmas=SIGMAS, seed=0)  # compiles
    tracemalloc.start()
    for seed in (0, 0, 1):
        source.read = []
        measure(seed=seed)
        seen.append(source.read)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert seen[0] == seen[1] and not set(seen[0]) & set(seen[2])
    assert len(set(seen[0])) == 200
    assert 3.5e7 < np.mean(seen[0]) < 6.5e7 and max(seen[0]) > 9e7


def _views():
    """Give five views, of which three lack numbers, as a config has them."""
    bands = {
        "sigmas": (1, 2),
        "mean": config_dict.placeholder(tuple),
        "std": config_dict.placeholder(tuple),
    }
    views = {
        "large": {"energy_bands": bands, "flip": {"probability": 0.5}},
        "small": {"energy_bands": {"sigmas": [1.0, 2.0], "mean": (), "std": ()}},
        "eval": {"energy_bands": {"sigmas": (1, 2), "std": 0.0}},
        "given": {
            "energy_bands": {"sigmas": (1,), "mean": (0.5, 0.6), "std": (0.1, 0.1)}
        },
        "other": {"flip": {}},
    }
    return ConfigDict(views).to_dict()


def _counted(calls):
    def measure(*, sigmas, axes):
        calls.append((sigmas, axes))
        return GIVEN

    return measure


def test_each_view_gets_what_it_lacks_and_each_sigmas_are_measured_once(tmp_path):
    calls = []
    filled = energies.fill(_views(), _counted(calls), tmp_path / "run")
    assert calls == [((1.0, 2.0), (-2, -1))]
    for name in ("large", "small"):
        ours = filled[name]["energy_bands"]
        assert (ours["mean"], ours["std"]) == GIVEN
    assert filled["large"]["flip"] == {"probability": 0.5}
    assert filled["eval"]["energy_bands"]["mean"] == GIVEN[0]
    assert filled["eval"]["energy_bands"]["std"] == 0.0
    assert filled["given"] == _views()["given"] and filled["other"] == {"flip": {}}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["energies.json"]


def test_what_is_measured_is_kept_to_six_digits(tmp_path):
    def measure(**filters):
        return (0.123456789, 0.2, 0.3), (0.0123456789, 0.02, 0.03)

    bands = energies.fill(_views(), measure, tmp_path)["large"]["energy_bands"]
    assert bands["mean"] == (0.123457, 0.2, 0.3)
    assert bands["std"] == (0.0123457, 0.02, 0.03)


def test_a_resumed_run_reads_the_same_numbers_and_measures_nothing(tmp_path):
    source = Pretended(5)
    measure = functools.partial(
        energies.reference_energies, source, HOST.draw, images=4, seed=0
    )
    first = energies.fill(_views(), measure, tmp_path)
    source.read = []
    again = energies.fill(_views(), measure, tmp_path)
    assert again == first and source.read == []


def test_views_that_have_their_numbers_leave_no_file(tmp_path):
    views = {"given": _views()["given"]}
    assert energies.fill(views, _counted([]), tmp_path) == views
    assert list(tmp_path.iterdir()) == []


def test_filled_views_compose_from_json_too_and_eval_is_deterministic(tmp_path):
    filled = energies.fill(_views(), _counted([]), tmp_path)
    view = jax.jit(compose(json.loads(json.dumps(filled["eval"]))))
    image = np.random.default_rng(0).random((16, 16, 1), np.float32)
    one, other = (np.asarray(view(jax.random.key(i), image)) for i in (0, 1))
    np.testing.assert_array_equal(one, other)
    normalised = sum(
        energy * (band - band.mean()) / band.std()
        for energy, band in zip(GIVEN[0], _bands(image), strict=True)
    )
    np.testing.assert_allclose(one - image.mean(), normalised, atol=1e-5)


def _file(**changes):
    entry = {"sigmas": [1, 2], "axes": [-2, -1], "mean": [1] * 3, "std": [1] * 3}
    return json.dumps({"energies": [entry | changes]})


@pytest.mark.parametrize(
    "content, text",
    [
        ("", "cannot be read.*measured anew"),
        (_file()[:-20], "cannot be read.*measured anew"),
        ("[]", "is no JSON object.*measured anew"),
        (_file(axes=None), "no readable record"),
        (_file(mean=[1]), "2 sigmas, 1 means.*measured anew"),
        (_file(mean=[1, float("nan"), 1]), "not finite"),
        (_file(std=[1, -1, 1]), "negative"),
        (
            _file(sigmas=[1, 4]),
            r"sigmas \(1.0, 4.0\).*has sigmas \(1.0, 2.0\).*delete it",
        ),
        (_file(axes=[-3, -2]), r"along axes \(-3, -2\), and .* axes \(-2, -1\)"),
        ('{"energies": []}', "has the energies for nothing"),
    ],
)
def test_a_file_that_is_damaged_or_of_other_bands_is_named(tmp_path, content, text):
    path = tmp_path / "energies.json"
    path.write_text(content, encoding="utf-8")
    calls = []
    with pytest.raises(DataError, match=text) as error:
        energies.fill(_views(), _counted(calls), tmp_path)
    assert error.value.path == str(path)
    assert calls == [] and path.read_text("utf-8") == content


def test_what_cannot_be_measured_is_refused_before_anything_is_read(tmp_path):
    source = Pretended(3)
    draw = HOST.draw
    with pytest.raises(ConfigError, match="energies.images is 0"):
        energies.reference_energies(source, draw, sigmas=SIGMAS, images=0, seed=0)
    with pytest.raises(ConfigError, match=r"energy_bands.sigmas is \(\)"):
        energies.fill({"first": {"energy_bands": {}}}, _counted([]), tmp_path)
    assert source.read == [] and list(tmp_path.iterdir()) == []


def test_energies_of_real_radiographs_are_scipys(real_data):
    with np.load(real_data / "nih_cxr/nih_cxr_224.npz", allow_pickle=False) as archive:
        images = archive["images"][:4, ..., None]
    records = {str(i): {"image": image} for i, image in enumerate(images)}
    source = Examples(list(records), records.__getitem__)
    host = HostTransform((224, 224), spacing_mm=None, window="none", frames="all")
    mean, std = energies.reference_energies(source, host.draw, sigmas=SIGMAS, seed=0)
    measured = [_energies(image / 255) for image in images]
    np.testing.assert_allclose(mean, np.mean(measured, axis=0), rtol=1e-4)
    np.testing.assert_allclose(std, np.std(measured, axis=0), rtol=1e-3)
