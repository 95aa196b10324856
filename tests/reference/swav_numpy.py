"""SwAV's loss as its formulas are printed, in NumPy and float64: arXiv:2006.09882,
and arXiv:2201.01283 for modalities (eq. 4) and labels (eq. 7).
"""

import numpy as np


def l2(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def sinkhorn(scores, epsilon, iterations):
    q = np.exp(scores / epsilon).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * k
        q /= q.sum(axis=0, keepdims=True) * b
    return (q * b).T


def head(x, params):
    """Linear, batch norm by the batch's statistics, ReLU, linear, unit length."""
    x = x @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    x = np.maximum(x * params["norm"]["scale"] + params["norm"]["bias"], 0)
    return l2(x @ params["output"]["kernel"])


def swapped(z, c, *, assigned, temperature, epsilon, iterations, queue=None):
    """Return the loss of one modality, z (v, n, d), c (k, d), queue (a, l, d)."""
    total, views = 0.0, len(z)
    for a in range(assigned):
        of_batch = z[a] if queue is None else np.concatenate([z[a], queue[a]])
        q = sinkhorn(of_batch @ c.T, epsilon, iterations)[: z.shape[1]]
        for v in range(views):
            if v != a:
                scores = z[v] @ c.T / temperature
                log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
                total -= (q * log_p).sum(1).mean() / (assigned * (views - 1))
    return total


def cross_entropy(logits, labels):
    """Return the mean over all examples; those labelled -1 count with 0."""
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    known = labels >= 0
    return -log_p[known, labels[known]].sum() / len(labels)
