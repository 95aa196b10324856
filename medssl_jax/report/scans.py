"""The grid of scans and views, volumes by some of their slices."""

import functools
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb

from medssl_jax.evals.case import structure
from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture

_SLICES = 3
_MOST = 4  # views beside a scan by so many slices; of more, such as patches, one each
_SHOWN = 4  # examples


def scan_grid(arrays: Mapping[str, np.ndarray]) -> Gallery:
    """Show scans beside the views that were made of them.

    `source` and every other array, a view by name, are (n, *s, c) with the same n. A
    `mask`, (n, *s) classes or (n, *s, k) regions, is laid over the view `image`.
    """
    shown = {name: array[:_SHOWN].astype(np.float32) for name, array in arrays.items()}
    source, masks = shown.pop("source"), shown.pop("mask", None)
    volumes = source.ndim == 5
    many = len(shown) > _MOST
    montage = functools.partial(_montage, slices=1 if many else _SLICES)
    panels = {
        "scan": [montage(_scaled(image, image.min(), image.max())) for image in source],
    }
    ranges = _ranges(shown.values())
    for name, view in shown.items():
        ends = ranges[view.shape]
        titled = f"{name.replace('_', ' ')} view"
        panels[titled] = [montage(_scaled(image, *ends)) for image in view]
    if masks is not None and "image" in shown:
        image = shown["image"]
        seen = zip(_scaled(image, *ranges[image.shape]), masks, strict=True)
        panels["mask"] = [montage(_coloured(*pair)) for pair in seen]
    shapes = {" x ".join(map(str, view.shape[1:-1])) for view in shown.values()}
    of_each = "the middle slice" if many else f"{_SLICES} slices"
    kind = f"{of_each} of each volume" if volumes else "images"
    wide = volumes or many
    alike = "all" if len(ranges) == 1 else "those of one size"
    picture = Picture(
        figures.uri(figures.views(panels, width=9.0 if wide else 5.0), kind="png"),
        f"{len(source)} scans, {kind}, each with its views ({', '.join(shown)}).",
        f"{kind[0].upper()}{kind[1:]}; the views are {' and '.join(sorted(shapes))} as "
        f"the network gets them, {alike} on one scale of brightness.",
    )
    return Gallery([picture], least_rem=44 if wide else 25)


def _ranges(views: Iterable[np.ndarray]) -> dict[tuple[int, ...], np.ndarray]:
    """Return one range for all views of a shape, by it.

    So that a change of brightness between two shows; patches are in another unit. Each
    scan has its own, as scans come in any.
    """
    of_shape = {}
    for view in views:
        of_shape.setdefault(view.shape, []).append(np.ravel(view))
    return {
        shape: np.percentile(np.concatenate(each), [0.5, 99.5])
        for shape, each in of_shape.items()
    }


def _scaled(image: Float[np.ndarray, "..."], low, high) -> Float[np.ndarray, "..."]:
    return np.clip((image - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)


def _coloured(
    image: Float[np.ndarray, "*s c"], mask: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "*s 3"]:
    """Return an image in [0, 1], grey, with the structures of its mask in colour."""
    coloured = np.repeat(image[..., :1], 3, axis=-1)
    regions = mask.ndim == image.ndim
    count = mask.shape[-1] if regions else int(mask.max())
    for k in range(count):
        colour = np.array(to_rgb(figures.ON_SCANS[k % len(figures.ON_SCANS)]))
        of_k = structure(mask, k, image.ndim - 1)
        coloured[of_k] = (coloured[of_k] + colour) / 2
    return coloured


def _montage(
    image: Float[np.ndarray, "*s c"], slices: int
) -> Float[np.ndarray, "_ _ *c"]:
    """Lay some slices of a volume side by side; an image stays as it is."""
    planes = [image]
    if image.ndim == 4:
        inner = np.linspace(0, len(image) - 1, slices + 2)[1:-1]
        planes = [image[round(i)] for i in inner]
    # three channels are colours; of any other number, one is shown in gray
    shown = slice(3) if image.shape[-1] == 3 else 0
    planes = [plane[..., shown] for plane in planes]
    gap = np.ones_like(planes[0][:, : max(1, planes[0].shape[1] // 24)])
    joined = [part for plane in planes for part in (plane, gap)]
    return np.concatenate(joined[:-1], axis=1)
