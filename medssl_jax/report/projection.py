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
    embeddings: Mapping[str, Float[np.ndarray, "n d"]], labels: Int[np.ndarray, "n"]
) -> list[Block]:
    """Project the embeddings of each encoder by PCA and by t-SNE."""
    chosen = np.arange(len(labels))
    if len(labels) > _MOST:
        drawn = np.random.default_rng(0).choice(len(labels), _MOST, replace=False)
        chosen = np.sort(drawn)
    spread = {
        name: features[chosen].astype(np.float64)
        for name, features in embeddings.items()
        if np.ptp(features, axis=0).any()
    }
    pictures = [_pca(name, z, labels[chosen]) for name, z in spread.items()]
    if len(chosen) >= _LEAST:
        pictures += [_tsne(name, z, labels[chosen]) for name, z in spread.items()]
    flat = [name for name in embeddings if name not in spread]
    blocks: list[Block] = [
        Text(f"All embeddings of the {name} encoder are one point.", "missing")
        for name in flat
    ]
    note = (
        "PCA shows the two directions of most variance. t-SNE keeps neighbours "
        "together: its distances between groups and their sizes mean nothing."
    )
    return [Text(note), *blocks, Gallery(pictures)]


def _pca(name: str, z: np.ndarray, labels: np.ndarray) -> Picture:
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(z)
    share = f"{pca.explained_variance_ratio_.sum():.0%} of the variance"
    caption = f"PCA of {len(z)} embeddings; the two axes hold {share}."
    return _picture(f"{name}, PCA", points, labels, "component", caption)


def _tsne(name: str, z: np.ndarray, labels: np.ndarray) -> Picture:
    perplexity = min(30.0, (len(z) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=500)
    with threadpool_limits(1):  # on a busy machine its threads wait for each other
        points = tsne.fit_transform(StandardScaler().fit_transform(z))
    caption = (
        f"t-SNE of {len(z)} standardised embeddings, perplexity {perplexity:.0f}, "
        "seed 0."
    )
    return _picture(f"{name}, t-SNE", points, labels, "t-SNE", caption)


def _picture(title, points, labels, axis: str, caption: str) -> Picture:
    known = np.unique(labels[labels >= 0])
    coloured = f"coloured by {len(known)} labels" if len(known) else "without labels"
    return Picture(
        figures.uri(figures.scatter(title, points.astype(float), labels, axis=axis)),
        f"Scatter plot: {title}, {len(points)} points {coloured}.",
        caption,
    )
