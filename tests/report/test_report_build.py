"""The page: whole, offline, escaped, the same each time, and patient with gaps."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medssl_jax.errors import DataError
from medssl_jax.report.build import build
from medssl_jax.report.sections import SECTIONS

_VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


class _Page(HTMLParser):
    """A parsed report: its tags, its text by section, and whether tags nest."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.open = [], {"": ""}, []
        self._section, self._heading = "", False
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "h2":
            self._heading, self._section = True, ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "h2":
            self._heading = False
            self.text[self._section] = ""

    def handle_data(self, data):
        if self._heading:
            self._section += data
        elif not {"style", "script"} & {*self.open}:
            self.text[self._section] += data.replace("\u00a0", " ")

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def _rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _reachable(text):
    """Find what a browser would fetch: addresses outside embedded figures."""
    text = re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", text)
    return re.findall(r"https?:|//\w|url\(|@import|<link|<script |<iframe", text)


@pytest.fixture(scope="module")
def page(finished_run):
    return _Page(finished_run / "report.html")


def test_the_page_loads_nothing_and_runs_its_own_script_alone(finished_run, page):
    text = (finished_run / "report.html").read_text(encoding="utf-8")
    assert _reachable(text) == []
    assert all(a["src"].startswith("data:image/") for a in page.named("img"))
    assert all(a["href"].startswith("#") for a in page.named("a"))
    (policy,) = (a for a in page.named("meta") if "http-equiv" in a)
    assert policy["content"].startswith("default-src 'none';")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["content"].endswith(f"; script-src 'sha256-{digest}'")
    pictures = [a["href"] for a in page.named("image")]
    assert pictures and all(p.startswith("data:image/webp;base64,") for p in pictures)
    assert all(a["href"].startswith("#sheet-") for a in page.named("use"))


def test_every_section_is_there_linked_and_filled(page):
    titles = list(page.text)[1:]
    assert len(titles) == len(SECTIONS) == len(page.named("a"))
    headings = [a["id"] for a in page.named("h2")]
    assert [a["href"] for a in page.named("a")] == [f"#{i}" for i in headings]
    assert not page.open  # every tag is closed
    assert not any("This run folder has no" in text for text in page.text.values())


def test_the_page_says_what_the_files_say(page):
    said = {
        "": ["byol3d demo", "linear-probe AUC 0.712", "No sign of collapse"],
        "Results": ["0.712 (0.611 to 0.801)", "0.660", "over patients", "–"],
        "Segmented cases": ["Worst case, knee worst, Dice 0.610", "truth is outlined"],
        "Curves": ["FROC. Boxes found at most so many alarms"],
        "Detected boxes": ["miss most come first", "a full line"],
        "Reconstructions": ["White was hidden", "all that it makes of it", "completed"],
        "Attention": ["attention in block 10", "mean over heads"],
        "What ran": ["configs/byol3d.py", "523,456", "4 min 32 s", "0: 140, 1: 116"],
        "Embedding spread": ["of 64", "RankMe"],
        "Embedding projections": ["PCA of 200 embeddings", "t-SNE of 200"],
        "Predictions": ["phantom/0019", "20 more rows in predictions.csv"],
        "Data left out": ["a/b.nii", "holds NaN voxels"],
        "Config": ["config.method.views.crop.scale", "[0.5, 1.0]"],
    }
    for section, words in said.items():
        for word in words:
            assert word in page.text[section], (section, word)
    assert "phantom/0020" not in page.text["Predictions"]


def test_every_figure_says_in_words_what_it_shows(page):
    told = [a["alt"] for a in page.named("img")]
    assert all(told)
    assert any(
        re.match(r"Loss against micro-batches: .* starts at 3\.", t) for t in told
    )
    assert any(re.match(r"ROC curves: linear probe, .*AUC 0\.\d{3}", t) for t in told)
    frames = [a["aria-label"] for a in page.named("div") if a.get("role") == "img"]
    assert {"Scan 4.", "second view of scan 4."} < {*frames}
    assert "Scan 4. slice 9 of 16" in frames  # on paper


def test_embedded_figures_are_pictures(page):
    starts = {"image/svg+xml": b"<?xml", "image/png": b"\x89PNG"}
    for attributes in page.named("img"):
        kind, _, data = attributes["src"].removeprefix("data:").partition(";base64,")
        assert base64.b64decode(data).startswith(starts[kind])


def test_the_same_files_give_the_same_bytes(finished_run, run_folder):
    path = build(run_folder)
    assert path == run_folder / "report.html"
    assert path.read_bytes() == (finished_run / "report.html").read_bytes()


def test_names_from_files_are_text_and_no_markup(run_folder):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"

    def poison(results):
        results["headline"] = evil
        table = results["tables"][0]
        table.update(title=evil, note=evil, columns=[evil] * 4)
        table["rows"][0] = [evil] * 4
        results["roc"][0]["name"] = evil

    _rewrite(run_folder / "results.json", poison)
    _rewrite(run_folder / "run.json", lambda run: run.update(name=evil, command=evil))
    _rewrite(run_folder / "config.json", lambda config: config.update({evil: evil}))
    cases = dict(np.load(run_folder / "cases.npz"))
    cases |= {"best/name": np.array(evil), "structures": np.array([evil, "$\\frac$"])}
    np.savez(run_folder / "cases.npz", **cases)
    (run_folder / "skipped.csv").write_text(
        f"path,reason\n{evil.replace(chr(34), '')},x\n"
    )
    for drawn in ("metrics.jsonl", "views.npz", "embeddings.npz"):  # takes seconds
        (run_folder / drawn).unlink()
    page = _Page(build(run_folder))
    assert page.named("script") == [{}]  # the page's own
    assert all(a["src"].startswith("data:image/") for a in page.named("img"))
    assert not any(name.startswith("on") for _, tag in page.tags for name in tag)
    for section in ("Results", "Segmented cases"):
        assert "<script>alert(1)</script>" in page.text[section]
    assert not page.open


@pytest.mark.parametrize(
    ("file", "section"),
    [
        ("results.json", "Results"),
        ("results.json", "ROC curves"),
        ("results.json", "Embedding spread"),
        ("run.json", "What ran"),
        ("metrics.jsonl", "Training curves"),
        ("views.npz", "Views fed to the network"),
        ("embeddings.npz", "Embedding projections"),
        ("predictions.csv", "Predictions"),
        ("config.json", "Config"),
    ],
)
def test_a_section_says_which_file_is_missing(tmp_path, file, section):
    page = _Page(build(tmp_path))
    assert page.text[section].strip().startswith(f"This run folder has no {file}, so ")
    assert not page.named("img")


def test_a_run_that_skipped_nothing_says_so(tmp_path):
    assert "No file was skipped." in _Page(build(tmp_path)).text["Data left out"]
    (tmp_path / "skipped.csv").write_text("path,reason\n")
    assert "No file was skipped." in _Page(build(tmp_path)).text["Data left out"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b'{"name": "torn'),
        ("views.npz", b"PK\x03\x04 torn"),
        ("embeddings.npz", b""),
        ("metrics.jsonl", b"torn\n"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(file)):
        build(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_pickles_are_not_loaded(tmp_path):
    np.savez(tmp_path / "embeddings.npz", labels=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="allow_pickle"):
        build(tmp_path)
