"""One self-contained page about a run, from the files in its folder."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medssl_jax.files import write_text
from medssl_jax.report.blocks import Section, cell, is_loose, is_number, plain, shown
from medssl_jax.report.run import Run, read_run
from medssl_jax.report.sections import SECTIONS, summary


def build(
    workdir: str | Path,
    *,
    sections: Sequence[Callable[[Run], Section | None]] = SECTIONS,
) -> Path:
    """Write report.html into a run folder and return its path.

    It has the sections that are not None. It opens offline, loads nothing and runs its
    own small script alone: without it, and on paper, a volume is some of its slices. What
    the folder lacks, its section says; the same files give the same bytes.

    Raises:
      DataError: if a file of the folder is damaged.
    """
    run = read_run(Path(workdir))
    environment = _environment()
    script, style = (
        environment.get_template(name).render()
        for name in ("script.js.jinja", "style.css.jinja")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("report.html.jinja").render(
        name=run.name,
        script=Markup(script),  # the package's own, as is the style
        script_sha256=digest,
        style=Markup(style),
        summary=summary(run),
        sections=[made for section in sections if (made := section(run))],
    )
    path = Path(workdir) / "report.html"
    write_text(path, text)
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medssl_jax", "report"),
        autoescape=True,  # names and labels come from files
        undefined=StrictUndefined,
    )
    environment.filters["cell"] = cell
    environment.filters["plain"] = plain
    environment.filters["shown"] = shown
    environment.tests["number_cell"] = is_number
    environment.tests["loose"] = is_loose
    return environment
