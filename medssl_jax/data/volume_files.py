"""Files of one volume each, with their masks, whatever their format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from medssl_jax.data import tree
from medssl_jax.data.host import check
from medssl_jax.data.masks import check_shape, classes, columns, pair
from medssl_jax.data.orient import check_orientation, orient, restore
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples
from medssl_jax.data.volume import Volume, check_grid
from medssl_jax.errors import ConfigError

# the file's first index runs fastest, an array's last one does
_REVERSED = [2, 1, 0]


class Format(NamedTuple):
    """How files of a kind are read, and masks written as they are.

    suffixes: of its files; `holds` says so in errors.
    load: (path, channels) -> what is in the file.
    save_mask: (mask (i, j, k, *regions), its image, path).
    mask_name: of an image's name, the name of its mask.
    parts: of a path, the files that it is made of, for caches.
    """

    name: str
    suffixes: tuple[str, ...]
    holds: str
    load: Callable[[Path, int], Volume]
    save_mask: Callable[[Shaped[np.ndarray, "i j k *regions"], Volume, Path], None]
    mask_name: Callable[[str], str]
    parts: Callable[[Path], list[Path]]


def volumes(
    kind: Format,
    *,
    root: str,
    labels: str,
    unlisted: str,
    only: str,
    classes: tuple[str, ...],
    masks: str,
    unmasked: str,
    channels: int,
    orientation: str,
) -> Examples:
    """Read every file of a kind below `root`; the rest as `sources.nifti.nifti`."""
    check_orientation(orientation)
    if channels < 1:
        raise ConfigError(f"data.channels is {channels}; it must be 1 or more")
    names = tree.files(root, kind.suffixes, holds=kind.holds)
    read_masks = {"masks": masks, "labels": labels, "only": only, "unmasked": unmasked}
    pairs = pair(root, names, kind.suffixes, **read_masks)
    read = ReadVolume(kind, root, orientation, channels, pairs.masks)
    source = examples(
        pairs.names,
        read,
        read.stamp,
        labels=pairs.labels,
        unlisted=unlisted,
        only=only,
        classes=classes,
    )
    known = columns(source.names, pairs.masks)
    return replace(source, write_mask=read.write_mask, **known)


@dataclass(frozen=True)
class ReadVolume:
    """Read volumes below `root` by their relative names, with masks where given.

    Attributes:
      kind: of the files.
      orientation: as `orient`.
      channels: of every file.
      masks: path of the mask of each name that has one; None: records have none.
    """

    kind: Format
    root: str
    orientation: str
    channels: int
    masks: Mapping[str, Path] | None

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        volume, affine = self._load(path)
        spacing_mm = volume.spacing_mm[::-1]
        image, oriented_mm = orient(
            volume.voxels.transpose(*_REVERSED, 3), affine, spacing_mm, self.orientation
        )
        record = {"image": image, "spacing_mm": oriented_mm}
        if name in (self.masks or ()):
            mask = self._mask(self.masks[name], volume, path).transpose(_REVERSED)
            record["mask"], _ = orient(mask, affine, spacing_mm, self.orientation)
        return check(record, str(path))

    def stamp(self, name: str) -> str:
        paths = [Path(self.root) / name]
        if name in (self.masks or ()):
            paths.append(self.masks[name])
        paths = [part for path in paths for part in self.kind.parts(path)]
        return f"{self.kind.name} {self.orientation} {tree.stamp(*paths)}"

    def write_mask(
        self, name: str, mask: np.ndarray, folder: Path, names: Sequence[str] = ()
    ) -> Path:
        """Write a mask that lies as the record's image does, under its name in folder.

        It has the axes, the affine and the place of the image's file. mask: (*s,)
        classes up to 255, or (*s, k) regions, which become a fourth axis.
        """
        del names  # these formats hold none
        path = Path(folder) / self.kind.mask_name(name)
        volume, affine = self._load(Path(self.root) / name)
        mask = restore(mask, affine, self.orientation)
        mask = mask.transpose(*_REVERSED, *range(3, mask.ndim)).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.kind.save_mask(mask, volume, path)
        return path

    def _load(self, path) -> tuple[Volume, np.ndarray]:
        """Return a file's volume, and the affine of its axes in an array's order."""
        volume = self.kind.load(path, self.channels)
        volume.check_oriented(path, self.orientation)
        return volume, volume.affine[:, [*_REVERSED, 3]]

    def _mask(self, path, image: Volume, image_path) -> UInt8[np.ndarray, "i j k"]:
        """Read the classes of an image's voxels; errors name the mask's file."""
        mask = self.kind.load(path, 1)
        check_shape(mask.voxels.shape[:3], image.voxels.shape[:3], path)
        check_grid(mask, image, path, image_path)
        return classes(mask.voxels[..., 0], path)
