"""Boxes around the pieces of masks: detection learns from what was segmented."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Integer
from scipy import ndimage

from medssl_jax.data.columns import Columns
from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import ConfigError


@dataclass(frozen=True)
class LesionBoxes(Wrapper):
    """The examples of `source` with boxes in the place of their masks.

    Attributes:
      least: voxels of a piece that gets a box; what is smaller is as the background.
    """

    source: Source
    least: int

    def __getitem__(self, i: int) -> Record:
        record = dict(super().__getitem__(i))
        ndim = record["image"].ndim - 1
        record["boxes"] = pieces(record.pop("mask"), ndim, self.least)
        return record

    def stamp(self, i: int) -> str:
        before = super().stamp(i)
        return before and f"{before} boxes of {self.least} voxels"

    @cached_property
    def columns(self) -> Columns:
        names = self.source.class_names
        if names is not None and not self._regions:
            names = names[1:]  # without the background
        known = {"has_masks": False, "class_names": None, "box_kinds": None}
        return self.source.columns.replace(**known, has_boxes=True, kind_names=names)

    @cached_property
    def _regions(self) -> bool:
        first = self.source[0]
        return first["mask"].ndim == first["image"].ndim


def lesion_boxes(source: Source, least: int) -> Source:
    """Return a source whose masks are boxes.

    Raises:
      ConfigError: if it has no masks.
    """
    if not source.has_masks:
        raise ConfigError(
            "data.lesion_boxes makes boxes of masks, and the data has none: set "
            "data.masks, use a source of masks, or set it to 0 and give boxes"
        )
    return LesionBoxes(source, least)


def pieces(
    mask: Integer[np.ndarray, "*s"], ndim: int, least: int
) -> Float32[np.ndarray, "m columns"]:
    """Return a box around each connected piece of a mask, as records have them.

    Voxels of one class that share a corner are of one piece. (*s,) classes are kinds
    from 0 without the background; of (*s, k) regions, each is a kind.
    """
    if mask.ndim == ndim:
        kinds = [(k - 1, mask == k) for k in np.unique(mask).tolist() if k]
    else:
        kinds = [(k, mask[..., k] > 0) for k in range(mask.shape[-1])]
    sides, found = np.array(mask.shape[:ndim]), [np.empty((0, 2 * ndim + 1))]
    for kind, of_kind in kinds:
        labelled, _ = ndimage.label(of_kind, np.ones((3,) * ndim))
        sizes = np.bincount(labelled.ravel())
        for piece, place in enumerate(ndimage.find_objects(labelled), start=1):
            if sizes[piece] >= least:
                low = np.array([part.start for part in place]) / sides
                high = np.array([part.stop for part in place]) / sides
                found.append([[*low, *high, kind]])
    return np.concatenate(found).astype(np.float32)
