"""Embeddings in the plane, coloured by label."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from medssl_jax.report import figures
from medssl_jax.report.blocks import Block, Gallery, Picture, Text

_MOST = 500  # points: t-SNE takes about a second for them
_LEAST = 30  # points: t-SNE of fewer shows its own parameters


def projections(
    embeddings: Mapping[str, Float[np.ndarray, "n d"]],
    labels: Int[np.ndarray, "n"],
    *,
    name: str = "label",
) -> list[Block]:
    """Project the embeddings of each encoder by PCA and by t-SNE.

    `name` is what the labels are of: a finding, or just "label".
    """
    chosen = np.arange(len(labels))
    if len(labels) > _MOST:
        drawn = np.random.default_rng(0).choice(len(labels), _MOST, replace=False)
        chosen = np.sort(drawn)
    spread = {
        encoder: features[chosen].astype(np.float64)
        for encoder, features in embeddings.items()
        if np.ptp(features, axis=0).any()
    }
    colours = labels[chosen], name
    pictures = [_pca(encoder, z, *colours) for encoder, z in spread.items()]
    if len(chosen) >= _LEAST:
        pictures += [_tsne(encoder, z, *colours) for encoder, z in spread.items()]
    flat = [encoder for encoder in embeddings if encoder not in spread]
    blocks: list[Block] = [
        Text(f"All embeddings of the {encoder} encoder are one point.", "missing")
        for encoder in flat
    ]
    note = (
        "PCA shows the two directions of most variance. t-SNE keeps neighbours "
        "together: its distances between groups and their sizes mean nothing."
    )
    return [Text(note), *blocks, Gallery(pictures)]


def _pca(encoder: str, z: np.ndarray, labels: np.ndarray, name: str) -> Picture:
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(z)
    share = f"{pca.explained_variance_ratio_.sum():.0%} of the variance"
    caption = f"PCA of {len(z)} embeddings; the two axes hold {share}."
    return _picture(f"{encoder}, PCA", points, labels, name, "component", caption)


def _tsne(encoder: str, z: np.ndarray, labels: np.ndarray, name: str) -> Picture:
    perplexity = min(30.0, (len(z) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=500)
    with threadpool_limits(1):  # on a busy machine its threads wait for each other
        points = tsne.fit_transform(StandardScaler().fit_transform(z))
    caption = (
        f"t-SNE of {len(z)} standardised embeddings, perplexity {perplexity:.0f}, "
        "seed 0."
    )
    return _picture(f"{encoder}, t-SNE", points, labels, name, "t-SNE", caption)


def _picture(title, points, labels, name: str, axis: str, caption: str) -> Picture:
    known = np.unique(labels[labels >= 0])
    coloured = "without labels"
    if len(known):
        coloured = f"coloured by {len(known)} labels"
        coloured += "" if name == "label" else f" of {name}"
    figure = figures.scatter(title, points.astype(float), labels, name=name, axis=axis)
    told = f"Scatter plot: {title}, {len(points)} points {coloured}."
    return Picture(figures.uri(figure), told, caption)
