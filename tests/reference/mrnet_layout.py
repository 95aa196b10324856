"""Phantom knees written as MRNet's archive lies on disk, to prove its reader."""

import csv
from pathlib import Path

import numpy as np
from scipy import ndimage

from medssl_jax.data.sources.phantom import Phantom, phantom
from medssl_jax.phantoms.knee.signs import Signs

# sagittal slices, rows and columns come to other planes' by these axes
PLANES = {"sagittal": (0, 1, 2), "coronal": (2, 1, 0), "axial": (1, 2, 0)}


def write_mrnet_layout(
    root: Path,
    *,
    train: int,
    valid: int,
    seed: int,
    shape: tuple[int, int, int] = (17, 256, 256),
) -> dict[str, Phantom]:
    """Write `train` and `valid` exams below `root`; return the phantoms by split.

    `{split}/{plane}/NNNN.npy` is uint8 (s, rows, columns), of shape[0] to twice as many
    slices; `{split}-{abnormal,acl,meniscus}.csv` has lines `NNNN,label`, no header.
    The valid split goes on counting where train ends, as MRNet's (0000 to 1129, then
    1130 to 1249). No phantom has a torn meniscus.
    """
    splits = {}
    for split, count, first in (("train", train, 0), ("valid", valid, train)):
        source = phantom(count=count, seed=seed + len(splits), size_voxels=shape)
        exams = [f"{first + i:04d}" for i in range(count)]
        for i, exam in enumerate(exams):
            _write_planes(Path(root, split), exam, source[i]["image"][..., 0], shape)
        _write_labels(Path(root), split, exams, source)
        splits[split] = source
    return splits


def _write_planes(folder: Path, exam: str, image: np.ndarray, shape) -> None:
    low, high = np.percentile(image, (0, 99.9))
    grey = np.clip((image - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    for plane, axes in PLANES.items():
        stack = grey.transpose(axes)
        if plane != "sagittal":
            size = (len(image), *shape[1:])
            zoom = [n / m for n, m in zip(size, stack.shape, strict=True)]
            stack = ndimage.zoom(stack, zoom, order=1)
        (folder / plane).mkdir(parents=True, exist_ok=True)
        np.save(folder / plane / f"{exam}.npy", stack)


def _write_labels(root: Path, split: str, exams: list[str], source: Phantom) -> None:
    shown = [source.draw(i)[1] for i in range(len(source))]
    labels = {
        "acl": source.labels.tolist(),
        "abnormal": [
            int(torn or _lesion(signs))
            for torn, signs in zip(source.labels, shown, strict=True)
        ],
        "meniscus": [0] * len(exams),
    }
    for task, column in labels.items():
        with open(root / f"{split}-{task}.csv", "w", newline="") as file:
            csv.writer(file).writerows(zip(exams, column, strict=True))


def _lesion(signs: Signs) -> bool:
    return bool(signs.effusion_mm > 3 or signs.bruise_tibia or signs.spots)
