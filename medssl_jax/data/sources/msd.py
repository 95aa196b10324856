"""Volumes and masks in the layout of the Medical Segmentation Decathlon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax.data.decathlon import FILE, read_decathlon
from medssl_jax.data.nifti_files import NIFTI
from medssl_jax.data.orient import check_orientation
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples, refuse_any
from medssl_jax.data.volume_files import ReadVolume
from medssl_jax.errors import ConfigError, DataError

_SPLITS = ("train", "test")


def msd(
    *,
    root: str,
    split: str = "train",
    labels: str = "",
    unlisted: str = "raise",
    only: str = "",
    regions: Sequence[Sequence[Any]] = (),
    orientation: str = "SPL",
) -> Examples:
    """Read the volumes that root/dataset.json lists, with masks of the classes it names.

    Volumes of several modalities have as many channels, in a fourth axis of the file.

    Args:
      split: "train", with masks, or "test", without.
      labels: CSV `path,patient`, whose other columns are left alone; empty: each
        volume counts as a patient.
      unlisted: what becomes of volumes without a row, "raise" or "drop".
      only: COLUMN=VALUE, the rows of the table that are used (`rows.read_rows`).
      regions: of each (name, classes), such as ("core", (2, 3)): masks are then
        (*s, regions), 1 where the voxel's class is among them. Empty: masks of classes.
      orientation: as `nifti`'s.

    Raises:
      ConfigError: if split, orientation or a region is none.
      DataError: as `read_decathlon`; if a file it names is not there, or the table
        cannot be used; on reading, as `nifti`, or if a mask has a value that
        dataset.json does not name.
    """
    check_orientation(orientation)
    if split not in _SPLITS:
        raise ConfigError(f"data.split {split!r} is not known: {' or '.join(_SPLITS)}")
    found, about = read_decathlon(root), str(Path(root) / FILE)
    training = split == "train"
    names = list(found.masks) if training else found.test
    if not names:
        raise DataError(about, f"lists no case for data.split {split!r}")
    files = [*names, *(found.masks.values() if training else ())]
    missing = [file for file in files if not (Path(root) / file).is_file()]
    refuse_any(about, "file(s) that it names and that are not there", missing)
    masks = {image: Path(root) / mask for image, mask in found.masks.items()}
    read = _Read(
        ReadVolume(
            NIFTI, root, orientation, found.channels, masks if training else None
        ),
        tuple(found.classes),
        _values(regions, found.classes),
    )
    source = examples(
        names,
        read,
        read.stamp,
        labels=labels,
        unlisted=unlisted,
        only=only,
        findings=False,
    )
    class_names = [name for name, _ in regions] or _in_order(about, found.classes)
    return replace(
        source,
        write_mask=read.volume.write_mask,
        class_names=tuple(class_names),
        has_masks=training,
    )


@dataclass(frozen=True)
class _Read:
    volume: ReadVolume
    classes: tuple[int, ...]
    regions: tuple[tuple[int, ...], ...]

    def __call__(self, name: str) -> Record:
        record = self.volume(name)
        if "mask" not in record:
            return record
        mask = record["mask"]
        if unknown := sorted(set(np.unique(mask).tolist()) - set(self.classes)):
            text = f"holds {unknown}, and {FILE} names {list(self.classes)} only"
            raise DataError(self.volume.masks[name], text)
        if self.regions:
            inside = [np.isin(mask, classes) for classes in self.regions]
            record["mask"] = np.stack(inside, axis=-1).astype(np.uint8)
        return record

    def stamp(self, name: str) -> str:
        return f"msd {self.regions} {self.volume.stamp(name)}"


def _values(regions: Sequence[Any], known: Mapping[int, str]) -> tuple:
    """Return the classes of each region."""
    for region in regions:
        pair = len(region) == 2 and isinstance(region[0], str) and region[0]
        if not pair or not region[1] or not set(region[1]) <= known.keys() - {0}:
            raise ConfigError(
                f"data.regions has {region!r}; a region is (name, classes), of the "
                f"classes {sorted(known.keys() - {0})}"
            )
    names = [name for name, _ in regions]
    if len(set(names)) < len(names):
        raise ConfigError(f"data.regions has a name twice: {', '.join(names)}")
    return tuple(tuple(classes) for _, classes in regions)


def _in_order(about, classes):
    if list(classes) != list(range(len(classes))):
        raise DataError(
            about,
            f"has the classes {list(classes)} under 'labels', and 0, 1, 2, ... is "
            "needed; renumber them, or put them together by data.regions",
        )
    return classes.values()
