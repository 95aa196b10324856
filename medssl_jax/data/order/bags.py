"""Bags: the examples of one patient, from which MICLe draws pairs."""

from collections.abc import Sequence

import numpy as np

from medssl_jax.errors import DataError


class Bags:
    """Examples grouped by patient; bags come in the order of their first examples.

    Args:
      patients: of each example.

    Raises:
      DataError: if an example's patient is empty: it would be in a bag with others
        of whom as little is known.
    """

    def __init__(self, patients: Sequence[str]):
        ids = np.asarray(patients)
        if (unknown := np.flatnonzero(ids == "")).size:
            reason = f"has no patient, as {unknown.size} in all; give each one an id"
            raise DataError(f"example {unknown[0]}", reason)
        _, first, bag, sizes = np.unique(
            ids, return_index=True, return_inverse=True, return_counts=True
        )
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        # flat arrays: a list per patient would be copied to every worker
        self._examples = np.argsort(rank[bag], kind="stable")
        self._ends = np.cumsum(sizes[np.argsort(first)])

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, bag: int) -> np.ndarray:
        """Return the examples of a bag, ascending; there is one at least."""
        start = self._ends[bag - 1] if bag else 0
        return self._examples[start : self._ends[bag]]

    def pair(self, bag: int, random: np.random.Generator) -> tuple[int, int]:
        """Draw two distinct examples of a bag, in random order; of one, it twice."""
        examples = self[bag]
        if len(examples) == 1:
            return int(examples[0]), int(examples[0])
        first, second = random.choice(examples, 2, replace=False)
        return int(first), int(second)
