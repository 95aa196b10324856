"""A source whose masks are those that a method learns from."""

from dataclasses import dataclass

from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import DataError


@dataclass(frozen=True)
class Masked(Wrapper):
    """The prepared examples of `source`, each mask looked at as it is read.

    A folder of masks says nowhere how many classes there are, and a loss would take a
    class too many for none of them, without a word.

    Attributes:
      classes, regions: what masks hold, as `methods.base.Voxels` has it.
    """

    source: Source
    classes: int
    regions: int

    def __getitem__(self, i: int) -> Record:
        """Return the record of example i.

        Raises:
          DataError: naming it, if its mask has a class beyond `classes`, or another
            number of regions, or one where the other is learnt.
        """
        record = super().__getitem__(i)
        if "mask" in record:
            self._check(record, i)
        return record

    def _check(self, record, i):
        mask, ndim = record["mask"], record["image"].ndim - 1
        if (mask.ndim > ndim) != (self.regions > 0):
            has, learnt = (
                ("classes", "regions") if self.regions else ("regions", "classes")
            )
            text = f"has {has} in its mask, and the method learns {learnt}: set"
            raise DataError(self.name(i), f"{text} method.{has}, and method.{learnt}=0")
        if self.regions and mask.shape[-1] != self.regions:
            text = f"has {mask.shape[-1]} regions in its mask, and method.regions is"
            raise DataError(self.name(i), f"{text} {self.regions}")
        # which tells of every class, and is shorter than the mask
        highest = record["foreground"][:, 0].max(initial=0)
        if self.classes and highest >= self.classes:
            text = f"has the class {highest} in its mask, and method.classes is"
            raise DataError(
                self.name(i),
                f"{text} {self.classes}: classes are 0 to {self.classes - 1}",
            )
