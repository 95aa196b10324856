"""Losses of published methods: arrays in, one value per example out."""

import jax.numpy as jnp
import optax
from jax import lax
from jax.nn import log_softmax, logsumexp, one_hot, sigmoid, softmax
from jaxtyping import Array, Bool, Float, Integer, Real

from medssl_jax.boxes import float32_at_least, overlap

# of each voxel the class, or whether it belongs to each of k regions that may overlap;
# -1 where unknown
VoxelLabels = Integer[Array, "b *s"] | Integer[Array, "b *s k"]

_SMOOTH = 1e-5  # above and below: a class that is nowhere is no 0 / 0


def normalized_mse(
    prediction: Float[Array, "b d"], target: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """Return 2 - 2 cos(prediction, target) of each row, between 0 and 4.

    The squared distance of the two after l2-normalisation. A row of zeros has no
    direction: its cosine counts as 0, its gradient as 0.

    Source: BYOL, arXiv:2006.07733, eq. 2; BYOLMed3D, eq. 1.
    """
    cosine = jnp.sum(l2_normalize(prediction) * l2_normalize(target), axis=-1)
    return 2.0 - 2.0 * cosine


def l2_normalize(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Divide each row by its length; a row of zeros stays, and has gradient 0."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    zero = square == 0.0  # both branches finite, or the gradient is nan
    norm = jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    return x / norm


def nt_xent(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    *,
    temperature: float,
    axis_name: str | None = None,
) -> Float[Array, " b"]:
    """Return the mean of the two terms of each pair; its mean is that over 2N.

    Rows `first[i]` and `second[i]` are the positives; the negatives of a row are all
    other rows of both arrays, over all devices of `axis_name`. A row of zeros has no
    direction: its cosines count as 0.

    float32 at least. The largest array is the scores of the 2b rows of this device
    against all 2B.

    Source: SimCLR, arXiv:2002.05709, eq. 1. Its public code reports twice this.
    """
    scores, positive, _ = _pair_scores(first, second, temperature, axis_name)
    return _per_pair(logsumexp(scores, axis=1) - positive)


def nt_xent_and_accuracy(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    *,
    temperature: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Return `nt_xent`, with each pair's share of rows nearest to their positive.

    From one matrix of scores. Nearest of all other rows: chance is 1 in 2B - 1.
    """
    scores, positive, place = _pair_scores(first, second, temperature, axis_name)
    found = lax.stop_gradient(scores).argmax(axis=1) == place
    loss = logsumexp(scores, axis=1) - positive
    return _per_pair(loss), _per_pair(found.astype(jnp.float32))


def info_nce(
    anchors: Float[Array, "b d"],
    positives: Float[Array, "b d"],
    *,
    temperature: float,
    axis_name: str | None = None,
) -> Float[Array, " b"]:
    """Return how badly each anchor finds its positive among all of them; in nats.

    The cross-entropy of cosines over `temperature`: `positives[i]` is that of
    `anchors[i]`, the others, over all devices of `axis_name`, are its negatives. A row
    of zeros has no direction: its cosines count as 0. float32 at least.

    Source: CPC, arXiv:1807.03748, eq. 4, with SimCLR's cosines and temperature.
    """
    scores, own = _anchor_scores(anchors, positives, temperature, axis_name)
    return optax.softmax_cross_entropy_with_integer_labels(scores, own)


def info_nce_and_accuracy(
    anchors: Float[Array, "b d"],
    positives: Float[Array, "b d"],
    *,
    temperature: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Return `info_nce`, and whether each anchor's nearest is its positive.

    From one matrix of scores. Chance is 1 in B.
    """
    scores, own = _anchor_scores(anchors, positives, temperature, axis_name)
    found = lax.stop_gradient(scores).argmax(axis=1) == own
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, own)
    return loss, found.astype(jnp.float32)


def triplet(
    anchor: Float[Array, "b d"],
    positive: Float[Array, "b d"],
    negative: Float[Array, "b d"],
    *,
    margin: float,
) -> Float[Array, " b"]:
    """Return by how much each negative is not `margin` farther than the positive.

    max(0, |a - p|^2 - |a - n|^2 + margin), with distances' mean over the d components
    and not their sum, as in the public code of arXiv:2006.03829. Of codes between 0
    and 1 no distance exceeds 1: at margin 1 the hinge never acts, and any margin that
    all triplets stay within has the same gradient.

    Source: FaceNet, arXiv:1503.03832, eq. 1 and 2.
    """
    anchor, positive, negative = map(float32_at_least, (anchor, positive, negative))
    near, far = (
        jnp.mean(jnp.square(anchor - x), axis=-1) for x in (positive, negative)
    )
    return jnp.maximum(near - far + margin, 0.0)


def swapped_prediction(
    scores: Float[Array, "v b k"],
    assignments: Float[Array, "a b k"],
    *,
    temperature: float,
) -> Float[Array, " b"]:
    """Return how badly each view predicts the assignments of the others.

    The cross-entropy of softmax(scores / temperature) against the assignments of each
    of the first `a` views, meaned over the v - 1 other views and over a. Uniform
    predictions, or a network that sees no difference between images, give ln k.

    Args:
      scores: cosines of v views of b samples with k prototypes.
      assignments: of the first a of the views; rows sum to 1.

    Source: SwAV, arXiv:2006.09882, eq. 2 and section 3.3 (multi-crop).
    """
    log_p = log_softmax(float32_at_least(scores) / temperature, axis=-1)
    cross_entropy = -jnp.einsum(
        "abk,vbk->avb", assignments, log_p, precision=lax.Precision.HIGHEST
    )
    views, assigned = len(scores), len(assignments)
    others = jnp.arange(views)[None] != jnp.arange(assigned)[:, None]
    total = jnp.where(others[..., None], cross_entropy, 0.0).sum(axis=(0, 1))
    return total / (assigned * (views - 1))


def dice_loss(
    logits: Float[Array, "b *s k"],
    labels: VoxelLabels,
    *,
    background: bool,
    over_batch: bool,
    axis_name: str | None = None,
) -> Float[Array, " b"]:
    """Return 1 - soft Dice, the mean over classes; float32 at least.

    Labels are classes, predicted by softmax, or 0 and 1 of overlapping regions, each
    predicted by its own sigmoid. Unknown voxels have no part. A class that is absent
    from an example costs it about 1 whatever is predicted, unless `over_batch`.

    Args:
      background: whether class 0 counts. Regions have no background: all count.
      over_batch: sum voxels over the examples of all devices of `axis_name` before
        the ratio, so that all b values are equal. Accumulated micro-batches then do
        not equal one large batch. Devices do: each one's gradient is of the sum of
        all devices' equal losses, and their mean is that of the one loss.

    Source: V-Net, arXiv:1606.04797, without its squares, as MONAI and nnU-Net have it;
    nnU-Net's loss is this minus 1.
    """
    logits = float32_at_least(logits)
    if labels.ndim == logits.ndim:
        p, y, known = sigmoid(logits), labels == 1, labels >= 0
    else:
        p, y = softmax(logits), one_hot(labels, logits.shape[-1], dtype=bool)
        known = labels[..., None] >= 0
        if not background:
            p, y = p[..., 1:], y[..., 1:]
    p, y = jnp.where(known, p, jnp.zeros_like(p)), y.astype(p.dtype)
    space = tuple(range(1, p.ndim - 1))
    shared, whole = (jnp.sum(x, axis=space) for x in (p * y, p + y))
    if over_batch:
        shared, whole = (_over_batch(x, axis_name) for x in (shared, whole))
    return jnp.mean(1.0 - (2.0 * shared + _SMOOTH) / (whole + _SMOOTH), axis=-1)


def voxel_cross_entropy(
    logits: Float[Array, "b *s k"], labels: VoxelLabels
) -> Float[Array, " b"]:
    """Return the mean cross-entropy over voxels; float32 at least.

    Softmax of classes; of overlapping regions sigmoid, the mean over regions too.
    Unknown voxels count with 0 and are not taken out of the divisor, as in
    `methods.label_losses.masked_cross_entropy`.
    """
    logits, known = float32_at_least(logits), labels >= 0
    if labels.ndim == logits.ndim:
        each = optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))
    else:
        # not optax's: its gradient scatters, which XLA's CPU compiles for seconds
        of_class = one_hot(labels, logits.shape[-1], dtype=bool)
        taken = jnp.where(of_class, logits, jnp.zeros_like(logits))
        each = logsumexp(logits, axis=-1) - jnp.sum(taken, axis=-1)
    each = jnp.where(known, each, jnp.zeros_like(each))
    return jnp.mean(each, axis=tuple(range(1, each.ndim)))


def sigmoid_focal(
    logits: Float[Array, "*n"],
    targets: Float[Array, "*n"] | Integer[Array, "*n"] | Bool[Array, "*n"],
    *,
    alpha: float,
    gamma: float,
) -> Float[Array, "*n"]:
    """Return the focal loss of each logit, whose target is 0 or 1; float32 at least.

    Binary cross-entropy times (1 - p_t)^gamma, p_t the probability of what is right,
    times `alpha` where the target is 1 and 1 - alpha where it is 0.

    Source: arXiv:1708.02002, eq. 5, as torchvision has it.
    """
    logits = float32_at_least(logits)
    targets = targets.astype(logits.dtype)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logits, targets)
    p = sigmoid(logits)
    wrong = p * (1.0 - targets) + (1.0 - p) * targets
    # a power below 1 has no slope at 0, where p is rounded to what is right
    wrong = jnp.maximum(wrong, jnp.finfo(wrong.dtype).tiny)
    weight = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return weight * cross_entropy * wrong**gamma


def giou_loss(
    boxes: Real[Array, "n corners"], others: Real[Array, "n corners"]
) -> Float[Array, " n"]:
    """Return 1 - the generalized intersection over union of each pair, 0 to 2.

    Boxes are lower corner, then upper. float32 at least.

    Source: arXiv:1902.09630, algorithm 1; the 1e-7 of both divisors are torchvision's.
    """
    shared, union, around = overlap(boxes, others)
    generalized = shared / (union + 1e-7) - (around - union) / (around + 1e-7)
    return 1.0 - generalized


def supervision_weights(levels: int) -> tuple[float, ...]:
    """Return the weights of the losses of a decoder's outputs, the finest first.

    Each is half of the one before; the coarsest of several has 0; they sum to 1.

    Source: nnU-Net, arXiv:1904.08128, and its public code for the 0.
    """
    halves = [0.5**level for level in range(max(levels - 1, 1))]
    halves += [0.0] * (levels - len(halves))
    return tuple(half / sum(halves) for half in halves)


def _over_batch(sums: Float[Array, "b k"], axis_name):
    """Give every example the sums over all of them, on all devices."""
    total = jnp.sum(sums, axis=0, keepdims=True)
    if axis_name is not None:
        total = lax.psum(total, axis_name)
    return jnp.broadcast_to(total, sums.shape)


def _anchor_scores(anchors, positives, temperature, axis_name):
    """Score this device's b anchors against all B positives; return the own columns."""
    anchors, positives = map(float32_at_least, (anchors, positives))
    anchors, columns = l2_normalize(anchors), l2_normalize(positives)
    start = 0
    if axis_name is not None:
        columns = lax.all_gather(columns, axis_name, tiled=True)
        start = lax.axis_index(axis_name) * len(anchors)
    # as in `_pair_scores`
    scores = jnp.matmul(anchors, columns.T, precision=lax.Precision.HIGHEST)
    return scores / temperature, start + jnp.arange(len(anchors))


def _pair_scores(first, second, temperature, axis_name):
    """Score this device's 2b rows against all 2B, itself at -inf.

    Returns the scores, those of the positives (2b,) and their columns (2b,).
    """
    rows = l2_normalize(float32_at_least(jnp.concatenate([first, second])))
    columns, start = rows, 0
    if axis_name is not None:
        columns = lax.all_gather(rows, axis_name, tiled=True)
        start = lax.axis_index(axis_name) * len(rows)
    # A GPU's or TPU's default precision would round cosines to 10 or 7 bits, and the
    # temperature multiplies that.
    scores = jnp.matmul(rows, columns.T, precision=lax.Precision.HIGHEST) / temperature
    own = jnp.arange(len(rows))
    itself = (start + own)[:, None] == jnp.arange(len(columns))[None]
    scores = jnp.where(itself, -jnp.inf, scores)
    positive = jnp.sum(rows * jnp.roll(rows, len(first), axis=0), axis=1) / temperature
    return scores, positive, start + jnp.roll(own, len(first))


def _per_pair(of_rows: Float[Array, " rows"]) -> Float[Array, " b"]:
    return of_rows.reshape(2, -1).mean(axis=0)
