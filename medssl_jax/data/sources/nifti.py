"""Volumes in a tree of NIfTI files, brought to one orientation, with their masks."""

from medssl_jax.data.nifti_files import NIFTI
from medssl_jax.data.source import Examples
from medssl_jax.data.volume_files import volumes
from medssl_jax.ranges import Count


def nifti(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    only: str = "",
    classes: tuple[str, ...] = (),
    masks: str = "",
    unmasked: str = "raise",
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
      unmasked: what becomes of images without a mask, "raise" or "keep".
      channels: in the fourth axis of every file; 1: there is none.
      orientation: where slices, rows and columns run to: "SPL" are axial slices
        upwards, rows to the back, columns to the left; "acquired" leaves the order on
        disk, its slowest axis first.

    Raises:
      ConfigError: if the orientation is not known, or channels is less than 1; as
        `masks.pair`.
      DataError: if root or table cannot be used, or images and masks are not pairs; on
        reading, if a file is damaged, no single volume, holds NaN, infinities or one
        value only, has other channels, or does not say how it is oriented; as
        `masks.classes`; if a mask is not on its image's grid (`volume.check_grid`).
    """
    return volumes(
        NIFTI,
        root=root,
        labels=labels,
        unlisted=unlisted,
        only=only,
        classes=classes,
        masks=masks,
        unmasked=unmasked,
        channels=channels,
        orientation=orientation,
    )
