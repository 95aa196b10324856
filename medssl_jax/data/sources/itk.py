"""Volumes in a tree of MetaImage, NRRD and Analyze files, with their masks."""

from pathlib import Path

from medssl_jax.data import itk_files, pair_files
from medssl_jax.data.extras import require
from medssl_jax.data.source import Examples
from medssl_jax.data.volume import Volume
from medssl_jax.data.volume_files import Format, volumes
from medssl_jax.ranges import Count

_PAIR = ".hdr"


def itk(
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
    """Read every .mha, .mhd, .nrrd, .nhdr and .hdr below `root` as a volume.

    The record is that of `nifti` on the same volume. Masks are of these formats too,
    and are written back in that of their image.

    Args:
      labels, unlisted, only, classes, masks, unmasked, orientation: as `nifti`'s. A file
        that does not say how it is oriented, as no Analyze does, is read as "acquired"
        only.
      channels: of every voxel, or in the fourth axis of every file; 1: there is none.

    Raises:
      ConfigError: as `nifti`; if SimpleITK is not installed.
      DataError: as `nifti`; on reading, if a header's data file is missing.
    """
    require("SimpleITK", "itk", "the source 'itk' reads MetaImage and NRRD")
    return volumes(
        _FORMAT,
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


def _load(path: Path, channels: int) -> Volume:
    read = pair_files.load_pair if _is_pair(path) else itk_files.load
    return read(path, channels)


def _save_mask(mask, image: Volume, path: Path) -> None:
    save = pair_files.save_pair_mask if _is_pair(path) else itk_files.save_mask
    save(mask, image, path)


def _mask_name(name: str) -> str:
    return name


def _parts(path: Path) -> list[Path]:
    return (pair_files.pair_parts if _is_pair(path) else itk_files.parts)(path)


def _is_pair(path: Path) -> bool:
    return path.suffix.lower() == _PAIR


_FORMAT = Format(
    "itk",
    (*itk_files.META, *itk_files.NRRD, _PAIR),
    holds="*.mha, *.mhd, *.nrrd, *.nhdr or *.hdr",
    load=_load,
    save_mask=_save_mask,
    mask_name=_mask_name,
    parts=_parts,
)
