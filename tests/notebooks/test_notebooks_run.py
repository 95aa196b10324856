"""Every notebook runs to its end, and what it shows is what its files say."""

import csv
import functools
import json
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from tiny_run import environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 1200


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return a function that runs a notebook, and then a cell more, all in one folder."""
    folder = tmp_path_factory.mktemp("notebooks")
    places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    kernel = environment(MEDSSL_SMOKE="1", PYTHONPATH=places)

    @functools.cache
    def run(name, asked):
        """Return the folder of its runs, its code cells, what `asked` comes to."""
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
        source = f"print('asked:', json.dumps({asked}))"
        notebook.cells.append(nbformat.v4.new_code_cell(f"import json\n{source}"))
        path = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=TIMEOUT_S, resources=path)
        client.execute(env=kernel)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        answer = said(cells[-1]).partition("asked: ")[2]
        return folder / "runs" / "smoke", cells, json.loads(answer)

    return run


def said(cell):
    """Return what a cell printed."""
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def pictures(cells):
    return sum("image/png" in o.get("data", {}) for c in cells for o in c.outputs)


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_pretrain_and_look_shows_the_curve_the_embeddings_and_the_verdicts(executed):
    runs, cells, answer = executed("1_pretrain_and_look", ONE)
    assert pictures(cells[:-1]) == 5
    assert said(cells[0]) == ""  # nothing is installed
    assert said(cells[1]) == "cpu:0\n"

    logged = (runs / "simclr/metrics.jsonl").read_text("utf-8").splitlines()
    assert answer["loss"] == [json.loads(line)["loss"] for line in logged]

    embedded = np.load(runs / "simclr/embeddings.npz")
    plane = PCA(2, svd_solver="full").fit(embedded["pretrained"])
    plane = plane.transform(embedded["pretrained"])
    for label, shown in enumerate(answer["points"]):
        expected = np.abs(plane[embedded["labels"] == label])
        np.testing.assert_allclose(np.abs(shown), expected, rtol=1e-2, atol=1e-3)

    for run in ("simclr", "collapsed"):
        headline = read(runs / run / "results.json")["headline"]
        assert (
            sum(headline in said(cell) for cell in cells) == 2
        )  # once by the run itself
    spread = collapse_of(runs / "collapsed/embeddings.npz")
    assert f"pretrained: spread {spread:.3f} of 1" in said(cells[-2])


ONE = """(show(RUN), {
    "loss": panels[0].lines[0].get_ydata().tolist(),
    "points": [c.get_offsets().tolist() for c in plt.gcf().axes[0].collections],
})[1]"""


def collapse_of(path):
    """Return SimSiam's measure, 1 where embeddings are uniform on the sphere."""
    features = np.load(path)["pretrained"].astype(np.float64)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    return units.std(axis=0).mean() * np.sqrt(units.shape[1])


def test_few_labels_shows_the_paired_difference_and_the_dice_of_its_masks(executed):
    runs, cells, answer = executed("2_few_labels", TWO)
    assert pictures(cells) == 2

    for share, shown in zip((0.5, 1.0), answer["gains"], strict=True):
        auc = {}
        for start in ("pretrained", "random"):
            (path,) = (runs / "label_efficiency/runs" / start).glob(
                f"{share:g}/*/predictions.csv"
            )
            auc[start] = auc_of(path)
        assert shown == pytest.approx(auc["pretrained"] - auc["random"], abs=1e-6)

    for start in ("pretrained", "random"):
        cases = np.load(runs / f"segment-{start}" / "cases.npz")
        for kind in ("worst", "middle", "best"):
            truth, found = cases[f"{kind}/truth"], cases[f"{kind}/found"]
            assert dice(truth, found) == pytest.approx(cases[f"{kind}/score"], abs=1e-6)
    compared = read(runs / "compare/results.json")["headline"]
    assert any(compared in said(cell) for cell in cells)


TWO = """{"gains": value.tolist()}"""


def auc_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [int(row["label"]) for row in rows]
    return roc_auc_score(labels, [float(row["probability_1"]) for row in rows])


def dice(truth, found):
    """Return the mean over structures that either of them has."""
    each = []
    for k in (1, 2, 3):
        a, b = truth == k, found == k
        if a.any() or b.any():
            each.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return np.mean(each)


def test_use_an_encoder_finds_the_neighbours_that_scikit_learn_finds(executed):
    runs, cells, answer = executed("3_use_an_encoder", THREE)
    assert pictures(cells) == 2

    features = np.load(runs / "features/features.npz")["features"]
    patients, torn = np.array(answer["patients"]), np.array(answer["torn"])
    alike = cosine_similarity(features - features.mean(axis=0))
    same = []
    for i, nearest in enumerate(answer["nearest"]):
        others = np.flatnonzero(patients != patients[i])
        found = others[np.argsort(alike[i, others])[::-1][:5]]
        assert found.tolist() == nearest
        same.append(torn[found] == torn[i])
    said_so = f"neighbours of the encoder: {np.mean(same):.1%} have the same finding"
    assert any(said_so in said(cell) for cell in cells)
    assert answer["of_record"] < 1e-5
    assert answer["difference"] == 0
    assert answer["apart"] < 1e-5
    assert (runs / "exported/model.safetensors").is_file()


THREE = """{
    "nearest": nearest.tolist(),
    "patients": patients.tolist(),
    "torn": torn.tolist(),
    "of_record": float(np.abs(encoder.of_record({"image": first}) - features[0]).max()),
    "difference": float(difference),
    "apart": float(apart),
}"""
