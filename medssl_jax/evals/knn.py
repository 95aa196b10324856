"""Weighted nearest neighbours: what an encoder knows before anything is trained."""

import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors

from medssl_jax.errors import ConfigError


def weighted_knn(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, "n"],
    test_features: Float[np.ndarray, "m d"],
    *,
    classes: int,
    k: int,
    temperature: float,
) -> Float[np.ndarray, "m {classes}"]:
    """Return class probabilities by votes of the k most similar training examples.

    A neighbour at cosine similarity s votes for its class with weight
    exp(s / temperature); the votes of a test example are divided by their sum. Every
    labelled training example is in the bank. Wu et al. 2018 (arXiv:1805.01978,
    sec. 3.4; k 200, temperature .07), DINO (arXiv:2104.14294, k 20).

    Raises:
      ConfigError: if there are fewer training examples than k.
    """
    if k > len(train_labels):
        raise ConfigError(
            f"k={k} neighbours asked of {len(train_labels)} training examples; "
            "lower k or label more"
        )
    bank = NearestNeighbors(n_neighbors=k, metric="cosine").fit(train_features)
    distance, neighbours = bank.kneighbors(test_features)
    similarity = 1 - distance
    # divided by the largest: the same votes after normalisation, and no overflow
    nearest = similarity.max(axis=1, keepdims=True)
    weights = np.exp((similarity - nearest) / temperature)
    votes = np.zeros((len(test_features), classes))
    rows = np.arange(len(votes))[:, None]
    np.add.at(votes, (rows, train_labels[neighbours]), weights)
    return votes / votes.sum(axis=1, keepdims=True)
