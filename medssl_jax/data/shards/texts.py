"""Names or patients of many examples, in a file that is mapped into memory."""

from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

_AT_ONCE = 1 << 16  # texts that iterating decodes together


class Texts(Sequence):
    """The texts in rows of UTF-8, each filled up with zeros to the longest one's width.

    Where the rows are a mapped file, a text is in memory while it is asked for. Damaged
    ones are other texts, and no error.
    """

    def __init__(self, rows: UInt8[np.ndarray, "n width"]):
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: SupportsIndex) -> str:
        return self._rows[i].tobytes().rstrip(b"\0").decode(errors="replace")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            rows = np.ascontiguousarray(self._rows[start : start + _AT_ONCE])
            for text in rows.view(f"S{rows.shape[1]}")[:, 0].tolist():
                yield text.decode(errors="replace")


def packed(texts: Sequence[bytes], width: int) -> bytes:
    """Return the rows of some texts, none longer than `width` bytes."""
    return np.array(texts, f"S{width}").tobytes()
