"""Whole images segmented, in the geometry of their files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from medssl_jax.data.host import Prepare
from medssl_jax.data.places import places
from medssl_jax.data.source import Record, Source
from medssl_jax.evals.base import Context
from medssl_jax.evals.sliding import Predict, classes, mirrored, regions, slabs
from medssl_jax.methods.base import Voxels


class Segmented(NamedTuple):
    """A case as its file has it, and what was found in it.

    record: unprepared; its mask is the truth, where the source has one.
    found: (*s,) classes uint8, or (*s, k) regions bool, on the record's grid.
    """

    record: Record
    found: np.ndarray


def segmented(
    predict: Predict,
    record: Record,
    image: np.ndarray,
    prepare: Prepare,
    *,
    tile: tuple[int, ...],
    batch_size: int,
    step: float,
    mirror: Sequence[int],
    overlapping: bool,
) -> np.ndarray:
    """Return the classes, or overlapping regions, of every voxel of a record.

    What `prepare` crops away is background.

    Args:
      predict: windows (b, *tile, c) -> probabilities (b, *tile, k).
      image: the record's, as `prepare` makes it.
      step, mirror: as `evals.segment.segment` takes them.
      overlapping: regions, each in a channel, and not classes.
    """
    box = prepare.box(record)
    inner = {**record, "image": record["image"][box]}
    found = slabs(
        image,
        mirrored(predict, mirror) if mirror else predict,
        tile=tile,
        batch_size=batch_size,
        step=step,
        places=places(prepare, inner),
        decide=regions if overlapping else classes,
    )
    found = np.concatenate(list(found))
    shape = record["image"].shape[:-1]
    whole = np.zeros((*shape, *found.shape[len(shape) :]), found.dtype)
    whole[box] = found
    return whole


class Whole(NamedTuple):
    """Segments the cases of a run; `step` and `mirror` are those of `segmented`."""

    context: Context
    step: float
    mirror: Sequence[int]

    def __call__(
        self, source: Source, i: int, params: PyTree, aux: PyTree
    ) -> Segmented:
        """Return example i of a source."""
        context = self.context
        origin, j = source.origin(i)
        record = origin[j]
        found = segmented(
            lambda images: np.asarray(context.predict(params, aux, images)["mask"]),
            record,
            source[i]["image"],
            context.prepare,
            tile=context.draw.shape,
            batch_size=context.batch_size,
            step=self.step,
            mirror=self.mirror,
            overlapping=context.method.voxels.regions > 0,
        )
        return Segmented(record, found)


def names_of(class_names: Sequence[str] | None, voxels: Voxels) -> list[str]:
    """Return the names of the structures, of classes without the background's."""
    count = voxels.regions or voxels.classes
    names = list(class_names or ())
    if len(names) != count:
        kind = "region" if voxels.regions else "class"
        names = [f"{kind} {k}" for k in range(count)]
    return names if voxels.regions else names[1:]
