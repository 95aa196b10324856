"""Single NIfTI files: a volume with its geometry, a mask on its grid, and writing."""

import gzip
import io
import math
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Shaped, UInt8

from medssl_jax.data.decoding import check_unpacked, decoding
from medssl_jax.data.masks import check_shape, classes
from medssl_jax.data.orient import ACQUIRED
from medssl_jax.errors import DataError

_LARGEST_HEADER = 540
_BEHIND = 100  # a hundredth after the last voxel may be what some program left
_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
# of the smallest side of a voxel, anywhere in the volume: headers are float32, and some
# programs round them
_TOLERANCE = 0.1
# all that says where voxels lie; texts and names stay behind
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


class Volume(NamedTuple):
    """A file's voxels, its first index first, with its header."""

    voxels: Shaped[np.ndarray, "i j k c"]
    header: nib.Nifti1Header

    def spacing_mm(self, path: Path) -> tuple[float, ...]:
        """Return the voxel's sides.

        Raises:
          DataError: if the header has a unit that is none of length.
        """
        try:
            unit_mm = _MM[self.header.get_xyzt_units()[0]]
        except KeyError:
            text = "has an unknown unit in its header; mend it"
            raise DataError(path, text) from None
        return tuple(float(size) * unit_mm for size in self.header.get_zooms()[:3])

    def affine(self, path: Path, orientation: str) -> np.ndarray:
        """Return (4, 4), voxel index to the unit towards right, anterior, superior.

        Raises:
          DataError: if the header has none, where `orientation` needs one, or one that
            no volume can have.
        """
        if orientation != ACQUIRED and not self.oriented:
            raise DataError(
                path,
                "does not say how it is oriented (qform_code and sform_code are 0); "
                f"mend its header, or set data.orientation to {ACQUIRED!r}",
            )
        affine = self.header.get_best_affine()
        finite = np.all(np.isfinite(affine))
        if not finite or np.isnan(nib.orientations.io_orientation(affine)).any():
            raise DataError(path, "has a senseless affine in its header; mend it")
        return affine

    @property
    def oriented(self) -> bool:
        return bool(self.header["qform_code"] or self.header["sform_code"])


def load(path: Path, channels: int = 1) -> Volume:
    """Read a file of one volume, its channels in a fourth axis if there are several.

    Raises:
      DataError: if the file is damaged, holds something else, or other channels.
    """
    with decoding(path, "NIfTI file"):
        data = _unpacked(path)
        kind = _kind(data)
        image = kind.from_stream(io.BytesIO(data))
        if image.get_data_dtype().kind not in "iuf":
            text = f"holds {image.get_data_dtype()} voxels"
            raise DataError(path, f"{text}, not one real number each")
        _check_channels(path, image.shape, channels)
        stored = kind.header_class(data[: kind.header_class.sizeof_hdr], check=False)
        if not np.all(stored["pixdim"][1:4]):  # nibabel would make it 1
            raise DataError(path, "has a voxel spacing of 0 in its header; mend it")
        with np.errstate(over="ignore"):  # infinities are found later
            voxels = _native(np.asanyarray(image.dataobj))
        return Volume(voxels.reshape(*image.shape[:3], channels), image.header)


def _kind(data: bytes) -> type[nib.Nifti1Image]:
    return nib.Nifti2Image if data[4:7] == b"n+2" else nib.Nifti1Image


def _unpacked(path: Path) -> bytes:
    """Return the file's bytes, as many as its header says that there are.

    Raises:
      DataError: if there are others, or it claims more than a file of its size can hold.
    """
    packed = path.stat().st_size
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if gzipped:
            file = gzip.GzipFile(fileobj=file)
        head = file.read(_LARGEST_HEADER)
        header = _kind(head).header_class(head[: _kind(head).header_class.sizeof_hdr])
        offset = int(header["vox_offset"])
        if offset < header.single_vox_offset:
            raise DataError(path, f"has voxels at byte {offset}, within its header")
        voxels = math.prod(map(int, header.get_data_shape()))
        size = offset + voxels * int(header["bitpix"]) // 8
        check_unpacked(path, size, packed)
        most = size + size // _BEHIND
        # to the end, where gzip's checksum stands, and no further than it should be
        data = head + file.read(max(most - len(head), 0))
        if file.read(1) or len(data) > most:
            shape = header.get_data_shape()
            text = (
                f"has more voxels than its header's {shape} {header.get_data_dtype()}"
            )
            raise DataError(path, text)
    return data


def load_mask(
    path: Path, image: Volume, image_path: Path
) -> UInt8[np.ndarray, "i j k"]:
    """Read the classes of an image's voxels.

    Raises:
      DataError: naming the mask's file: as `load` and `masks.classes`; if shape,
        orientation, spacing or position are not the image's, within a tenth of the
        smallest side of a voxel at every corner.
    """
    mask = load(path)
    check_shape(mask.voxels.shape[:3], image.voxels.shape[:3], path)
    _check_grid(path, mask, image, image_path)
    return classes(mask.voxels[..., 0], path)


def save_mask(
    mask: Shaped[np.ndarray, "i j k *regions"], image: Volume, path: Path
) -> None:
    """Write a mask of 8 bits where its image lies, regions as a fourth axis."""
    second = isinstance(image.header, nib.Nifti2Header)
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    header = kind.header_class()
    for field in _GEOMETRY:
        header[field] = image.header[field]
    header.set_data_dtype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = header.get_best_affine()  # its own, so that nothing is written over it
    nib.save(kind(mask.astype(np.uint8), affine, header), path)


def _check_channels(path, shape, channels):
    count = math.prod(shape[3:])
    if len(shape) < 3 or sum(n != 1 for n in shape[3:]) > 1 or channels == 1 != count:
        text = f"is {len(shape)}D {shape}, not one 3D volume"
        advice = "write one file for each volume"
        if len(shape) > 3:
            advice += f", or set data.channels if it has {count} channels"
        raise DataError(path, f"{text}; {advice}")
    if count != channels:
        text = f"has {count} channel(s), and {channels} are asked for"
        raise DataError(path, f"{text}; every case needs the same")


def _native(volume):
    if volume.dtype.kind == "f":
        return volume.astype(np.float32)
    return volume.astype(volume.dtype.newbyteorder("="), copy=False)


def _check_grid(path, mask, image, image_path):
    """Compare the corners' places; of files that say none, those from their spacing."""
    both = mask.oriented and image.oriented
    places = []
    for volume, file in ((mask, path), (image, image_path)):
        spacing_mm = volume.spacing_mm(file)
        affine = np.diag([*spacing_mm, 1.0])
        if both:
            affine = volume.affine(file, ACQUIRED)
        places.append((affine, spacing_mm))
    (affine, spacing_mm), (wanted, wanted_mm) = places
    corners = [[n - 1, 0] for n in image.voxels.shape[:3]]
    corners = np.stack([*map(np.ravel, np.meshgrid(*corners)), np.ones(8)])
    off = np.linalg.norm(((affine - wanted) @ corners)[:3], axis=0).max()
    side = np.linalg.norm(wanted[:3, :3], axis=0).min()
    if off <= _TOLERANCE * side:
        return
    turned, expected = (nib.aff2axcodes(a) for a in (affine, wanted))
    if turned != expected:
        reason = f"its axes run to {''.join(turned)}, those of its image to "
        reason += "".join(expected)
    elif not np.allclose(spacing_mm, wanted_mm, rtol=1e-3):
        reason = f"its spacing is {_mm(spacing_mm)}, that of its image {_mm(wanted_mm)}"
    else:
        reason = f"it lies up to {off / side:.2g} voxels away from it"
    raise DataError(path, f"is not on the grid of {image_path.name}: {reason}")


def _mm(spacing_mm):
    return " x ".join(f"{side:.4g}" for side in spacing_mm) + " mm"
