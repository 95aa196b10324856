"""Masks beside images: which belongs to which, and what their values are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from medssl_jax.data import tree
from medssl_jax.data.rows import read_rows
from medssl_jax.data.table import refuse_any
from medssl_jax.errors import ConfigError, DataError

_MOST_CLASSES = 255  # a mask is uint8
_MOST_VOXELS = 1000  # of a class
_KEEP = "with data.unmasked=keep and data.unlabelled=drop they are not learnt from"
_FIRST_CHANNEL = "_0000"  # nnU-Net's images have it behind the name of their mask


class Pairs(NamedTuple):
    """Images, and their masks.

    names: of the images.
    masks: path of each one's mask, by name, as far as it has one; None where there are
      no masks.
    labels: the table that holds labels and patients, or "".
    """

    names: Sequence[str]
    masks: Mapping[str, Path] | None
    labels: str


def pair(
    root: str,
    names: Sequence[str],
    suffixes: tuple[str, ...],
    *,
    masks: str,
    labels: str,
    only: str,
    unmasked: str,
) -> Pairs:
    """Find the mask of every image.

    Args:
      names: of files below `root`: images; masks may be among them, and are left out.
      suffixes: of masks.
      masks: a folder, whose masks are called as their images, in subfolders too, except
        for the suffix and nnU-Net's `_0000` of images; or a CSV with the columns path
        and mask, both relative to root, and label and patient where known; "": none.
      labels: the table of labels, where it is not the CSV of masks.
      only: as `rows.read_rows`.
      unmasked: what becomes of images without a mask, or whose cell is empty: "raise",
        or "keep".

    Raises:
      ConfigError: if the masks' folder is the images', there are two tables, or
        `unmasked` is not known.
      DataError: naming the first few images without a mask or masks without an image;
        if a mask's file is missing; as `rows.read_rows`.
    """
    if unmasked not in ("raise", "keep"):
        raise ConfigError(f"data.unmasked {unmasked!r} is unknown: raise or keep")
    complete = unmasked == "raise"
    if not masks:
        return Pairs(names, None, labels)
    if not masks.lower().endswith(".csv"):
        return Pairs(*_by_name(root, names, suffixes, masks, complete), labels)
    if labels:
        raise ConfigError(
            f"data.masks {masks!r} and data.labels {labels!r} are both tables; one of "
            "path,mask,label,patient says it all: empty data.labels"
        )
    return Pairs(*_by_row(root, names, masks, only, complete), masks)


def columns(
    names: Sequence[str], masks: Mapping[str, Path] | None
) -> dict[str, bool | Bool[np.ndarray, "n"] | None]:
    """Return a source's `has_masks` and `masked`."""
    if masks is None:
        return {"has_masks": False, "masked": None}
    known = np.array([name in masks for name in names], bool)
    whole = bool(known.all())
    return {"has_masks": whole, "masked": None if whole else known}


def classes(values: np.ndarray, path: str | Path) -> UInt8[np.ndarray, "..."]:
    """Return a mask's values as classes.

    Raises:
      DataError: naming the file, if a value is NaN, infinite, a fraction, negative or
        more than 255.
    """
    if values.dtype.kind == "f":
        if count := values.size - np.count_nonzero(np.isfinite(values)):
            text = f"has {count} NaN or infinite voxels"
            raise DataError(path, f"{text}; a mask has whole numbers: correct it")
        fractions = values[values != np.round(values)]
        if fractions.size:
            text = (
                f"holds fractions, such as {fractions[0]:g}; a mask has whole numbers"
            )
            raise DataError(path, f"{text}: was it resampled linearly?")
    low, high = values.min(), values.max()
    if low < 0 or high > _MOST_CLASSES:
        text = f"holds values from {low:g} to {high:g}"
        raise DataError(path, f"{text}; classes of a mask are 0 to {_MOST_CLASSES}")
    return values.astype(np.uint8)


def check_shape(mask: tuple[int, ...], image: tuple[int, ...], path: Path) -> None:
    """Refuse a mask of another shape than its image.

    Raises:
      DataError: naming the mask's file.
    """
    if mask != image:
        raise DataError(path, f"is a mask of {mask}, and its image has {image}")


def foreground(mask: np.ndarray, ndim: int) -> Int32[np.ndarray, "voxels _"]:
    """Return voxels of each class but 0, rows (class, *index), at most 1,000 of each.

    What `Draw` aims at, without reading the mask; of overlapping regions (*s, k),
    region i is class i + 1. As nnU-Net keeps them, and some are as good as all.
    """
    rows, rng = [], np.random.default_rng(0)
    regions = mask.ndim > ndim
    known = range(1, mask.shape[-1] + 1) if regions else np.unique(mask[mask > 0])
    for k in known:
        voxels = np.argwhere(mask[..., k - 1] if regions else mask == k)
        if len(voxels) > _MOST_VOXELS:
            voxels = voxels[np.sort(rng.choice(len(voxels), _MOST_VOXELS, False))]
        rows.append(np.insert(voxels, 0, k, axis=1))
    return np.concatenate([np.empty((0, ndim + 1), int), *rows]).astype(np.int32)


def write_array(
    name: str, mask: np.ndarray, folder: Path, names: Sequence[str] = ()
) -> Path:
    """Write folder/name.npy, for sources without a format of masks; return its path."""
    del names  # an array has none
    path = Path(folder) / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, mask)
    return path


def stem(name: str) -> str:
    """Return a file's relative name without .nii, .nii.gz or its one suffix."""
    stem, dot, suffix = name.rpartition(".")
    if suffix.lower() == "gz" and stem.lower().endswith(".nii"):
        stem = stem[: -len(".nii")]
    return stem if dot else name


def _by_name(root, names, suffixes, masks, complete):
    found = tree.files(masks, suffixes, holds="mask", field="data.masks")
    images_folder, folder = Path(root).resolve(), Path(masks).resolve()
    if folder == images_folder:
        raise ConfigError(f"data.masks {masks!r} is data.root; name the masks' folder")
    if folder.is_relative_to(images_folder):
        inside = f"{folder.relative_to(images_folder).as_posix()}/"
        names = [name for name in names if not name.startswith(inside)]
    paths = {stem(name): Path(masks) / name for name in found}
    _refuse_twice(masks, "masks", [stem(name) for name in found])
    keys = [_key(name, paths) for name in names]
    missing = [n for n, key in zip(names, keys, strict=True) if key not in paths]
    if complete:
        refuse_any(masks, f"image(s) in {root} without a mask", missing, _KEEP)
    refuse_any(
        masks, f"mask(s) without an image in {root}", sorted(paths.keys() - set(keys))
    )
    _refuse_twice(root, "images", keys)
    named = zip(names, keys, strict=True)
    return names, {n: paths[key] for n, key in named if key in paths}


def _key(name, paths):
    keys = name, stem(name), stem(name).removesuffix(_FIRST_CHANNEL)
    return next((key for key in keys if key in paths), name)


def _by_row(root, names, table, only, complete):
    rows = read_rows(table, only=only).rows
    if any(row.mask is None for row in rows.values()):
        raise DataError(table, "has no column 'mask'; data.masks takes path,mask")
    files = {row.mask for row in rows.values()}
    rows = {name: row for name, row in rows.items() if row.chosen}
    if complete:
        missing = [name for name, row in rows.items() if not row.mask]
        refuse_any(table, "image(s) without a mask", missing, _KEEP)
    paths = {name: Path(root) / row.mask for name, row in rows.items() if row.mask}
    if not paths:
        raise DataError(table, "no chosen row has a mask: fill in the column 'mask'")
    missing = [rows[name].mask for name, path in paths.items() if not path.is_file()]
    refuse_any(table, f"mask(s) that are not in {root}", missing)
    return [name for name in names if name not in files], paths


def _refuse_twice(folder, what, keys):
    twice = [key for key, count in Counter(keys).items() if count > 1]
    refuse_any(folder, f"name(s) that several {what} have", sorted(twice))
