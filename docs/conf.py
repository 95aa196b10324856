"""How the documentation is built: sphinx-build -W -b html docs docs/_build/html."""

import re
import shutil
import sys
from pathlib import Path

from sphinx.util.typing import stringify_annotation

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # before the package is installed

from medssl_jax import ranges

RANGES = {  # of what a number in a config can be, as autodoc writes it out
    name: stringify_annotation(value, "smart").replace("~", "")
    for name, value in vars(ranges).items()
    if name[0].isupper() and hasattr(value, "__metadata__")
}

project = "medssl_jax"
author = "The medssl_jax authors"
copyright = "2026, the medssl_jax authors; Apache 2.0"
version = "0.1.0"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # a docstring's single backticks
highlight_language = "none"  # of blocks that name none

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests execute them

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
maximum_signature_line_length = 72  # else a parameter in each line

html_theme = "furo"
html_title = "medssl_jax"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["pages.css"]


def setup(app):
    """Fetch the notebooks; take docstrings for plain text; write ranges as people do."""
    app.connect("config-inited", _fetch_notebooks)
    app.connect("autodoc-process-docstring", _plain, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", _short)


def _fetch_notebooks(app, config):
    """Copy them to where Sphinx looks, dates and all: what is unchanged is not read."""
    folder = Path(app.srcdir) / "notebooks"
    folder.mkdir(exist_ok=True)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy2(path, folder)


def _plain(app, what, name, obj, options, lines):
    """Escape what RST would take for markup: |a - b|^2 and (*s, c) are text."""
    lines[:] = [
        "`".join(
            part if i % 2 else re.sub(r"([*|\\]|\b_|_\b)", r"\\\1", part)
            for i, part in enumerate(line.split("`"))
        )
        for line in lines
    ]


def _short(app, what, name, obj, options, signature, returns):
    """Call a range by its name, and an array an Array."""
    return tuple(text and _called(text) for text in (signature, returns))


def _called(text):
    for name, written in RANGES.items():
        text = text.replace(written, name)
    text = re.sub(r"Annotated\[(.*?), AfterValidator\(func=\w+\)\]", r"\1", text)
    return text.replace("jaxlib._jax.", "").replace("np.ndarray", "ndarray")
