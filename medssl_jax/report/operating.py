"""The report's section on what a model reaches at each of its thresholds."""

import numpy as np

from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section
from medssl_jax.report.run import Run


def operating(run: Run) -> Section | None:
    """Show the curves that the evaluation has drawn over thresholds."""
    drawn = (run.results or {}).get("curves", [])
    pictures = []
    for one in drawn:
        lines = [
            figures.Line(line["name"], np.array(line["x"]), np.array(line["y"]))
            for line in one["lines"]
        ]
        names = {name: one[name] for name in ("xlabel", "ylabel", "logarithmic")}
        said = f"{one['title']}: {', '.join(line.name for line in lines)}."
        uri = figures.uri(figures.operating(lines, **names))
        pictures.append(Picture(uri, said, f"{one['title']}. {one['note']}"))
    return Section("Curves", [Gallery(pictures)]) if pictures else None
