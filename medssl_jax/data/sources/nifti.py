"""Volumes in a tree of NIfTI files, brought to one orientation, with their masks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medssl_jax.data import tree
from medssl_jax.data.host import check
from medssl_jax.data.masks import pair, stem
from medssl_jax.data.nifti_files import load, load_mask, save_mask
from medssl_jax.data.orient import check_orientation, orient, restore
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples
from medssl_jax.errors import ConfigError
from medssl_jax.ranges import Count

_SUFFIXES = (".nii", ".nii.gz")
# the file's first index runs fastest, an array's last one does
_REVERSED = [2, 1, 0]


def nifti(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    only: str = "",
    classes: tuple[str, ...] = (),
    masks: str = "",
    channels: Count = 1,
    orientation: str = "SPL",
) -> Examples:
    """Read every .nii and .nii.gz below `root` as a volume.

    Args:
      labels: CSV `path,label,patient`, or empty (`table.examples`).
      unlisted: what becomes of files without a row, "raise" or "drop".
      only: COLUMN=VALUE, the rows of the table that are used (`rows.read_rows`).
      classes: names of the labels' classes 0, 1, 2, ..., where the table has names;
        (): sorted.
      masks: folder of masks with the images' names, or CSV `path,mask,patient`
        (`masks.pair`); empty: none.
      channels: in the fourth axis of every file; 1: there is none.
      orientation: where slices, rows and columns run to: "SPL" are axial slices
        upwards, rows to the back, columns to the left; "acquired" leaves the order on
        disk, its slowest axis first.

    Raises:
      ConfigError: if the orientation is not known, or channels is less than 1; as
        `masks.pair`.
      DataError: if root or table cannot be used, or images and masks are not pairs; on
        reading, if a file is damaged, no single volume, holds NaN, infinities or one
        value only, has other channels, or does not say how it is oriented, or as
        `nifti_files.load_mask`.
    """
    check_orientation(orientation)
    if channels < 1:
        raise ConfigError(f"data.channels is {channels}; it must be 1 or more")
    names = tree.files(root, _SUFFIXES, holds="*.nii or *.nii.gz")
    pairs = pair(root, names, _SUFFIXES, masks=masks, labels=labels, only=only)
    read = ReadVolume(root, orientation, channels, pairs.masks)
    source = examples(
        pairs.names,
        read,
        read.stamp,
        labels=pairs.labels,
        unlisted=unlisted,
        only=only,
        classes=classes,
    )
    return replace(source, write_mask=read.write_mask, has_masks=bool(masks))


@dataclass(frozen=True)
class ReadVolume:
    """Read volumes below `root` by their relative names, with masks where given.

    Attributes:
      orientation: as `orient`.
      channels: of every file.
      masks: path of the mask of each name; None: records have none.
    """

    root: str
    orientation: str
    channels: int
    masks: Mapping[str, Path] | None

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        volume = load(path, self.channels)
        spacing_mm = volume.spacing_mm(path)
        affine = volume.affine(path, self.orientation)[:, [*_REVERSED, 3]]
        image, oriented_mm = orient(
            volume.voxels.transpose(*_REVERSED, 3),
            affine,
            spacing_mm[::-1],
            self.orientation,
        )
        record = {"image": image, "spacing_mm": oriented_mm}
        if self.masks is not None:
            mask = load_mask(self.masks[name], volume, path).transpose(_REVERSED)
            mask, _ = orient(mask, affine, spacing_mm[::-1], self.orientation)
            record["mask"] = mask
        return check(record, str(path))

    def stamp(self, name: str) -> str:
        paths = [Path(self.root) / name]
        if self.masks is not None:
            paths.append(self.masks[name])
        return f"nifti {self.orientation} {tree.stamp(*paths)}"

    def write_mask(self, name: str, mask: np.ndarray, folder: Path) -> Path:
        """Write a mask that lies as the record's image does as folder/NAME.nii.gz.

        It has the axes, the affine and the place of the image's file. mask: (*s,)
        classes up to 255, or (*s, k) regions, which become a fourth axis.
        """
        image, path = Path(self.root) / name, Path(folder) / f"{stem(name)}.nii.gz"
        volume = load(image, self.channels)
        affine = volume.affine(image, self.orientation)[:, [*_REVERSED, 3]]
        mask = restore(mask, affine, self.orientation)
        save_mask(mask.transpose(*_REVERSED, *range(3, mask.ndim)), volume, path)
        return path
