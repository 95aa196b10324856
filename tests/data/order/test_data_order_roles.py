"""Rows of a data set's own table as the examples of a role."""

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.host import Prepare
from medssl_jax.data.order import roles
from medssl_jax.data.order.mixture import ranges
from medssl_jax.data.sources.phantom import phantom
from medssl_jax.errors import ConfigError, DataError, UserError


@pytest.fixture
def opened(tmp_path):
    """Return (data.only, splits) -> sources of ten images, of which two are a test's."""
    lines = ["path,mask,patient,split"]
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 255, (4, 5), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        Image.fromarray(np.uint8(pixels > 99)).save(tmp_path / f"{i}_mask.png")
        split = "test" if i in (1, 4) else "train"
        lines.append(f"{i}.png,{i}_mask.png,p{i},{split}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))

    def sources(only, splits):
        source = {"name": "images", "root": str(tmp_path), "only": only}
        source["masks"] = str(tmp_path / "rows.csv")
        given = {"cache": "", "on_error": "raise", "balance": ""}
        prepare = Prepare(2, None, "none")
        found = roles.sources(source, splits, prepare, 0, tmp_path, **given)
        return {role: [s.name(i) for i in range(len(s))] for role, s in found.items()}

    return sources


def test_a_role_has_other_rows_of_the_table_and_the_rest_is_divided(opened):
    splits = {
        "validation": {"fraction": 0.25, "only": ""},
        "test": {"fraction": 0.5, "only": "split=test"},
    }
    found = opened("split=train", splits)
    assert found["test"] == ["1.png", "4.png"] and len(found["validation"]) == 2
    both = found["train"] + found["validation"]
    assert sorted(both) == [f"{i}.png" for i in range(10) if i not in (1, 4)]


def test_without_rows_of_its_own_a_role_is_a_fraction(opened):
    found = opened("", {"test": {"fraction": 0.5, "only": ""}})
    assert len(found["test"]) == len(found["train"]) == 5


def test_rows_that_are_trained_on_are_no_other_roles(opened):
    said = r"1\.png is in both train and test \(2 are\).*set config\.data\.only"
    with pytest.raises(ConfigError, match=said):
        opened("", {"test": {"fraction": 0.2, "only": "split=test"}})


def phantoms(tmp_path, **chosen):
    """Return the roles of 24 knees of 12 patients, whole or as slices."""
    source = {"name": "phantom", "count": 24, "seed": 1, "size_voxels": (3, 16, 16)}
    source |= {"knees_per_patient": 2, "masks": True, "fixed_slices": True}
    sliced = "slices" in chosen
    prepare = Prepare(2 if sliced else 3, None, "percentiles")
    splits = {"validation": {"fraction": 0.25}, "test": {"fraction": 0.25}}
    stated = {"cache": "", "on_error": "raise", "balance": "", "split_seed": 4}
    return roles.sources(source, splits, prepare, 0, tmp_path, **stated | chosen)


def patients(found):
    return {role: set(source.patients) for role, source in found.items()}


LABELLED = {"of_each": 3, "axis": 0, "neighbours": 1, "lesion_voxels": 30}


def test_slices_labelled_by_masks_are_split_as_their_volumes_are(tmp_path):
    whole, slices = phantoms(tmp_path), phantoms(tmp_path, slices=LABELLED)
    assert patients(slices) == patients(whole)
    for role, source in slices.items():
        assert len(source) == 3 * len(whole[role])
        masks = [whole[role][i]["mask"] for i in range(len(whole[role]))]
        voxels = [(plane > 0).sum() for mask in masks for plane in mask]
        assert source.labels.tolist() == (np.array(voxels) >= 30).astype(int).tolist()
    assert len(set(slices["train"].labels)) == 2


def test_balance_and_fewer_labels_are_of_the_slices(tmp_path):
    found = phantoms(tmp_path, slices=LABELLED, balance="oversample")["train"]
    counts = np.bincount(np.asarray(found.labels))
    assert counts[0] == counts[1]
    few = phantoms(tmp_path, slices=LABELLED, label_fraction=0.5)["train"]
    everyone = patients(phantoms(tmp_path))["train"]
    assert set(few.patients) < everyone


def test_a_fold_is_left_out_of_training_and_folds_are_all_of_it(tmp_path):
    whole = phantoms(tmp_path)
    left = []
    for number in range(3):
        found = phantoms(tmp_path, fold={"of": 3, "left_out": number})
        assert patients(found)["test"] == patients(whole)["test"]
        left.append(patients(whole)["train"] - patients(found)["train"])
    assert all(left) and set.union(*left) == patients(whole)["train"]
    assert sum(map(len, left)) == len(patients(whole)["train"])
    whole_fold = phantoms(tmp_path, fold={"of": 1, "left_out": 0})
    assert patients(whole_fold) == patients(whole)


def test_folds_and_maps_that_cannot_be_are_told(tmp_path):
    with pytest.raises(
        ConfigError, match="left_out is 3, and data.fold.of 3: they are"
    ):
        phantoms(tmp_path, fold={"of": 3, "left_out": 3})
    with pytest.raises(UserError, match=r"6 patient\(s\) make no 9 folds: use fewer"):
        phantoms(tmp_path, fold={"of": 9, "left_out": 0})
    with pytest.raises(ConfigError, match="data.attention is a channel of slices: set"):
        phantoms(tmp_path, attention="maps")


def test_labels_of_slices_come_from_a_table_in_every_role(tmp_path):
    table = tmp_path / "slices.csv"
    settings = {"name": "phantom", "count": 4, "seed": 0, "size_voxels": (4, 8, 8)}
    made = phantom(**{k: v for k, v in settings.items() if k != "name"})
    lines = ["path,slice,label"]
    for i in range(2):
        lines += [
            f"{made.name(i)},{i},1",
            f"{made.name(i)},{len(made[i]['image']) - 1},",
        ]
    table.write_text("\n".join(lines))
    prepare = Prepare(3, None, "percentiles")
    splits = {"test": {"fraction": 0.5}}
    read = {"cache": "", "on_error": "raise", "balance": "", "planes": str(table)}
    found = roles.sources(settings, splits, prepare, 0, tmp_path, **read)
    planes = {
        source.name(i): source[i]["planes"].tolist()
        for source in found.values()
        for i in range(len(source))
    }
    assert len(planes) == 4
    for i in range(4):
        labels = planes[f"phantom-00000{i}"]
        known = {place: label for place, label in enumerate(labels) if label >= 0}
        assert known == ({i: 1} if i < 2 else {})
    others = {"name": "phantom_brains", "count": 1, "seed": 0}
    others["size_voxels"] = (4, 16, 16)
    found = roles.sources(
        settings, {"test": others}, prepare, 0, tmp_path, **read
    )  # a test of other volumes, of which the table has none
    assert "planes" in found["train"][0] and "planes" not in found["test"][0]


def halves(tmp_path, masks, labels, **chosen):
    """Return the roles of 16 images of 8 patients, of which table or folder know some."""
    for i, label in enumerate(labels):
        pixels = np.random.default_rng(i).integers(0, 255, (4, 5), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
        if masks and label:
            Image.fromarray(np.uint8(pixels > 99)).save(tmp_path / f"{i:02}_mask.png")
    lines = ["path,label,patient,mask" if masks else "path,label,patient"]
    for i, label in enumerate(labels):
        cell = f",{i:02}_mask.png" if label else ","
        lines.append(f"{i:02}.png,{label},p{i // 2}" + cell * masks)
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(lines))
    source = {"name": "images", "root": str(tmp_path), "unmasked": "keep"}
    source |= {"masks": str(table)} if masks else {"labels": str(table)}
    splits = {"test": {"fraction": 0.5, "only": ""}}
    given = {"cache": "cache", "on_error": "raise", "balance": "", **chosen}
    prepare = Prepare(2, None, "none")
    return roles.sources(source, splits, prepare, 0, tmp_path, **given)


LABELS = ["0", "1", "", ""] * 4  # of every second patient


@pytest.mark.parametrize("masks", [False, True])
def test_the_unlabelled_are_kept_or_dropped_of_the_same_splits(tmp_path, masks):
    kept = halves(tmp_path, masks, LABELS)
    dropped = halves(tmp_path, masks, LABELS, unlabelled="drop")
    for role in ("train", "test"):
        everyone = [kept[role].name(i) for i in range(len(kept[role]))]
        assert len(everyone) == 8
        known = [name for name in everyone if LABELS[int(name[:2])]]
        found = dropped[role]
        assert [found.name(i) for i in range(len(found))] == known != everyone
        assert found.has_masks == masks and not kept[role].has_masks
        for source, has in ((kept[role], False), (found, masks)):
            for _ in range(2):  # made, and out of the cache
                assert all(("mask" in source[i]) == has for i in range(len(source)))
        assert masks or set(found.labels.tolist()) == {0, 1}


def test_a_finding_that_is_known_is_a_label(tmp_path):
    for i in range(8):
        pixels = np.random.default_rng(i).integers(0, 255, (4, 5), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    marks = ["1,", ",0", ",", "1,1", "0,0", ",", "0,1", ","]
    lines = [f"{i}.png,{both},p{i}" for i, both in enumerate(marks)]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["path,edema,effusion,patient", *lines]))
    source = {"name": "images", "root": str(tmp_path), "labels": str(table)}
    given = {"cache": "", "on_error": "raise", "balance": "", "unlabelled": "drop"}
    prepare = Prepare(2, None, "none")
    train = roles.sources(source, {}, prepare, 0, tmp_path, **given)["train"]
    known = [train.name(i)[0] for i in range(len(train))]
    assert known == ["0", "1", "3", "4", "6"]


def test_masks_of_one_part_of_a_mixture_alone_are_left_out(tmp_path):
    knee = {"name": "phantom_slices", "count": 4, "seed": 1, "size_pixels": (16, 16)}
    both = {"with": True, "without": False}
    parts = [{**knee, "masks": m, "modality": name} for name, m in both.items()]
    given = {"cache": "", "on_error": "raise", "balance": ""}
    prepare = Prepare(2, None, "percentiles")

    def train(**chosen):
        mixture, splits = {"sources": parts}, {"test": {"fraction": 0.5}}
        found = roles.sources(mixture, splits, prepare, 0, tmp_path, **given, **chosen)
        return found["train"]

    kept = train()
    assert list(ranges(kept)) == ["with", "without"]
    assert not any("mask" in kept[i] for i in range(len(kept)))
    with pytest.raises(DataError, match="modality without: has no images"):
        train(unlabelled="drop")


def test_a_role_without_a_label_and_a_word_that_is_unknown_are_told(tmp_path):
    one = ["0", "1"] + [""] * 14
    with pytest.raises(ConfigError, match="none of the 8 examples of (train|test)"):
        halves(tmp_path, False, one, unlabelled="drop")
    with pytest.raises(ConfigError, match="unlabelled 'leave' is unknown.*keep, drop"):
        halves(tmp_path, False, LABELS, unlabelled="leave")
