"""The evaluator of segmentations on predictions that are known, against SciPy."""

import csv

import numpy as np
import pytest
import tiny
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from medssl_jax import resolve
from medssl_jax.data.cache import Cached
from medssl_jax.data.draw import Draw
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Examples, Subset, Wrapper
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context
from medssl_jax.evals.segment import segment
from medssl_jax.methods.base import Voxels
from medssl_jax.protocols.tested import read_cases

SHAPE, SPACING_MM = (4, 8, 8), (3.0, 1.0, 1.0)
CLASSES = Voxels(3, 0)
VARIED = 3  # added to a voxel, for images are not constant, and taken off again
NAMES = ("background", "bone", "meniscus")
SETTINGS = {"step": 0.5, "mirror": (), "tolerance_mm": 1.0}


def box(low, high, k=1):
    """Return a mask of one box of class k."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(map(slice, low, high))] = k
    return mask


EMPTY = np.zeros(SHAPE, np.uint8)
BONE, MOVED = box((0, 1, 1), (3, 5, 6)), box((1, 1, 2), (4, 6, 6))
MENISCUS, SMALLER = box((1, 6, 0), (3, 8, 7), 2), box((2, 6, 1), (4, 8, 5), 2)
# name: truth, prediction
CASES = {
    "both": (BONE + MENISCUS, MOVED + SMALLER),
    "without meniscus": (BONE, BONE),
    "meniscus missed": (BONE + MENISCUS, MOVED),
    "meniscus made up": (MOVED, MOVED + SMALLER),
    "nothing": (EMPTY, EMPTY),
}


def source(cases, patients=None, **others):
    """Return prepared cases, each image of which is what is predicted of it."""

    def read(name):
        truth, found = cases[name]
        image = found.copy() if found.ndim > len(SHAPE) else found[..., None].copy()
        image[-1, -1, -1] += VARIED
        return {"image": image, "mask": truth, "spacing_mm": SPACING_MM}

    known = {"class_names": NAMES, "has_masks": True} | others
    raw = Examples(list(cases), read, patients=patients, **known)
    return Cached(raw, Prepare(3, None, "none"), "")


def context(folder, test, *, train=CASES, validation=None, voxels=CLASSES, tile=SHAPE):
    def predict(params, aux, images):
        del params, aux
        images = images % VARIED
        if voxels.regions:
            return {"mask": 0.2 + 0.6 * images.astype(np.float32)}
        return {"mask": np.eye(voxels.classes, dtype=np.float32)[images[..., 0]]}

    test = test if not isinstance(test, dict) else source(test)
    validation = test if validation is None else source(validation)
    sources = {"train": source(train), "validation": validation, "test": test}
    method = tiny.method("segment")._replace(voxels=voxels)
    draw, prepare = Draw(tile, "all"), Prepare(3, None, "none")
    return Context(method, predict, sources, prepare, draw, 4, {}, dict, folder, 0)


def run(folder, test, **others):
    return segment(context(folder, test, **others), **SETTINGS).final({}, {})


def rows(folder):
    with open(folder / "cases.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def dice(truth, found):
    whole = truth.sum() + found.sum()
    return 2 * (truth & found).sum() / whole if whole else np.nan


def surfaces(truth, found):
    """Return HD95 and NSD at 1 mm from the distances of all pairs of points."""
    a, b = (
        np.argwhere(mask & ~binary_erosion(mask)) * SPACING_MM
        for mask in (truth, found)
    )
    apart = cdist(a, b)
    there, back = apart.min(axis=1), apart.min(axis=0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, np.mean(np.concatenate([there, back]) <= 1)


@pytest.mark.parametrize("tile", [SHAPE, (2, 4, 4)])
def test_each_structure_of_each_case_is_measured_as_scipy_does(tmp_path, tile):
    run(tmp_path, CASES, tile=tile)
    written = rows(tmp_path)
    assert list(written) == list(CASES)
    for name, (truth, found) in CASES.items():
        for k, structure in enumerate(NAMES[1:], start=1):
            a, b = truth == k, found == k
            cells = [written[name][f"{x} {structure}"] for x in ("hd95_mm", "nsd")]
            if a.any() and b.any():
                expected = surfaces(a, b)
            else:
                expected = (np.inf, 0) if a.any() or b.any() else (np.nan, np.nan)
            close = {"rtol": 1e-5, "equal_nan": True}
            np.testing.assert_allclose(_numbers(cells), expected, **close)
            cell = written[name][f"dice {structure}"]
            np.testing.assert_allclose(_numbers([cell]), [dice(a, b)], **close)


def _numbers(cells):
    return [float(cell) if cell else np.nan for cell in cells]


def expected_dice(cases):
    each = np.array([[dice(t == k, f == k) for k in (1, 2)] for t, f in cases.values()])
    return np.nanmean(np.nanmean(each, axis=0))


def test_the_headline_is_the_mean_of_structures_over_the_cases_that_have_them(tmp_path):
    found = run(tmp_path, CASES)
    expected = expected_dice(CASES)
    assert found["values"]["Dice"]["value"] == pytest.approx(expected)
    assert found["headline"].startswith(f"Test Dice {expected:.3f} ")


def test_validation_is_the_dice_of_the_test(tmp_path):
    during = segment(context(tmp_path, CASES), **SETTINGS).during({}, {})
    expected = expected_dice(CASES)
    assert during["validation_Dice"] == pytest.approx(expected)
    assert during["validation_loss"] == pytest.approx(1 - expected)


def test_selection_sees_the_validation_cases_and_results_the_test(tmp_path):
    some = {name: CASES[name] for name in ("both", "meniscus missed")}
    roles = context(tmp_path, CASES, validation=some)
    evaluator = segment(roles, **SETTINGS)
    expected = expected_dice(some)
    during, final = evaluator.during({}, {}), evaluator.final({}, {})
    assert during["validation_Dice"] == pytest.approx(expected)
    assert during["validation_loss"] == pytest.approx(1 - expected)
    assert final["values"]["Dice"]["value"] == pytest.approx(expected_dice(CASES))
    assert abs(expected - expected_dice(CASES)) > 0.01
    assert list(rows(tmp_path)) == list(CASES)


def test_some_cases_of_a_source_are_measured_on_their_own_files(tmp_path):
    names, chosen = list(CASES), np.array([3, 0, 1])
    run(tmp_path, Subset(source(CASES, list("abcde")), chosen))
    found = rows(tmp_path)
    assert list(found) == [names[i] for i in chosen]
    for i in chosen:
        row, (truth, prediction) = found[names[i]], CASES[names[i]]
        assert row["patient"] == "abcde"[i]
        for k, structure in enumerate(NAMES[1:], start=1):
            expected = dice(truth == k, prediction == k)
            close = {"rtol": 1e-5, "equal_nan": True}
            np.testing.assert_allclose(
                _numbers([row[f"dice {structure}"]]), expected, **close
            )


def by_column(table):
    """Return a table's rows by their first cell, each cell by its column's name."""
    return {
        row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]
    }


def test_a_cell_of_the_tables_is_under_the_name_of_what_it_is(tmp_path):
    found = run(tmp_path, CASES)
    table, cases = found["tables"]
    for k, (name, row) in enumerate(by_column(table).items(), start=1):
        both = [(t == k, f == k) for t, f in CASES.values()]
        shared = sum(2 * (t & f).sum() for t, f in both)
        whole = sum(t.sum() + f.sum() for t, f in both)
        assert row["pooled Dice"] == pytest.approx(shared / whole)
        there = [surfaces(t, f) for t, f in both if t.any() and f.any()]
        lacking = sum(t.any() != f.any() for t, f in both)
        hd95 = np.mean([one for one, _ in there])
        nsd = sum(one for _, one in there) / (len(there) + lacking)
        mean = np.nanmean([dice(t, f) for t, f in both])
        of = "(95 % interval)"
        for column, value in (("Dice", mean), ("NSD", nsd), ("HD95 mm", hd95)):
            assert row[f"{column} {of}"].startswith(f"{value:.3f} ("), (name, column)
        assert row["missed"] == lacking
    written, shown = rows(tmp_path), by_column(cases)
    for name, row in shown.items():
        for column, cell in row.items():
            if column != "case":
                kind = column.replace("Dice", "dice").replace("HD95 mm", "hd95_mm")
                value = _numbers([written[name][kind]])[0]
                assert cell == ("" if np.isnan(value) else f"{value:.3g}")
    worst = [
        np.nanmean([dice(t == k, f == k) for k in (1, 2)])
        for t, f in (CASES[name] for name in list(shown)[:-1])
    ]
    assert worst == sorted(worst) and list(shown)[-1] == "nothing"
    pictures = np.load(tmp_path / "cases.npz")
    for kind, name in (("worst", next(iter(shown))), ("best", "without meniscus")):
        assert pictures[f"{kind}/name"] == name
        truth, prediction = CASES[name]
        each = [dice(truth == k, prediction == k) for k in (1, 2)]
        assert pictures[f"{kind}/score"] == pytest.approx(np.nanmean(each))


def test_protocols_read_the_same_dice_from_the_table(tmp_path):
    patients = list("aabbc")
    found = run(tmp_path, source(CASES, patients))
    cases = read_cases(tmp_path)
    assert cases.names == list(CASES) and cases.patients == patients
    every = np.arange(len(CASES))
    for name, value in found["values"].items():
        again = cases.measures[name](every)
        assert again == pytest.approx(value["value"], rel=1e-5), name


def test_what_is_missed_or_made_up_is_counted_and_empty_cases_are_told(tmp_path):
    table, _ = run(tmp_path, CASES)["tables"]
    bone, meniscus = table["rows"]
    assert (bone[0], bone[1], bone[-1]) == ("bone", 4, 0)
    assert (meniscus[0], meniscus[1], meniscus[-1]) == ("meniscus", 3, 2)
    shared = sum(2 * ((t == 1) & (f == 1)).sum() for t, f in CASES.values())
    whole = sum((t == 1).sum() + (f == 1).sum() for t, f in CASES.values())
    assert bone[3] == pytest.approx(shared / whole)
    assert "1 of them have no structure" in table["note"]


def test_cases_without_a_spacing_are_said_to_be_measured_in_pixels(tmp_path):
    spaced, bare = source(CASES), source(CASES)
    bare = Examples(
        bare.source.names,
        lambda name: {
            k: x for k, x in spaced.source.read(name).items() if k != "spacing_mm"
        },
        class_names=NAMES,
        has_masks=True,
    )
    bare = Cached(bare, Prepare(3, None, "none"), "")
    note = run(tmp_path, bare)["tables"][0]["note"]
    assert "5 have no spacing in their files: mm are their pixels" in note
    assert "pixels" not in run(tmp_path, spaced)["tables"][0]["note"]


def test_copies_of_a_patients_cases_do_not_narrow_the_interval(tmp_path):
    once = {name: CASES[name] for name in list(CASES)[:4]}
    twice = once | {f"{name} again": case for name, case in once.items()}
    alone = run(tmp_path, source(once, list("abcd")))["values"]["Dice"]
    copied = run(tmp_path, source(twice, list("abcdabcd")))["values"]["Dice"]
    assert alone["low"] < alone["high"]
    assert copied == pytest.approx(alone)


def test_overlapping_regions_are_measured_each_on_its_own(tmp_path):
    truth = np.stack([BONE | (MENISCUS > 0), BONE], axis=-1)
    found = np.stack([MOVED | (SMALLER > 0), MOVED], axis=-1)
    test = source({"case": (truth, found)}, class_names=("whole", "core"))
    run(tmp_path, test, voxels=Voxels(0, 2), train={"case": (truth, found)})
    (row,) = rows(tmp_path).values()
    for k, name in enumerate(("whole", "core")):
        expected = dice(truth[..., k] > 0, found[..., k] > 0)
        assert float(row[f"dice {name}"]) == pytest.approx(expected, rel=1e-5)


def test_what_was_found_is_written_by_the_source_under_its_own_names(tmp_path):
    written = {}

    def write_mask(name, mask, folder, names):
        written[name] = mask
        return folder / name

    class Renamed(Wrapper):
        source = source(CASES, write_mask=write_mask)

        def name(self, i):
            return f"knees/{super().name(i)}"

    run(tmp_path, Renamed())
    assert list(rows(tmp_path)) == [f"knees/{name}" for name in written]
    assert list(written) == list(CASES)
    for name, mask in written.items():
        np.testing.assert_array_equal(mask, CASES[name][1])


@pytest.mark.parametrize("role", ["validation", "test"])
def test_cases_without_any_structure_are_refused_as_a_measure(tmp_path, role):
    usual = context(tmp_path, CASES)
    sources = {**usual.sources, role: source({"a": (EMPTY, BONE)})}
    with pytest.raises(ConfigError, match=f"no {role} case .*nothing to be judged by"):
        segment(usual._replace(sources=sources), **SETTINGS)


def test_a_structure_that_no_case_has_is_left_out_of_the_mean(tmp_path):
    cases = {name: CASES[name] for name in ("without meniscus", "nothing")}
    cases["moved"] = (BONE, MOVED)
    expected = (1 + dice(BONE > 0, MOVED > 0)) / 2
    found = run(tmp_path, cases)["values"]["Dice"]["value"]
    during = segment(context(tmp_path, cases), **SETTINGS).during({}, {})
    assert found == during["validation_Dice"] == pytest.approx(expected)
    assert read_cases(tmp_path).measures["Dice"](np.arange(3)) == pytest.approx(found)


def test_validation_does_not_change_its_structures_with_what_is_made_up(tmp_path):
    cases = {"a": CASES["meniscus made up"]}
    during = segment(context(tmp_path, cases), **SETTINGS).during({}, {})
    assert during["validation_Dice"] == 1


def test_training_on_background_alone_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nothing to learn"):
        run(tmp_path, CASES, train={"a": (EMPTY, BONE)})


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"step": 0.0}, "evaluation.step is 0"),
        ({"step": 1.5}, "evaluation.step is 1.5"),
        ({"mirror": (3,)}, "evaluation.mirror"),
        ({"mirror": (-1,)}, "evaluation.mirror"),
        ({"tolerance_mm": 0.0}, "evaluation.tolerance_mm"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path, settings, named):
    with pytest.raises(ConfigError, match=named):
        stated = {"name": "segment"} | SETTINGS | settings
        resolve.named(
            "evaluation", "medssl_jax.evals", stated, context(tmp_path, CASES)
        )


def test_a_method_without_masks_and_roles_without_cases_are_refused(tmp_path):
    usual = context(tmp_path, CASES)
    with pytest.raises(ConfigError, match="method of masks"):
        segment(usual._replace(method=tiny.method("supervised")), **SETTINGS)
    without = {name: usual.sources[name] for name in ("train", "test")}
    with pytest.raises(ConfigError, match="splits.validation"):
        segment(usual._replace(sources=without), **SETTINGS)
