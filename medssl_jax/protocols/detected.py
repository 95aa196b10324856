"""Test images in which boxes were found: FROC, AUC, accuracy, average precision."""

from collections.abc import Mapping, Sequence

from medssl_jax.evals.judged import FROC, MEASURES, parse_judged, values
from medssl_jax.protocols.cases import Cases, Measure


def parse(rows: Sequence[Mapping[str, str]]) -> Cases:
    """Return the cases of judged.csv, as `evals.judged.write_judged` writes it.

    The main measure is the AUC of images with a box against those without, as
    published, or FROC where all of them have one.

    Raises:
      KeyError: if a column is not there.
      ValueError: if a cell is none that it can be.
    """
    kinds, images = parse_judged(rows)
    if not any(one.outcome.lesions for one in images):
        raise ValueError("no image has a box")

    def on(measure) -> Measure:
        return lambda cases: measure([images[i] for i in cases])

    known = values(images)
    patients = [row["patient"] for row in rows]
    return Cases(
        [row["name"] for row in rows],
        patients if any(patients) else None,
        {name: on(MEASURES[name]) for name in known},
        "AUC" if "AUC" in known else FROC,
        kinds,
    )
