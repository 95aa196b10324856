"""A source whose boxes are those that a method learns from."""

from dataclasses import dataclass

from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import DataError


@dataclass(frozen=True)
class Boxed(Wrapper):
    """The prepared examples of `source`, the kinds of each one's boxes looked at.

    A table of numbers says nowhere how many there are, and a loss would take a kind too
    many for none of them, without a word.

    Attributes:
      kinds: how many a method tells apart.
    """

    source: Source
    kinds: int

    def __getitem__(self, i: int) -> Record:
        """Return the record of example i.

        Raises:
          DataError: naming it, if a box is of a kind beyond `kinds`.
        """
        record = super().__getitem__(i)
        if "boxes" in record:
            highest = int(record["boxes"][:, -1].max(initial=-1))
            if highest >= self.kinds:
                text = f"has a box of the kind {highest}, and method.kinds is"
                raise DataError(
                    self.name(i),
                    f"{text} {self.kinds}: kinds are 0 to {self.kinds - 1}",
                )
        return record
