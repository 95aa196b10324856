"""The grid of scans and views, volumes by some of their slices."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb

from medssl_jax.evals.case import structure
from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture

_SLICES = 3
_SHOWN = 4  # examples


def scan_grid(arrays: Mapping[str, np.ndarray]) -> Gallery:
    """Show scans beside the views that were made of them.

    `source` and every other array, a view by name, are (n, *s, c) with the same n. A
    `mask`, (n, *s) classes or (n, *s, k) regions, is laid over the view `image`.
    """
    shown = {name: array[:_SHOWN].astype(np.float32) for name, array in arrays.items()}
    source, masks = shown.pop("source"), shown.pop("mask", None)
    volumes = source.ndim == 5
    # one range for all views, so that a change of brightness between two shows; each
    # scan has its own, as scans come in any unit
    low, high = np.percentile(
        np.concatenate([*map(np.ravel, shown.values())]), [0.5, 99.5]
    )
    panels = {
        "scan": [
            _montage(_scaled(image, image.min(), image.max())) for image in source
        ],
    }
    for name, view in shown.items():
        panels[f"{name} view"] = [_montage(_scaled(image, low, high)) for image in view]
    if masks is not None and "image" in shown:
        seen = zip(_scaled(shown["image"], low, high), masks, strict=True)
        panels["mask"] = [_montage(_coloured(*pair)) for pair in seen]
    shapes = {" x ".join(map(str, view.shape[1:-1])) for view in shown.values()}
    kind = f"{_SLICES} slices of each volume" if volumes else "images"
    picture = Picture(
        figures.uri(figures.views(panels, width=9.0 if volumes else 5.0), kind="png"),
        f"{len(source)} scans, {kind}, each with its views ({', '.join(shown)}).",
        f"{kind[0].upper()}{kind[1:]}; the views are {' and '.join(sorted(shapes))} as "
        "the network gets them, all on one scale of brightness.",
    )
    return Gallery([picture], least_rem=44 if volumes else 25)


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


def _montage(image: Float[np.ndarray, "*s c"]) -> Float[np.ndarray, "_ _ *c"]:
    """Lay some slices of a volume side by side; an image stays as it is."""
    planes = [image]
    if image.ndim == 4:
        inner = np.linspace(0, len(image) - 1, _SLICES + 2)[1:-1]
        planes = [image[round(i)] for i in inner]
    # three channels are colours; of any other number, one is shown in gray
    shown = slice(3) if image.shape[-1] == 3 else 0
    planes = [plane[..., shown] for plane in planes]
    gap = np.ones_like(planes[0][:, : max(1, planes[0].shape[1] // 24)])
    joined = [part for plane in planes for part in (plane, gap)]
    return np.concatenate(joined[:-1], axis=1)
