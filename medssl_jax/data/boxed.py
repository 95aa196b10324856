"""Boxes that a method can learn from: of its kinds, and not too many."""

from collections.abc import Sequence
from dataclasses import dataclass

from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import DataError


@dataclass(frozen=True)
class Boxed(Wrapper):
    """The prepared examples of `source`, each one's boxes looked at.

    A table of numbers says nowhere how many there are, and a loss would take a kind too
    many for none of them, without a word.

    Attributes:
      kinds: how many a method tells apart.
      most: boxes of an example, which batches have place for.
    """

    source: Source
    kinds: int
    most: int

    def __getitem__(self, i: int) -> Record:
        """Return the record of example i.

        Raises:
          DataError: as `check_kinds`.
        """
        record = super().__getitem__(i)
        if "boxes" in record:
            own = record["boxes"][:, -1].astype(int).tolist()
            check_kinds(own, self.kinds, self.most, self.name(i))
        return record


def check_kinds(own: Sequence[int], kinds: int, most: int, name: str) -> None:
    """Refuse the boxes of one example that a method has no kind or a batch no place for.

    Raises:
      DataError: naming it, and the setting.
    """
    if (highest := max(own, default=-1)) >= kinds:
        text = f"has a box of the kind {highest}, and method.kinds is {kinds}"
        raise DataError(name, f"{text}: kinds are 0 to {kinds - 1}")
    if len(own) > most:
        text = f"has {len(own)} boxes, and data.most_boxes is {most}"
        raise DataError(name, f"{text}: set it to the most that an image has")
