"""Compressed DICOM: every lossless syntax gives the pixels of the uncompressed series."""

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_files import SECRETS, enhanced, pixels, write
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder

from medssl_jax.data.sources.dicom import dicom
from medssl_jax.errors import DataError

# of pydicom, by what encodes them: gdcm writes those that pydicom does not
BY_PYDICOM = {
    "RLE": uid.RLELossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
}
BY_GDCM = {
    "JPEG lossless": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "JPEG lossless, first": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}
SYNTAXES = {
    **BY_PYDICOM,
    "JPEG lossless": uid.JPEGLossless,
    "JPEG lossless, first": uid.JPEGLosslessSV1,
}


def compress(path, name):
    if name in BY_PYDICOM:
        data = pydicom.dcmread(path)
        data.compress(BY_PYDICOM[name], generate_instance_uid=False)
        data.save_as(path)
    else:
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(BY_GDCM[name]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == SYNTAXES[name]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("name", SYNTAXES)
def test_a_compressed_series_is_read_as_the_uncompressed_one(tmp_path, name, signed):
    stored = pixels(rows=32, columns=40) % (2048 if signed else 4096)
    write(tmp_path / "plain", stored, PixelRepresentation=signed)
    write(tmp_path / "packed", stored, PixelRepresentation=signed)
    for path in (tmp_path / "packed").iterdir():
        compress(path, name)
    plain, packed = (dicom(root=str(tmp_path / k))[0] for k in ("plain", "packed"))
    np.testing.assert_array_equal(packed["image"], plain["image"])
    np.testing.assert_array_equal(plain["image"][..., 0], 2.0 * stored - 1024)
    assert packed["spacing_mm"] == plain["spacing_mm"]


@pytest.mark.parametrize("name", BY_PYDICOM)
def test_compressed_frames_are_read_as_uncompressed_ones(tmp_path, name):
    stored = pixels(rows=32, columns=40)
    data = enhanced(stored, order=[3, 0, 4, 2, 1])
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    compress(tmp_path / "a.dcm", name)
    image = dicom(root=str(tmp_path))[0]["image"]
    np.testing.assert_array_equal(image[..., 0], 2.0 * stored - 1024)


def test_real_slices_are_the_same_in_every_syntax(real_data, tmp_path):
    first = sorted((real_data / "dicom_t1").iterdir())[:3]
    plain = [pydicom.dcmread(path).pixel_array for path in first]
    for name in SYNTAXES:
        folder = tmp_path / name
        folder.mkdir()
        for path in first:
            (folder / path.name).write_bytes(path.read_bytes())
            compress(folder / path.name, name)
        image = dicom(root=str(folder), orientation="acquired")[0]["image"]
        np.testing.assert_array_equal(image[..., 0], plain)


def pretend(path, syntax):
    """Write a file that claims a syntax, and holds two markers of it."""
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.save_as(path)


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        (uid.JPEGLossless, "JPEG Lossless"),
        (uid.JPEGLSLossless, "JPEG-LS Lossless"),
        (uid.JPEG2000Lossless, "JPEG 2000"),
    ],
)
def test_without_the_packages_the_syntax_is_named_and_what_to_install(
    tmp_path, monkeypatch, syntax, said
):
    write(tmp_path / "ct", pixels())
    pretend(tmp_path / "ct/1-000.dcm", syntax)
    monkeypatch.setattr(Decoder, "is_available", False)
    match = rf"ct/1-000.dcm: is compressed \({said}.*pip install -e '\.\[dicom\]'"
    with pytest.raises(DataError, match=match):
        dicom(root=str(tmp_path))[0]


def test_a_film_is_named_as_what_cannot_be_read(tmp_path):
    write(tmp_path / "ct", pixels())
    pretend(tmp_path / "ct/1-000.dcm", uid.MPEG2MPML)
    with pytest.raises(DataError, match=r"1-000.dcm: is compressed \(MPEG2.*convert"):
        dicom(root=str(tmp_path))[0]


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_damaged_compressed_file_is_named_without_its_header(tmp_path, capfd, name):
    write(tmp_path / "ct", pixels(rows=32, columns=40))
    path = tmp_path / "ct/1-000.dcm"
    compress(path, name)
    raw = path.read_bytes()
    place = raw.index(b"\xe0\x7f\x10\x00") + 60  # in what encodes the pixels
    path.write_bytes(raw[:place] + bytes(200) + raw[place + 200 :])
    with pytest.raises(DataError, match="1-000.dcm: is no readable DICOM"):
        dicom(root=str(tmp_path))[0]
    shown = "".join(capfd.readouterr())
    assert not any(secret in shown for secret in SECRETS)
