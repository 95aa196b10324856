"""The page in a real browser: scrolled, copied, printed, and without a script."""

import csv
import io
import json

import browser
import numpy as np
import pytest
from PIL import Image

from medssl_jax.protocols import worth
from medssl_jax.report import protocols
from medssl_jax.report.build import build

_STACK = "[...document.querySelectorAll('.stack')]"


@pytest.fixture(scope="module")
def chromium(finished_run):
    """Return a browser that shows the run's report."""
    if not (found := browser.path()):
        pytest.skip("no chromium or google-chrome in PATH, nor $CHROMIUM: not opened")
    with browser.Browser(found) as opened:
        opened.open(finished_run / "report.html")
        yield opened


def box(page, selector):
    """Bring an element into view; return where its middle is."""
    return page.run(
        f"""(() => {{ const one = document.querySelector({selector!r});
        one.scrollIntoView({{block: "center", behavior: "instant"}});
        const r = one.getBoundingClientRect();
        return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
    )


def seen(page, number=0):
    """Return what a stack says, and which corners of its sheets it shows."""
    return page.run(
        f"""(() => {{ const stack = {_STACK}[{number}];
        return [stack.querySelector("output").textContent,
          [...stack.querySelectorAll(".live svg")].map((svg) => svg.getAttribute(
            "viewBox").split(" ").slice(0, 2).join(" "))]; }})()"""
    )


def of_stack(page, title):
    """Return the number of the stack that a section has first."""
    return page.run(
        f"""{_STACK}.findIndex((stack) => stack.closest("section").querySelector(
        "h2").textContent == {title!r})"""
    )


def test_keys_and_wheel_move_all_volumes_of_a_stack_and_no_others(chromium):
    number = of_stack(chromium, "Views fed to the network")
    chromium.run(f"{_STACK}[{number}].id = 'views'")
    others = [n for n in range(number) if n != number]
    before, corners = seen(chromium, number)
    assert before == "slice 9 of 16" and len(corners) == 12
    apart = [seen(chromium, n) for n in others]
    x, y = box(chromium, "#views .groups")
    picture = chromium.screenshot()
    chromium.mouse("mouseWheel", x, y, deltaX=0, deltaY=-40)
    assert seen(chromium, number)[0] == before  # not asked: the page moves
    x, y = box(chromium, "#views .groups")
    chromium.click(x, y)
    for _ in range(3):
        chromium.press("ArrowRight")
    said, moved = seen(chromium, number)
    assert said == "slice 12 of 16"
    assert all(one != other for one, other in zip(corners, moved, strict=True))
    assert chromium.screenshot() != picture
    chromium.mouse("mouseWheel", x, y, deltaX=0, deltaY=-40)
    assert seen(chromium, number)[0] == "slice 11 of 16"
    chromium.press("Home")
    assert seen(chromium, number) == ["slice 1 of 16", ["1 1"] * 12]
    chromium.press("ArrowLeft")
    assert seen(chromium, number)[0] == "slice 1 of 16"
    assert [seen(chromium, n) for n in others] == apart


def test_a_slider_says_what_it_moves_and_where_it_is(chromium):
    sliders = chromium.run(
        """[...document.querySelectorAll(".slider input")].map((one) =>
        [one.getAttribute("aria-label"), one.getAttribute("aria-valuetext")])"""
    )
    assert ["Worst case, knee worst, Dice 0.610: slice", "slice 8"] in sliders


def test_a_table_is_copied_as_csv_with_every_digit(chromium, finished_run):
    granted = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    chromium.call("Browser.grantPermissions", permissions=granted)
    x, y = box(chromium, "section:nth-of-type(1) .csv button")
    chromium.click(x, y)
    text = chromium.run("navigator.clipboard.readText()")
    header, first, _, last = csv.reader(io.StringIO(text))
    assert header == ["encoder", "linear probe AUC", "kNN AUC", "accuracy"]
    assert first[1:] == ["0.712 (0.611 to 0.801)", "0.684 (0.580 to 0.779)", "0.66"]
    assert last == ["difference", "'+0.104 (+0.012 to +0.195)", *last[2:3], ""]
    said = chromium.run("document.querySelector('.csv button').textContent")
    assert said == "Copied"


def test_where_copying_is_refused_the_text_is_there_to_be_copied(chromium):
    chromium.run("navigator.clipboard.writeText = () => Promise.reject()")
    chromium.run("document.querySelectorAll('.csv button')[1].focus()")
    chromium.press("Enter")
    text = chromium.run("getSelection().toString()")
    assert text.startswith("command,python -m medssl_jax.main") and "523" in text
    assert chromium.run("document.activeElement.tagName") == "TEXTAREA"


def test_the_page_asks_the_network_for_nothing_and_meets_no_error(chromium):
    asked = [
        event["params"]["request"]["url"]
        for event in chromium.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    ours = [url for url in asked if not url.startswith("data:image/")]
    assert len(ours) == 1 and ours[0].endswith("/report.html")
    wrong = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert [event for event in chromium.events if event["method"] in wrong] == []


@pytest.mark.parametrize("width", [360, 768])
def test_no_width_has_to_be_scrolled_sideways(chromium, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chromium.call("Emulation.setDeviceMetricsOverride", **size)
    page = "document.documentElement"
    wide, room = chromium.run(f"[{page}.scrollWidth, {page}.clientWidth]")
    chromium.call("Emulation.clearDeviceMetricsOverride")
    assert wide == room <= width


_SHOWN = """(() => { const are = (name) => [...document.querySelectorAll(name)].map(
  (one) => one.checkVisibility()); return Object.fromEntries(["live", "still", "slider",
  "csv", "on-paper"].map((name) => [name, [...new Set(are("." + name))]])); })()"""
_ON_PAPER = {"live": [False], "still": [True], "slider": [False], "on-paper": [True]}


def test_paper_has_slices_in_the_place_of_what_moves(chromium):
    on_screen = chromium.run(_SHOWN)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    on_paper = chromium.run(_SHOWN)
    chromium.call("Emulation.setEmulatedMedia", media="")
    assert on_paper == _ON_PAPER | {"csv": [False]}
    assert on_screen == {name: [not shown] for name, (shown,) in on_paper.items()}


def test_without_a_script_the_page_shows_what_paper_does(chromium, tmp_path):
    scan = np.zeros((1, 9, 8, 8, 1), np.float32)
    scan[:, 4:] = 1.0
    np.savez(tmp_path / "views.npz", source=scan, first=scan)
    page = build(tmp_path)
    text = page.read_text()
    start, end = text.index("<script>"), text.index("</script>")
    page.write_text(text[:start] + "<script>" + text[end:])
    chromium.open(page)
    assert chromium.run(_SHOWN) == _ON_PAPER | {"csv": [], "live": [False]}
    chromium.run("scrollTo(0, 0)")  # as a picture counts its places
    shades = []
    for still in range(3):
        place = f"document.querySelectorAll('.still')[{still}].getBoundingClientRect()"
        x, y, side = chromium.run(
            f"(() => {{ const r = {place}; return [r.x, r.y, r.width]; }})()"
        )
        clip = {"x": x, "y": y, "width": side, "height": side, "scale": 1}
        png = chromium.screenshot(clip=clip, captureBeyondViewport=True)
        middle = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
        shades.append(int(middle[middle.shape[0] // 2, middle.shape[1] // 2]))
    assert shades == pytest.approx([0, 255, 255], abs=4)  # slices 3, 5 and 7 of 9


def test_the_answer_of_a_study_is_seen_whole(chromium, tmp_path, monkeypatch):
    gain = {"value": -0.146, "low": -0.153, "high": -0.14}
    shares, scores = [0.1, 0.3, 1.0], [[0.8], [0.8], [0.9]]
    name, other = "relative_patch_location", "random resnet"
    curves = [{"name": n, "fractions": shares, "scores": scores} for n in (name, other)]
    values = {f"AUC, {name} - {other}, {share:g}": gain for share in shares}
    found = {"values": values, "label_curves": {"metric": "AUC", "curves": curves}}
    monkeypatch.setattr(worth, "_cost", lambda folder: ["12,000", "12.34"])
    measured = {"std": 0.1, "rank": 1.0, "most": 64.0}
    outcomes = {name: {"collapse": {"pretrained": measured}}}
    missing = {"swav": "10 minutes, 12 updates, are less than an epoch"}
    table = worth.table(found, {name: other}, {name: tmp_path}, outcomes, missing)
    results = {"headline": "", "tables": [], "answer": table}
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = build(tmp_path, sections=[protocols.answer])
    size = {"width": 1000, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chromium.call("Emulation.setDeviceMetricsOverride", **size)
    chromium.open(page)
    shown = "document.querySelector('.scroll')"
    wide, room = chromium.run(f"[{shown}.scrollWidth, {shown}.clientWidth]")
    chromium.call("Emulation.clearDeviceMetricsOverride")
    assert wide == room <= 1000
