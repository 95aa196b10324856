"""CheXpert's layout on disk: policies, views, patients, and what is refused."""

import csv
import pickle

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.sources.chexpert import COMPETITION, chexpert
from medssl_jax.errors import ConfigError, DataError

# the release's header, in its order
FINDINGS = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]
HEADER = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS]
POLICIES = {"uncertain": "ignore", "blank": "zeros"}
# per image: path below the split, view, and the findings that are not blank
ROWS = [
    ("patient00001/study1/view1_frontal.jpg", "Frontal", {"Edema": "1.0"}),
    ("patient00001/study2/view1_frontal.jpg", "Frontal", {"Edema": "-1.0"}),
    ("patient00001/study2/view2_lateral.jpg", "Lateral", {"Edema": "-1.0"}),
    ("patient00002/study1/view1_frontal.jpg", "Frontal", {"Edema": "0.0"}),
]


def release(folder, rows=ROWS, split="train", header=HEADER):
    """Write images and table as the small release has them."""
    lines = []
    for i, (path, view, known) in enumerate(rows):
        file = folder / split / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(i).randint(0, 255, (20, 24), np.uint8)
        Image.fromarray(pixels).save(file, quality=95)
        about = [f"CheXpert-v1.0-small/{split}/{path}", "Female", "68", view, "AP"]
        lines.append(about + [known.get(finding, "") for finding in FINDINGS])
    with open(folder / f"{split}.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return str(folder)


def opened(root, **settings):
    return chexpert(root=root, split="train", **POLICIES | settings)


def test_frontal_images_are_read_with_their_patients(tmp_path):
    source = opened(release(tmp_path))
    frontal = [path for path, view, _ in ROWS if view == "Frontal"]
    assert [source.name(i) for i in range(3)] == [f"train/{path}" for path in frontal]
    assert list(source.patients) == ["patient00001", "patient00001", "patient00002"]
    assert source.label_names == COMPETITION == tuple(sorted(COMPETITION))
    image = source[2]["image"]
    assert image.shape == (20, 24, 1) and image.dtype == np.uint8
    written = np.random.RandomState(3).randint(0, 255, (20, 24), np.uint8)
    correlation = np.corrcoef(image.ravel(), written.ravel())[0, 1]
    assert correlation > 0.99  # JPEG
    assert pickle.loads(pickle.dumps(source)).labels.tolist() == source.labels.tolist()


def test_all_views_are_read_where_that_is_asked(tmp_path):
    source = opened(release(tmp_path), view="all")
    assert len(source) == 4 and source.name(2).endswith("lateral.jpg")


@pytest.mark.parametrize(
    ("uncertain", "blank", "edema", "fracture"),
    [
        ("ignore", "zeros", [1, -1, 0], 0),
        ("zeros", "zeros", [1, 0, 0], 0),
        ("ones", "ignore", [1, 1, 0], -1),
    ],
)
def test_each_policy_makes_of_uncertain_and_blank_what_it_says(
    tmp_path, uncertain, blank, edema, fracture
):
    policies = {"uncertain": uncertain, "blank": blank}
    source = opened(release(tmp_path), findings=["Fracture", "Edema"], **policies)
    assert source.label_names == ("Fracture", "Edema")
    assert source.labels[:, 1].tolist() == edema
    assert source.labels[:, 0].tolist() == [fracture] * 3
    assert source.labels.dtype == np.int64


def test_the_release_can_be_renamed_and_nested_deeper(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    root = release(tmp_path / "elsewhere")
    assert opened(root)[0]["image"].any()
    # as the full-size release comes, in batches
    table = tmp_path / "elsewhere/train.csv"
    text = table.read_text().replace("small/train/", "small/batch 2/train/")
    table.write_text(text)
    (tmp_path / "elsewhere/batch 2").mkdir()
    (tmp_path / "elsewhere/train").rename(tmp_path / "elsewhere/batch 2/train")
    assert opened(root).name(0).startswith("batch 2/train/patient00001")
    assert opened(root)[0]["image"].any()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"split": "test"}, "data.split 'test'.*train, valid"),
        ({"uncertain": "twos"}, "data.uncertain 'twos'.*ignore, zeros, ones"),
        ({"blank": "ones"}, "data.blank 'ones'.*zeros, ignore"),
        ({"view": "lateral"}, "data.view 'lateral'.*frontal, all"),
        ({"findings": ()}, "data.findings is empty"),
    ],
)
def test_a_setting_that_is_not_known_is_named_with_what_is(tmp_path, settings, named):
    settings = {"split": "train"} | POLICIES | settings
    with pytest.raises(ConfigError, match=named):
        chexpert(root=release(tmp_path), **settings)


def test_a_missing_table_root_or_column_is_named(tmp_path):
    with pytest.raises(DataError, match="train.csv: .*data.root"):
        opened(str(tmp_path))
    with pytest.raises(DataError, match="data.root: is empty"):
        opened("")
    root = release(tmp_path)
    with pytest.raises(DataError, match="train.csv: .*'Oedema'; it has: Path, Sex"):
        opened(root, findings=("Oedema",))
    (tmp_path / "train/patient00001/study1/view1_frontal.jpg").unlink()
    with pytest.raises(DataError, match="patient00001/study1/view1_frontal.jpg: "):
        opened(root)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("patient00002/study1", "p2", "line 5: Path .*p2/view1.*patientN/studyN"),
        ("/patient00002/", "/../../patient00002/", r"line 5: Path .*\.\..*patientN"),
        (",1.0,", ",yes,", "line 2: Edema is 'yes'"),
        (",0.0,", ",0.5,", "line 5: Edema is '0.5'"),
        (",AP,", ",", "line 2: has not as many fields"),
    ],
)
def test_a_damaged_row_is_named_by_line(tmp_path, old, new, reason):
    root = release(tmp_path)
    table = tmp_path / "train.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=f"train.csv: {reason}"):
        opened(root)


def test_findings_without_any_label_are_named(tmp_path):
    with pytest.raises(DataError, match="no row has a label in Fracture"):
        opened(release(tmp_path), findings=("Fracture",), blank="ignore")
    with pytest.raises(DataError, match="no row of data.view 'frontal'"):
        opened(release(tmp_path, ROWS[2:3]))


def test_an_unreadable_image_is_named(tmp_path):
    source = opened(release(tmp_path))
    path = tmp_path / "train" / ROWS[3][0]
    packed = path.read_bytes()
    for damaged in (packed[: len(packed) // 2], b"", b"no image at all"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="patient00002/study1/view1_frontal.jpg: "):
            source[2]
    path.unlink()
    with pytest.raises(DataError, match="patient00002/study1/view1_frontal.jpg: "):
        source[2]
