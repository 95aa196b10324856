"""Robustness of tiny models, its probabilities asked again of the models by hand."""

import csv
import json

import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from reference.layers_numpy import randomised
from test_configs import load

from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.protocols import robustness, transformed
from medssl_jax.saved.predictor import Predictor, load_predictor, method_of, together

MODEL = {
    "name": "resnet",
    "ndim": 2,
    "layers": [1, 1],
    "block": "basic",
    "width": 4,
    "stem": "small",
}
HOST = {"shape": [8, 8], "spacing_mm": None, "window": "none", "frames": "all"}
COUNT = 6
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 1), np.uint8)
UNIT = PIXELS.astype(np.float32) / 255
DETECT = {"name": "detect", **tiny.SETTINGS["detect"]}


def spec(**changes):
    return {
        "model": MODEL,
        "view": {},
        "host": HOST,
        "channels": 1,
        "provenance": {},
        "method": {"name": "supervised", "classes": 2},
        "evaluation": [{"name": "classify"}],
        "label_names": None,
    } | changes


def model(seed=0, **changes):
    described = spec(**changes)
    batch = {"image": UNIT, "label": np.zeros(COUNT, np.int32)}
    init = jax.jit(method_of(described).init)
    return Predictor(*randomised(init(jax.random.key(seed), batch)), described)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i, image in enumerate(PIXELS):
        Image.fromarray(image[..., 0]).save(folder / f"{i}.png")
    rows = "".join(f"{i}.png,{i % 2},p{i // 2}\n" for i in range(COUNT))
    (folder / "labels.csv").write_text("path,label,patient\n" + rows)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model().save(folder / "predictor")
    return folder


def config(data, models, views, **changes):
    found = load("robustness", "images").copy_and_resolve_references()
    found.unlock()
    found.models = tuple(map(str, models))
    found.views = views
    found.data.update(root=str(data), labels=str(data / "labels.csv"))
    found.update({"draws": 3} | changes)
    return found


def probabilities(folder):
    """Return draws of each image, by view, image and column."""
    with (folder / "probabilities.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict = {}
    for row in rows:
        for name in row:
            if name.startswith("probability"):
                place = row["view"], row["name"], row.get("finding", ""), name[12:]
                draws = found.setdefault(place, [])
                assert int(row["draw"]) == len(draws)
                draws.append(float(row[name]))
    return found


def of(folder, view, name, finding=""):
    found = probabilities(folder)
    return np.array([found[view, f"{i}.png", finding, name] for i in range(COUNT)])


def test_probabilities_are_those_of_the_images_transformed_by_numpy(
    data, run, tmp_path
):
    views = {
        "gamma": {"gamma": {"exponent": 2.0}},
        "mirror": {"flip": {"probability": 1.0}},
        "bright": {"linear": {"offset": 0.5}},  # leaves [0, 1], and is not cut off
    }
    robustness.run(config(data, [f"one={run}"], views), tmp_path)
    predictor = load_predictor(run)
    p = np.asarray(predictor(UNIT)["probability"])[:, 1]
    method = method_of(predictor.spec)
    spread = np.ptp(UNIT, axis=(1, 2, 3), keepdims=True)
    made = {"gamma": UNIT**2, "mirror": UNIT[:, :, ::-1], "bright": UNIT + spread / 2}
    for view, images in made.items():
        q = method.predict(predictor.params, predictor.aux, images)["probability"]
        found = of(tmp_path, view, "one")
        np.testing.assert_allclose(found[:, 0], p, rtol=1e-4)
        for draw in found[:, 1:].T:
            np.testing.assert_allclose(draw, q[:, 1], rtol=1e-4)
        assert np.abs(found[:, 1] - found[:, 0]).min() > 1e-5
    results = json.loads((tmp_path / "results.json").read_text())
    expected = np.abs(of(tmp_path, "gamma", "one")[:, 1] / p - 1).mean()
    assert results["values"]["gamma, one"]["value"] == pytest.approx(expected, rel=1e-3)
    page = (tmp_path / "report.html").read_text()
    assert "Robustness</h2>" in page and "probability of class 1" in page


RANDOM = {"noise": {"gaussian_noise": {"std": (0.05, 0.2)}, "gamma": {"exponent": 2}}}


def test_models_are_given_the_same_images_and_transforms(data, run, tmp_path):
    models = [f"one={run}", f"again={run / 'predictor'}"]
    robustness.run(config(data, models, RANDOM), tmp_path)
    one, again = (of(tmp_path, "noise", name) for name in ("one", "again"))
    np.testing.assert_array_equal(one, again)
    assert np.ptp(one[:, 1:], axis=1).min() > 1e-5  # draws differ
    values = json.loads((tmp_path / "results.json").read_text())["values"]
    gain = values["noise, again - one"]
    assert gain == {"value": 0, "low": 0, "high": 0}


def test_transforms_depend_on_neither_the_batch_nor_what_else_is_drawn(
    data, run, tmp_path
):
    whole = config(data, [run], RANDOM)
    few = config(data, [run], RANDOM, batch_size=4, draws=2, images=3)
    few.seed = whole.seed
    for name, one in (("whole", whole), ("few", few)):
        robustness.run(one, tmp_path / name)
    expected = probabilities(tmp_path / "whole")
    found = probabilities(tmp_path / "few")
    assert len(expected) == COUNT and len(found) == 3
    for place, draws in found.items():
        np.testing.assert_allclose(draws, expected[place][:3], rtol=1e-4)


def test_a_transform_is_of_its_image_and_of_its_number():
    view = transformed.composed("noise", RANDOM["noise"])
    places, draws = np.array([0, 0, 1, 0]), np.array([0, 1, 0, 0])
    four = UNIT[np.zeros(4, int)]
    made, _ = transformed._transform(view)(jax.random.key(0), four, places, draws)
    first, of_draw, of_place, again = np.asarray(made)
    np.testing.assert_array_equal(first, again)
    for other in (of_draw, of_place):
        assert np.abs(first - other).max() > 0.05


def test_images_are_drawn_at_random_without_repetition_and_all_where_there_are_few():
    source = Examples([str(i) for i in range(40)], read=lambda name: {})
    drawn = [robustness._drawn(source, 10, seed).indices for seed in range(3)]
    for places in drawn:
        assert len(set(places)) == 10 and list(places) == sorted(places)
    assert len({tuple(places) for places in drawn}) == 3
    np.testing.assert_array_equal(robustness._drawn(source, 50, 0).indices, range(40))
    with pytest.raises(ConfigError, match="config.data has no image"):
        robustness._drawn(Examples([], read=lambda name: {}), 10, 0)


def test_of_several_classes_it_is_that_which_the_image_as_it_is_was_given_most():
    probability = robustness._probability(model(method=spec_of(classes=3)), "")
    before = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    after = np.array([[[0.9, 0.06, 0.04]], [[0.2, 0.7, 0.1]]])
    found = probability.of(before, after)
    np.testing.assert_array_equal(found.before, [[0.5], [0.6]])
    np.testing.assert_array_equal(found.after, [[[0.06]], [[0.2]]])
    assert "is given most" in probability.words


def spec_of(**method):
    return {"name": "supervised", **method}


def test_of_findings_one_is_asked_for_or_all_are(data, tmp_path):
    names = ["edema", "effusion"]
    found = model(method=spec_of(findings=2), label_names=names)
    found.save(tmp_path / "model")
    views = {"gamma": {"gamma": {"exponent": 2.0}}}
    for finding, shown in (("", names), ("effusion", ["effusion"])):
        out = tmp_path / (finding or "all")
        one = config(data, [f"m={tmp_path / 'model'}"], views, finding=finding)
        robustness.run(one, out)
        p = np.asarray(found(UNIT)["probability"])
        for name in shown:
            column = p[:, names.index(name)]
            told = of(out, "gamma", "m", name)
            np.testing.assert_allclose(told[:, 0], column, rtol=1e-4)
        assert len(probabilities(out)) == COUNT * len(shown)
    for model_, said in ((found, "edema, effusion"), (model(), "none")):
        with pytest.raises(ConfigError, match=f"'lesion' is unknown; known: {said}"):
            robustness._probability(model_, "lesion")


def test_of_a_detector_it_is_the_likeliest_boxs_score(tmp_path):
    found = model(method=DETECT, evaluation=[{"name": "detect", "hit": "centre"}])
    asked = transformed.Transforms(UNIT, np.arange(COUNT), 2, 0, 4)
    views = {"mirror": {"flip": {"probability": 1.0}}}
    before, after = transformed.told(found, asked, views, tmp_path, "d")["mirror"]
    for images, scores in ((UNIT, before), (UNIT[:, :, ::-1], after[:, 0])):
        expected = np.asarray(found(images)["score"]).max(axis=1)
        assert expected.min() > 0
        np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-4)
    probability = robustness._probability(found, "")
    assert probability.words == "score of the likeliest box"


def test_an_ensemble_is_asked_for_its_mean(tmp_path):
    members = {str(seed): model(seed) for seed in range(2)}
    asked = transformed.Transforms(UNIT, np.arange(COUNT), 1, 0, 8)
    views = {"mirror": {"flip": {"probability": 1.0}}}
    _, after = transformed.told(together(members), asked, views, tmp_path, "")["mirror"]
    each = [one(UNIT[:, :, ::-1])["probability"] for one in members.values()]
    np.testing.assert_allclose(after[:, 0], np.mean(each, axis=0), rtol=1e-4)


def test_what_was_told_before_is_not_asked_again_unless_something_differs(
    tmp_path, monkeypatch
):
    asked = transformed.Transforms(UNIT, np.arange(COUNT), 2, 0, 4)
    one, views = model(), RANDOM
    first = transformed.told(one, asked, views, tmp_path, "")["noise"]
    made = []

    def ask(*_):
        made.append(1)
        return first

    monkeypatch.setattr(transformed, "_ask", ask)
    again = transformed.told(one, asked, views, tmp_path, "")["noise"]
    np.testing.assert_array_equal(again[1], first[1])
    assert not made
    scaled = {"noise": {"affine": {"scale": (0.9, 1.1)}}}
    for other in (
        (model(1), asked, views),
        (one, asked._replace(images=UNIT[::-1]), views),
        (one, asked._replace(places=np.arange(1, COUNT + 1)), views),
        (one, asked._replace(seed=1), views),
        (one, asked._replace(draws=3), views),
        (one, asked, scaled),
    ):
        transformed.told(*other, tmp_path, "")
    assert len(made) == 6


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({"gamma": {"gamma": {}}}, r"config.views.gamma is .* which changes no image"),
        ({"nothing": {}}, "config.views.nothing is {}, which changes no image"),
        ({"a": {"rotate": {"degrees": 5}}}, "config.views.a: unknown view 'rotate'"),
        ({"a": {"gamma": {"power": 5}}}, "config.views.a: view 'gamma': .*'power'"),
        ({"a": {"centre_crop": {"size": (9, 9)}}}, "does not fit into an image"),
        ({"a": {"gaussian_noise": {"std": 1e38}}}, "what is told is no finite number"),
        ({"gamma": {"exponent": (1.8, 2.6)}}, r"views is .* \(1.8, 2.6\) should be a"),
        ({"gamma": 2.0}, "config.views is .*gamma"),
        ({}, "config.views is empty"),
    ],
)
def test_views_that_make_no_transforms_are_refused(data, run, tmp_path, views, said):
    with pytest.raises(ConfigError, match=said):
        robustness.run(config(data, [run], views), tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_a_view_that_changes_some_images_is_none_that_changes_none(data, run, tmp_path):
    views = {"flip": {"flip": {"probability": 0.2}}}
    robustness.run(config(data, [run], views), tmp_path)
    found = of(tmp_path, "flip", run.name)
    same = found[:, 1:] == found[:, :1]
    assert same.any() and not same.all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": HOST | {"shape": [8, 9]}}, r"b has data.shape \(8, 9\), a \(8, 8\)"),
        ({"host": HOST | {"window": "percentiles"}}, "b has data.window percentiles"),
        ({"channels": 3}, "b has channels 3, a 1"),
        ({"method": spec_of(classes=3)}, "b has classes 3, a 2"),
        ({"method": spec_of(findings=2)}, "b has classes 0, a 2"),
        ({"method": DETECT}, "b has kinds of boxes 2, a 0"),
    ],
)
def test_models_of_other_images_or_questions_are_not_set_side_by_side(changes, said):
    models = {"a": Predictor({}, {}, spec()), "b": Predictor({}, {}, spec(**changes))}
    with pytest.raises(ConfigError, match=said):
        robustness._check_alike(models)


def test_a_model_that_segments_has_no_probability_of_a_case():
    task = {"name": "segment", "regions": 2, "dice": 1.0, "cross_entropy": 1.0}
    task |= {"background": False, "over_batch": False, "deep_supervision": False}
    network = {"name": "unet", "ndim": 2, "width": 2, "levels": 2}
    segments = Predictor({}, {}, spec(method=task, model=network))
    with pytest.raises(ConfigError, match="a segments, and tells no probability"):
        robustness._check_alike({"a": segments})


@pytest.mark.parametrize(
    ("models", "said"),
    [((), "is empty"), (("a=",), "has 'a='"), (("",), "has ''")],
)
def test_models_that_are_not_named_are_refused(models, said):
    with pytest.raises(ConfigError, match=f"config.models {said}"):
        robustness._models(models)


def test_a_folder_without_a_model_or_a_name_that_comes_twice_is_told(run, tmp_path):
    with pytest.raises(DataError, match="holds no predictor"):
        robustness._models((str(tmp_path),))
    with pytest.raises(ConfigError, match="each name once"):
        robustness._models((f"a={run}", f"a={run}"))


def test_images_of_other_channels_than_the_models_are_refused(data, tmp_path):
    described = spec(channels=3)
    batch = {"image": UNIT.repeat(3, axis=-1)}
    weights = jax.jit(method_of(described).init)(jax.random.key(0), batch)
    Predictor(*weights, described).save(tmp_path / "model")
    stated = config(data, [tmp_path / "model"], RANDOM)
    stated.data.channels = "grey"
    with pytest.raises(ConfigError, match=r"have 1 channel\(s\), and the model .* 3"):
        robustness.run(stated, tmp_path / "out")
