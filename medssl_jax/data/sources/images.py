"""2D images in a tree of PNG, JPEG and DICOM files, one example each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from absl import logging
from PIL import Image, ImageOps

from medssl_jax.data import tree
from medssl_jax.data.box_files import BoxTable, read_boxes
from medssl_jax.data.decoding import decoding
from medssl_jax.data.dicom_slice import read_flat
from medssl_jax.data.host import check
from medssl_jax.data.masks import columns, pair
from medssl_jax.data.png_masks import load_png_mask, save_png_mask
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples, refuse_any, warn_of_patients
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.ranges import Count

_PICTURES = (".png", ".jpg", ".jpeg")
_DICOM = (".dcm", ".dicom")
_MASKS = (".png",)
_CHANNELS = {"grey": 1, "rgb": 3}
_TURNED = "turned_grey"
# of red, green and blue, as Pillow and ITU-R BT.601 have it
_LUMA = np.array([0.299, 0.587, 0.114])
_MAGIC = (128, b"DICM")
# Pillow's limit is a warning; what is larger is no medical image, or a bomb
_MOST_PIXELS = Image.MAX_IMAGE_PIXELS or float("inf")
_DEEP = ("I;16", "I")  # Pillow's modes of more than 8 bits
_BLACK = (0, 0, 0, 255)


def images(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    only: str = "",
    classes: tuple[str, ...] = (),
    masks: str = "",
    unmasked: str = "raise",
    boxes: str = "",
    kinds: tuple[str, ...] = (),
    channels: str | Count = "grey",
) -> Examples:
    """Read every PNG, JPEG and single-frame DICOM file below `root` as an image.

    Pixels are as stored: uint8 from most files, uint16 from grey PNG of 16 bits,
    float32 from DICOM in grey (rescaled, MONOCHROME1 inverted, so that air is dark).
    Pictures are turned as their EXIF says, palettes become colours, transparent
    pixels black. Colours of 16 bits come as 8. DICOM is known by its suffix or, in
    files without a known one, by its first bytes.

    Args:
      labels: CSV `path,label,patient`, or empty (`table.examples`).
      unlisted: what becomes of files without a row, "raise" or "drop".
      only: COLUMN=VALUE, the rows of the table that are used (`rows.read_rows`).
      classes: names of the labels' classes 0, 1, 2, ..., where the table has names;
        (): sorted.
      masks: folder of PNG masks with the images' names, or CSV `path,mask,patient`
        (`masks.pair`), read as `load_png_mask`; empty: none.
      unmasked: what becomes of images without a mask, "raise" or "keep".
      boxes: CSV `path,x0,y0,x1,y1,label,patient` or COCO's JSON, in pixels
        (`box_files.read_boxes`); empty: none. An image without a row has no box; of one
        that the JSON has not, nobody knows: `unlisted` says what becomes of it.
      kinds: names of the boxes' labels, in the order of their numbers; (): numbers, or
        COCO's categories by their ids.
      channels: "grey", or 1, gives (rows, columns, 1); a file in colour is an error,
        unless its three channels are the same. "turned_grey" makes that of colours
        which the eye sees as brightness. "rgb", or 3, gives (rows, columns, 3); of grey
        files the one channel is repeated.

    Raises:
      ConfigError: if channels or unlisted is not known; as `masks.pair`.
      DataError: if root or table cannot be used, or images and masks are not pairs; as
        `box_files.read_boxes`, and if an image of it is not there; on reading, naming the file, if it is damaged, animated or multi-frame, too large
        to be an image, in colour where grey is wanted, or holds one value only; as
        `load_png_mask`.
    """
    by_count = {count: name for name, count in _CHANNELS.items()}
    channels = by_count.get(channels, channels)
    if channels not in (known := (*_CHANNELS, _TURNED)):
        text = f"data.channels {channels!r} is not known: {', '.join(known)}"
        raise ConfigError(text)
    names = _find(root)
    read_masks = {"masks": masks, "labels": labels, "only": only, "unmasked": unmasked}
    pairs = pair(root, names, _MASKS, **read_masks)
    table = read_boxes(boxes, kinds) if boxes else None
    read = _Read(root, channels, pairs.masks, table)
    source = examples(
        pairs.names if table is None else _told(table, pairs.names, unlisted),
        read,
        read.stamp,
        labels=pairs.labels,
        unlisted=unlisted,
        only=only,
        classes=classes,
    )
    known = columns(source.names, pairs.masks)
    source = replace(source, write_mask=_write_mask, **known)
    return source if table is None else _with_boxes(source, table, names)


def _told(table, names, unlisted):
    """Return the images of whose boxes the table tells."""
    if not table.complete:
        return names
    if unlisted != "drop":
        missing = [name for name in names if name not in table.boxes]
        instead = "data.unlisted=drop leaves them out"
        refuse_any(table.path, "file(s) that are not in it", missing, instead)
    return [name for name in names if name in table.boxes]


def _with_boxes(source, table, names):
    refuse_any(
        table.path, "image(s) without a file", sorted(table.boxes.keys() - {*names})
    )
    patients = source.patients
    if patients is None and table.patients is not None:
        missing = [name for name in source.names if name not in table.patients]
        instead = "list those without boxes too, or leave the column patient out"
        refuse_any(table.path, "file(s) without a patient", missing, instead)
        patients = [table.patients[name] for name in source.names]
    if patients is None:
        warn_of_patients(table.path)
    return replace(
        source,
        has_boxes=True,
        kind_names=table.kinds,
        box_kinds=[
            [box.kind for box in table.boxes.get(name, ())] for name in source.names
        ],
        patients=patients,
    )


@dataclass(frozen=True)
class _Read:
    root: str
    channels: str
    masks: Mapping[str, Path] | None
    boxes: BoxTable | None = None

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        if _suffix(name) in _PICTURES:
            record = {"image": _picture(path)}
        else:
            pixels, spacing_mm = read_flat(path, most_pixels=_MOST_PIXELS)
            record = {"image": pixels}
            if spacing_mm is not None:
                record["spacing_mm"] = spacing_mm
        record["image"] = _with_channels(record["image"], self.channels, path)
        if name in (self.masks or ()):
            shape = record["image"].shape[:-1]
            record["mask"] = load_png_mask(self.masks[name], shape)
        if self.boxes is not None:
            record["boxes"] = self.boxes.of(name, record["image"].shape[:-1])
        return check(record, str(path))

    def stamp(self, name: str) -> str:
        paths, read = [Path(self.root) / name], self.channels
        if name in (self.masks or ()):
            paths.append(self.masks[name])
        if self.boxes is not None:
            paths.append(Path(self.boxes.path))
            read += f" {self.boxes.kinds}"
        return f"images {read} {tree.stamp(*paths)}"


def _write_mask(
    name: str, mask: np.ndarray, folder: Path, names: Sequence[str] = ()
) -> Path:
    del names  # PNG has no place for them
    known = _suffix(name) in _PICTURES + _DICOM  # DICOM's others are numbers of a name
    path = Path(folder) / f"{name[: -len(_suffix(name))] if known else name}.png"
    save_png_mask(mask, path)
    return path


def _find(root):
    kind = "PNG, JPEG or DICOM file"
    files = tree.files(root, ("",), holds=kind)
    found = [name for name in files if _is_image(Path(root), name)]
    if not found:
        raise DataError(root, f"none of its {len(files)} files is a {kind}")
    if others := len(files) - len(found):
        logging.info("%s: %d files are no images; ignored", root, others)
    return found


def _is_image(root, name):
    suffix = _suffix(name)
    if suffix in _PICTURES + _DICOM:
        return True
    if name.endswith("DICOMDIR"):  # a table of contents
        return False
    place, magic = _MAGIC
    try:
        with open(root / name, "rb") as file:
            return file.read(place + len(magic))[place:] == magic
    except OSError:
        return False


def _suffix(name):
    return PurePosixPath(name).suffix.lower()


def _picture(path):
    with decoding(path, "PNG or JPEG"):
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                return _decoded(image, path)
        except Image.DecompressionBombError:
            raise _too_large(path) from None


def _decoded(image, path):
    if image.width * image.height > _MOST_PIXELS:
        raise _too_large(path)
    if getattr(image, "is_animated", False) and image.format == "PNG":
        raise DataError(path, "is animated; keep one picture of it")
    raw = str(image.tile[0].args) if image.tile else ""
    if "LA;16B" in raw:  # Pillow would halve its depth
        text = "is grey of 16 bits with transparency"
        raise DataError(path, f"{text}, whose depth is not kept; remove its alpha")
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        return np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _BLACK), image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _with_channels(pixels, channels, path):
    grey = pixels.ndim == 2
    if channels == "rgb":
        return np.repeat(pixels[..., np.newaxis], 3, axis=-1) if grey else pixels
    if grey:
        return pixels[..., np.newaxis]
    first = pixels[..., :1]
    if (pixels == first).all():
        return first
    if channels == _TURNED:
        turned = pixels.astype(np.float64) @ _LUMA
        return np.round(turned)[..., np.newaxis].astype(pixels.dtype)
    raise DataError(
        path,
        "is in colour, where data.channels is 'grey'; 'rgb' keeps its colours, and "
        f"'{_TURNED}' its brightness",
    )


def _too_large(path):
    text = f"has more than {_MOST_PIXELS:.0f} pixels"
    return DataError(path, f"{text}, or pretends to; reduce it")
