"""Whether an encoder still tells its inputs apart.

Complete collapse: every input gets one embedding (SimSiam, arXiv:2011.10566, sec. 4.1,
watches the spread of L2-normalised outputs). Dimensional collapse: embeddings differ
along a few directions only (Jing et al. 2022, arXiv:2110.09348, sec. 3, watch the
singular values of the covariance).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from sklearn.preprocessing import normalize

# Below this spread the embeddings differ by what rounding can do: one rounding to
# bfloat16 (8 bits) moves a value by up to 2^-9 = .002 of itself, a deep network
# rounds many times, and .01 is five such steps.
COLLAPSED_SPREAD = 0.01
# No publication gives a rank at which an embedding is bad: RankMe compares runs. Ours:
# half the directions of the same encoder before training are gone, ...
LOST_SHARE = 0.5
# ... or fewer are left than this share of those that n examples and d features allow.
LEAST_SHARE = 0.05

FEWEST = 3  # embeddings whose spread can be measured
_SOUND = "no sign of collapse"
_EPSILON = 1e-7  # RankMe's, for float32


def spread(features: Float[np.ndarray, "n d"]) -> dict[str, float]:
    """Measure how far and in how many directions embeddings differ.

    Returns:
      A mapping, all NaN where a feature is not finite:

      - std: mean over dimensions of the standard deviation of the L2-normalised
        embeddings, times sqrt(d); 0 when all are one, 1 when uniform on the sphere
      - mean_cosine: mean cosine similarity over pairs of different examples
      - rankme: effective rank of the embeddings as they are
      - rank: the same of the centred embeddings: RankMe's counts their common mean as
        a direction, which in features after a ReLU outweighs all others
      - most: the largest `rank` that so many examples and features allow

    Raises:
      ValueError: if there are fewer than three embeddings.
    """
    n, d = features.shape
    if n < FEWEST:
        raise ValueError(f"spread needs at least {FEWEST} embeddings, got {n}")
    names = ("std", "mean_cosine", "rankme", "rank", "most")
    if not np.isfinite(features).all():
        return dict.fromkeys(names, float("nan"))
    features = features.astype(np.float64)
    units = normalize(features)
    total = units.sum(axis=0)
    cosines = total @ total - (units * units).sum()  # over ordered pairs i != j
    values = (
        units.std(axis=0).mean() * np.sqrt(d),
        cosines / (n * (n - 1)),
        rankme(features),
        rankme(features - features.mean(axis=0, keepdims=True)),
        min(n - 1, d),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def rankme(features: Float[np.ndarray, "n d"]) -> float:
    """Return the exponential of the entropy of the normalised singular values.

    k where k directions are used alike; 0 for the zero matrix. Garrido et al. 2023,
    arXiv:2210.02885, eq. 1.
    """
    singular = np.linalg.svd(features, compute_uv=False)
    if singular.sum() == 0:
        return 0.0
    p = singular / singular.sum() + _EPSILON
    return float(np.exp(-(p * np.log(p)).sum()))


def verdict(
    pretrained: Mapping[str, float], untrained: Mapping[str, float] | None = None
) -> str:
    """Say in words whether embeddings collapsed, from what `spread` measured.

    `untrained` is the same encoder before training, on the same examples.
    """
    std, rank = pretrained["std"], pretrained["rank"]
    if np.isnan(std):
        return "collapsed: the embeddings hold values that are not finite"
    if std < COLLAPSED_SPREAD:
        return (
            f"collapsed: all inputs get nearly one embedding (spread {std:.4f} of at "
            f"most 1; below {COLLAPSED_SPREAD} it is rounding)"
        )
    found = f"the embeddings fill about {rank:.1f} of {pretrained['most']:.0f}"
    if untrained is not None and rank < LOST_SHARE * untrained["rank"]:
        return (
            f"partial dimensional collapse: {found} directions, fewer than half of "
            f"the {untrained['rank']:.1f} before training"
        )
    if rank < LEAST_SHARE * pretrained["most"]:
        return (
            f"partial dimensional collapse: {found} directions, less than "
            f"{LEAST_SHARE:.0%} of them"
        )
    before = "" if untrained is None else f", {untrained['rank']:.1f} before training"
    return f"{_SOUND}: {found} directions{before} (spread {std:.2f})"


def collapsed(
    pretrained: Mapping[str, float], untrained: Mapping[str, float] | None = None
) -> bool:
    """Say whether `verdict` tells of a collapse, complete or partial."""
    return not verdict(pretrained, untrained).startswith(_SOUND)
