"""What README and docs show can be typed, and what they quote is said."""

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from medssl_jax.protocols.experiment import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {
    str(path.relative_to(ROOT)): re.sub(
        r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL
    )
    for path in PAGES
    if "_build" not in path.parts
}
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.py")}
FILLED_IN = "..."  # in a quoted message


def fenced(text):
    """Return the blocks between fences."""
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """Return the arguments of every command that has a config, in blocks of a page."""
    lines = "\n".join(fenced(text)).replace("\\\n", " ").splitlines()
    shown = [line for line in lines if "medssl_jax.main" in line or "launch/" in line]
    return [shlex.split(line[line.index("--config=") :]) for line in shown]


SHOWN = [(page, given) for page, text in TEXTS.items() for given in commands(text)]


def parse(given):
    """Return the config that the arguments make, or raise what ends such a run."""
    config, *rest = given
    path, _, variant = config.removeprefix("--config=").partition(":")
    file = Path(path)
    assert file.parts == ("configs", file.name) and file.suffix == ".py", path
    name = f"{file.stem}:{variant}" if variant else file.stem
    found = load(str(ROOT / "configs" / "any.py"), name)
    known = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=known)
    given = ["main", *rest]
    config_flags.DEFINE_config_dict("config", found, "", known, sys_argv=given)
    assert known(given) == ["main"]
    return found


@pytest.mark.parametrize(
    "given",
    [pytest.param(g, id=f"{p}, {g[0]}, {i}") for i, (p, g) in enumerate(SHOWN)],
)
def test_a_command_that_is_shown_names_a_variant_and_fields_that_there_are(given):
    parse(given)


def test_commands_are_found_in_readme_and_docs():
    pages = {page for page, _ in SHOWN}
    assert {"README.md", "docs/start.md", "docs/data.md", "docs/tasks.md"} <= pages
    assert {given[0].partition(":")[0] for _, given in SHOWN} >= {
        f"--config=configs/{name}.py" for name in ("byol3d", "segment", "detect")
    }


@pytest.mark.parametrize(
    "given",
    [
        ["--config=configs/byol3d.py:no_such"],
        ["--config=configs/no_such.py"],
        ["--config=configs/byol3d.py", "--config.no_such=1"],
        ["--config=configs/byol3d.py", "--config.batch_size=many"],
        ["--config=configs/byol3d.py", "--wordkir=x"],
    ],
)
def test_a_command_with_something_that_there_is_not_is_noticed(given):
    with pytest.raises((flags.Error, AttributeError, KeyError, OSError, ValueError)):
        parse(given)


@pytest.mark.parametrize("page", TEXTS)
def test_configs_and_flags_in_a_pages_text_exist(page):
    prose = TEXTS[page]
    for block in fenced(prose):
        prose = prose.replace(block, "")
    for name, variant in re.findall(r"configs/(\w+)\.py(?::([\w:]+))?", prose):
        asked = variant and not variant.startswith("TASK")
        parse([f"--config=configs/{name}.py{f':{variant}' if asked else ''}"])
    for flag in re.findall(r"--config\.([\w.]+)=", prose):
        assert any(has(config, flag) for config in defaults()), flag


def has(config, dotted):
    for name in dotted.split("."):
        if not hasattr(config, "keys") or name not in config:
            return False
        config = config[name]
    return True


@functools.cache
def defaults():
    """Return each config's first variant, and those of volumes and images of one's own."""
    own = ["byol3d.py:nifti", "finetune.py:images", "simclr.py:images"]
    files = [*(f"{name}.py" for name in sorted(CONFIGS)), *own]
    return [parse([f"--config=configs/{file}"]) for file in files]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_config_is_named_in_the_docs(name):
    pages = [text for page, text in TEXTS.items() if page != "docs/contributing.md"]
    assert any(f"configs/{name}.py" in text for text in pages)


@functools.cache
def literals():
    """Return every text in the source by file, with a mark for what is filled in."""
    found = {}
    for path in (ROOT / "medssl_jax").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        texts = []
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", None) for part in node.values]
                texts.append("".join(p if isinstance(p, str) else "\0" for p in parts))
            elif isinstance(node, ast.Constant) and id(node) not in docs:
                value = node.value
                text = value.decode("latin1") if isinstance(value, bytes) else value
                if isinstance(text, str):
                    texts.append(re.sub(r"%[sd]", "\0", text))
        found[path] = texts
    return found


def quoted():
    """Return the messages that the page of troubles quotes, a line each."""
    text = TEXTS["docs/troubleshooting.md"]
    blocks = [line for block in fenced(text) for line in block.splitlines()]
    cells = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    return [line.strip() for line in [*blocks, *cells]]


def is_said(message, sources):
    """Say whether one file has all that a message consists of, in what it prints."""
    pieces = [p.strip(" ,.") for p in message.split(FILLED_IN)]
    pieces = [p.removeprefix("warning: ") for p in pieces if len(p) > 2]
    return bool(pieces) and any(
        all(any(piece in text for text in texts) for piece in pieces)
        for texts in sources
    )


def test_messages_that_are_quoted_are_in_the_source():
    sources = list(literals().values())
    messages = quoted()
    assert len(messages) > 50
    assert [m for m in messages if not is_said(m, sources)] == []


def test_a_message_that_the_source_does_not_have_is_noticed():
    sources = list(literals().values())
    real = "micro_batch_size ... is not divisible by ... devices; use a multiple of ..."
    assert is_said(real, sources)
    for other in ("divided", "devices, use"):
        assert not is_said(real.replace("divisible", other), sources)
    assert not is_said(real.replace("devices;", "modalities; devices"), sources)
    assert not is_said("...", sources)


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXTS["README.md"])
    assert links
    missing = [
        link
        for link in links
        if not (link.startswith("http") or (ROOT / link).exists())
    ]
    assert missing == []
