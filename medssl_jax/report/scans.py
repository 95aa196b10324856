"""The grid of scans and views, volumes slice by slice."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb

from medssl_jax.evals.case import count_in, structure
from medssl_jax.report import figures, overlays, stacks
from medssl_jax.report.blocks import Gallery, Picture, Stack

_MOST = 4  # views beside a scan; more, such as patches, are wide
_SHOWN = 4  # examples


def scan_grid(arrays: Mapping[str, np.ndarray]) -> Gallery | Stack:
    """Show scans beside the views that were made of them, volumes slice by slice.

    `source` and every other array, a view by name, are (n, *s, c) with the same n. A
    `mask`, (n, *s) classes or (n, *s, k) regions, is laid over the view `image`.
    """
    shown = {name: array[:_SHOWN].astype(np.float32) for name, array in arrays.items()}
    source, masks = shown.pop("source"), shown.pop("mask", None)
    masks = masks if "image" in shown else None
    make = _stack if source.ndim == 5 else _gallery
    shapes = {" x ".join(map(str, view.shape[1:-1])) for view in shown.values()}
    ranges = _ranges(shown.values())
    alike = "all" if len(ranges) == 1 else "those of one size"
    fed = (
        f"the views are {' and '.join(sorted(shapes))} as the network gets them, {alike} "
        "on one scale of brightness."
    )
    return make(source, shown, masks, ranges, fed)


def _stack(source, shown, masks, ranges, fed) -> Stack:
    groups = []
    for i, scan in enumerate(source):
        scan_layer = stacks.kept(scan, scan.min(), scan.max())
        group = [stacks.Layered("scan", f"Scan {i + 1}.", [scan_layer])]
        for name, view in shown.items():
            layer = stacks.kept(view[i], *ranges[view.shape])
            told = _titled(name)
            group.append(stacks.Layered(told, f"{told} of scan {i + 1}.", [layer]))
            if masks is not None and name == "image":
                over = _mask(stacks.kept_mask(masks[i]))
                alt = f"Mask over the view of scan {i + 1}."
                group.append(stacks.Layered("mask", alt, [layer, over]))
        groups.append(group)
    depth = max(len(volume[0]) for volume in (source, *shown.values()))
    return stacks.stack(
        groups,
        name="Scans and views",
        places=stacks.named(depth),
        caption=f"Scans and views move together, by their share of the depth; {fed}",
    )


def _mask(mask):
    count = count_in(mask, 3)
    laid = [
        overlays.Laid(figures.on_scans(k), structure(mask, k, 3)) for k in range(count)
    ]
    return overlays.overlay(laid or [overlays.Laid("black", mask > 0)])


def _gallery(source, shown, masks, ranges, fed) -> Gallery:
    panels = {
        "scan": [_plane(_scaled(scan, scan.min(), scan.max())) for scan in source]
    }
    for name, view in shown.items():
        ends = ranges[view.shape]
        panels[_titled(name)] = [_plane(_scaled(image, *ends)) for image in view]
    if masks is not None:
        image = shown["image"]
        seen = zip(_scaled(image, *ranges[image.shape]), masks, strict=True)
        panels["mask"] = [_coloured(*pair) for pair in seen]
    wide = len(shown) > _MOST
    picture = Picture(
        figures.uri(figures.views(panels, width=9.0 if wide else 5.0), kind="png"),
        f"{len(source)} scans, images, each with its views ({', '.join(shown)}).",
        f"Images; {fed}",
    )
    return Gallery([picture], least_rem=44 if wide else 25)


def _titled(name: str) -> str:
    return f"{name.replace('_', ' ')} view"


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
    for k in range(count_in(mask, image.ndim - 1)):
        of_k = structure(mask, k, image.ndim - 1)
        colour = overlays.FILLED * np.array(to_rgb(figures.on_scans(k)))
        coloured[of_k] = (1 - overlays.FILLED) * coloured[of_k] + colour
    return coloured


def _plane(image: Float[np.ndarray, "_ _ c"]) -> Float[np.ndarray, "_ _ *c"]:
    # three channels are colours; of any other number, one is shown in gray
    return image[..., slice(3) if image.shape[-1] == 3 else 0]
