"""The report's sections on what an encoder made of its inputs."""

from collections.abc import Mapping

import numpy as np

from medssl_jax.evals import collapse
from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section, Table, Text, missing
from medssl_jax.report.projection import projections
from medssl_jax.report.run import Run


def embedding(run: Run) -> Section:
    """Show how far and in how many directions embeddings differ."""
    title = "Embedding spread"
    if run.results is None:
        return Section(title, [missing("results.json", "the spread is not known")])
    found = run.results.get("collapse", {})
    if not found:
        text = "This run did not measure the spread of its embeddings."
        return Section(title, [Text(text, "missing")])
    columns = ["encoder", "spread", "effective rank", "RankMe", "mean cosine"]
    rows = [
        [
            name,
            values["std"],
            f"{values['rank']:.1f} of {values['most']:.0f}",
            f"{values['rankme']:.1f}",
            values["mean_cosine"],
        ]
        for name, values in found.items()
    ]
    note = (
        "Spread: standard deviation of L2-normalised embeddings, 0 where all are one "
        "and 1 where they are uniform on the sphere. Effective rank: in how many "
        "directions they differ, of the centred embeddings. RankMe: the same without "
        "centring, as published; it compares runs of one method on the same data."
    )
    blocks = [Table("Spread and rank", columns, rows, note)]
    features = _features(run)
    if features:
        picture = Picture(
            figures.uri(figures.spectrum(features)),
            f"Singular values of the embeddings of the {' and the '.join(features)} "
            "encoder, in falling order.",
            "A curve that falls at once has few directions: dimensional collapse.",
        )
        blocks.append(Gallery([picture]))
    return Section(title, blocks)


def projection(run: Run) -> Section:
    """Show embeddings in the plane."""
    title = "Embedding projections"
    if run.embeddings is None:
        return Section(title, [missing("embeddings.npz", "nothing is projected")])
    features = _features(run)
    if not features:
        text = "No encoder's embeddings are finite, so nothing is projected."
        return Section(title, [Text(text, "missing")])
    if min(map(len, features.values())) < collapse.FEWEST:
        text = f"Fewer than {collapse.FEWEST} embeddings: nothing is projected."
        return Section(title, [Text(text, "missing")])
    labels, name = _coloured_by(run.embeddings)
    return Section(title, projections(features, labels, name=name))


def _coloured_by(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """Return a label for each embedding, and what it is called; of findings the first.

    A point has one colour: which finding comes first is for the data's author to say.
    """
    labels = arrays["labels"].astype(np.int64)
    if labels.ndim == 1:
        return labels, "label"
    return labels[:, 0], str(arrays["label_names"][0])


def _features(run: Run) -> dict[str, np.ndarray]:
    """Return the embeddings by encoder, where they are there and finite."""
    arrays = run.embeddings or {}
    names = [name for name in ("pretrained", "untrained") if name in arrays]
    return {n: arrays[n] for n in names if np.isfinite(arrays[n]).all()}
