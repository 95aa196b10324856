"""DICOM series: order, geometry and values; what cannot be used; what must not leak."""

import logging
import pickle
import traceback

import numpy as np
import pydicom
import pytest
from dicom_files import (
    ACROSS,
    BETWEEN_MM,
    COLUMNS_MM,
    DOWN,
    NORMAL,
    ROWS_MM,
    SECRETS,
    pixels,
    slice_file,
    write,
)
from pydicom.uid import DeflatedExplicitVRLittleEndian, SegmentationStorage

from medssl_jax.data import decoding
from medssl_jax.data.cache import Cached
from medssl_jax.data.host import Prepare
from medssl_jax.data.sources.dicom import dicom
from medssl_jax.errors import DataError


def test_slices_are_sorted_and_rescaled_and_brought_to_one_orientation(tmp_path):
    stored = pixels()
    assert write(tmp_path / "ct", stored).tolist() != sorted(range(5))
    record = dicom(root=str(tmp_path))[0]
    # the normal runs up, columns to the left, rows to the back: SPL already
    np.testing.assert_array_equal(record["image"][..., 0], 2.0 * stored - 1024)
    assert record["image"].dtype == np.float32
    np.testing.assert_allclose(
        record["spacing_mm"], (BETWEEN_MM, ROWS_MM, COLUMNS_MM), atol=1e-5
    )
    record = dicom(root=str(tmp_path), orientation="RAI")[0]
    reference = (2.0 * stored - 1024).transpose(2, 1, 0)[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(record["image"][..., 0], reference)
    np.testing.assert_allclose(
        record["spacing_mm"], (COLUMNS_MM, ROWS_MM, BETWEEN_MM), atol=1e-5
    )


L, P, S = np.eye(3)


@pytest.mark.parametrize(
    "row, column, upwards",
    [(L, P, 1), (P, -S, 1), (P, -S, -1), (L, -S, 1), (-L, -P, -1), (S, L, 1)],
    ids=["axial", "sagittal", "downwards", "coronal", "turned", "odd"],
)
def test_voxels_of_any_plane_come_to_their_place_in_the_patient(
    tmp_path, row, column, upwards
):
    """Their values are a sum over the ways to left, back and up, which is to be seen."""
    normal = upwards * np.cross(row, column)
    weights_per_mm = np.array([1, 7, 40])
    rows, columns = np.mgrid[:4, :6]
    for i in range(5):
        position = i * BETWEEN_MM * normal
        places = position + (
            rows[..., None] * ROWS_MM * column + columns[..., None] * COLUMNS_MM * row
        )
        stored = 2000 + (4 * places @ weights_per_mm).astype(int)
        data = slice_file(
            stored,
            0,
            ImageOrientationPatient=[*row, *column],
            ImagePositionPatient=[*position],
            RescaleSlope=1,
            RescaleIntercept=0,
        )
        data.save_as(tmp_path / f"{i * 3 % 5}.dcm", enforce_file_format=True)
    record = dicom(root=str(tmp_path))[0]
    for axis, weight in enumerate(weights_per_mm[::-1]):
        step = np.diff(record["image"], axis=axis)
        assert len(np.unique(step)) == 1 and step.size
        assert step.flat[0] == 4 * weight * record["spacing_mm"][axis]


def test_every_slice_has_a_scale_of_its_own(tmp_path):
    stored, slopes = pixels(), np.array([1.0, 0.5, 2.0, 0.25, 3.0])  # as in PET
    write(tmp_path, stored, slopes=slopes)
    image = dicom(root=str(tmp_path))[0]["image"][..., 0]
    np.testing.assert_array_equal(image, stored * slopes[:, None, None] - 1024)


def test_series_are_told_apart_by_their_uid_in_one_folder_and_in_many(tmp_path):
    stored = pixels()
    write(tmp_path / "a", stored, series="1")
    write(tmp_path / "a", stored[:3], series="2", suffix="")
    write(tmp_path / "b/c", stored[:2], series="3")
    for i in range(4):  # a series in two folders, as exporters split them
        folder = tmp_path / f"d/{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        slice_file(stored[i], -i * 3.0, "4").save_as(
            folder / f"{i}", enforce_file_format=True
        )
    source = dicom(root=str(tmp_path), orientation="acquired")
    assert [source.name(i) for i in range(4)] == ["a#1", "a#2", "b/c", "d"]
    assert [len(source[i]["image"]) for i in range(4)] == [5, 3, 2, 4]
    reference = 2.0 * stored[:4][::-1] - 1024
    np.testing.assert_array_equal(source[3]["image"][..., 0], reference)


def test_the_table_names_series_by_their_folder(tmp_path):
    write(tmp_path / "scans/a", pixels(), series="1")
    write(tmp_path / "scans/b", pixels(), series="2")
    (tmp_path / "t.csv").write_text("path,label,patient\nscans/b,1,x\nscans/a,0,y\n")
    source = dicom(root=str(tmp_path), labels=str(tmp_path / "t.csv"), unlisted="drop")
    assert source.labels.tolist() == [0, 1] and source.patients == ["y", "x"]


def test_what_is_no_image_is_ignored_and_counted(tmp_path, caplog):
    write(tmp_path / "ct", pixels())
    (tmp_path / "ct/readme.txt").write_text("no DICOM")
    (tmp_path / "ct/empty").write_bytes(b"")
    segmentation = slice_file(pixels()[0], 0.0, "5")
    segmentation.SOPClassUID = SegmentationStorage
    segmentation.save_as(tmp_path / "ct/seg", enforce_file_format=True)
    with caplog.at_level(logging.INFO):
        assert len(dicom(root=str(tmp_path))) == 1
    assert "3 files" in caplog.text


def test_monochrome1_is_inverted_within_the_stored_range(tmp_path):
    stored = pixels()
    write(tmp_path / "u", stored, PhotometricInterpretation="MONOCHROME1")
    image = dicom(root=str(tmp_path / "u"))[0]["image"][..., 0]
    np.testing.assert_array_equal(image, 2.0 * (4095 - stored) - 1024)
    signed = {"PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME1"}
    write(tmp_path / "s", stored % 2048, **signed)
    image = dicom(root=str(tmp_path / "s"))[0]["image"][..., 0]
    np.testing.assert_array_equal(image, 2.0 * (-1 - stored % 2048) - 1024)


def spoil(folder, case):
    """Write one series that cannot be used."""
    stored = pixels(8)
    changes = {
        "slope": {"RescaleSlope": 0},
        "palette": {"PhotometricInterpretation": "PALETTE COLOR"},
        "no position": {"ImagePositionPatient": None},
        "no spacing": {"PixelSpacing": None},
        "multi-frame": {"NumberOfFrames": 2},
        "colours": {"SamplesPerPixel": 3},
        "no pixels": {"PixelData": None},
        "short pixels": {"PixelData": b"\0" * 20},
        "too many pixels": {"Rows": 2},
        "no directions": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        "one slice": {},
    }.get(case, {})
    stored = stored[:1] if case == "one slice" else stored
    stored = 0 * stored if case == "constant" else stored
    order = write(folder, stored, **changes).tolist()
    middle = folder / f"1-{order.index(len(order) // 2):03d}.dcm"
    data = pydicom.dcmread(middle)
    if case == "gap":
        middle.unlink()
    if case == "copy":
        data.save_as(folder / "copy.dcm")
    if case == "mixed sizes":
        data.Rows, data.PixelData = 2, data.PixelData[: 2 * 6 * 2]
        data.save_as(middle)
    if case == "mixed spacings":
        data.PixelSpacing = [0.6, 0.75]
        data.save_as(middle)
    if case == "shifted":
        position = np.array(data.ImagePositionPatient, float) + 300 * ACROSS
        data.ImagePositionPatient = [f"{x:.6f}" for x in position]
        data.save_as(middle)
    if case == "mixed planes":
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        data.save_as(middle)
    if case == "truncated":
        middle.write_bytes(middle.read_bytes()[:-20])
    if case == "unknown syntax":
        data.file_meta.TransferSyntaxUID = "1.2.3.4.5"
        data.save_as(middle, implicit_vr=False, little_endian=True)


CASES = {
    "gap": "gap: slices 4 and 5 of 7 are 5.00 mm apart, others 2.50",
    "copy": "1 of its slices lie where another",
    "mixed sizes": "mixed sizes: 2 x 6, 4 x 6",
    "mixed spacings": "mixed pixel spacings",
    "mixed planes": "different planes",
    "shifted": "slice 5 of 8 lies .* mm beside the others",
    "slope": "RescaleSlope of 0",
    "palette": "colours in a palette",
    "one slice": "one slice only",
    "constant": "constant",
    "no position": "ImagePositionPatient",
    "no spacing": "PixelSpacing",
    "no directions": "ImageOrientationPatient",
    "no pixels": "PixelData",
    "short pixels": "no readable DICOM",
    "too many pixels": "pixel data of .* its header says 2 x 6",
    "truncated": "no readable DICOM",
    "multi-frame": "multi-frame.*dcm2niix",
    "colours": "3 samples per pixel",
    "unknown syntax": "transfer syntax",
}


@pytest.mark.parametrize("case", CASES)
def test_a_series_that_cannot_be_used_is_named_without_its_header(
    tmp_path, case, capfd, caplog, recwarn
):
    spoil(tmp_path / "study/knee", case)
    with caplog.at_level(logging.DEBUG):
        source = dicom(root=str(tmp_path))
        with pytest.raises(DataError, match=f"study/knee.*: .*{CASES[case]}") as caught:
            source[0]
    out, err = capfd.readouterr()
    shown = "".join(traceback.format_exception(caught.value))
    shown += "".join(str(warning.message) for warning in recwarn)
    for secret in SECRETS:
        assert secret not in shown + out + err + caplog.text


@pytest.mark.parametrize("cut", [0, 100, 140, 154, 200, 330, 500])
def test_a_truncated_header_is_an_example_of_its_own_that_says_so(tmp_path, cut):
    write(tmp_path / "ct", pixels())
    damaged = tmp_path / "ct/1-000.dcm"
    damaged.write_bytes(damaged.read_bytes()[:cut])
    source = dicom(root=str(tmp_path))
    assert [source.name(i) for i in range(2)] == ["ct", "ct/1-000.dcm"]
    with pytest.raises(DataError, match="ct/1-000.dcm: "):
        source[1]


def test_a_damaged_deflated_file_is_an_example_of_its_own(tmp_path):
    write(tmp_path / "ct", pixels())
    path = tmp_path / "ct/1-000.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:400] + b"\xff" * 40 + raw[440:])
    source = dicom(root=str(tmp_path))
    assert [source.name(i) for i in range(2)] == ["ct", "ct/1-000.dcm"]
    with pytest.raises(DataError, match="ct/1-000.dcm: is no readable DICOM"):
        source[1]


def test_a_deflated_file_of_zeros_without_end_is_not_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_LARGE", 2**21)
    write(tmp_path / "ct", pixels())
    path = tmp_path / "ct/1-000.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.PixelData = bytes(2**23)
    data.save_as(path)
    source = dicom(root=str(tmp_path))
    assert [source.name(i) for i in range(2)] == ["ct", "ct/1-000.dcm"]
    with pytest.raises(DataError, match="ct/1-000.dcm: would unpack to"):
        source[1]


def test_slices_of_a_tilted_gantry_are_no_shifted_ones(tmp_path):
    stored = pixels(8)
    write(tmp_path, stored)
    for path in tmp_path.iterdir():
        data = pydicom.dcmread(path)
        position = np.array(data.ImagePositionPatient, float)
        position += 0.3 * (position @ NORMAL) * DOWN
        data.ImagePositionPatient = [f"{x:.6f}" for x in position]
        data.save_as(path)
    image = dicom(root=str(tmp_path))[0]["image"][..., 0]
    np.testing.assert_array_equal(image, 2.0 * stored - 1024)


def test_bytes_called_dicom_are_not_passed_over(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no image " * 100)
    source = dicom(root=str(tmp_path))
    with pytest.raises(DataError, match="a.dcm: is not DICOM"):
        source[0]


def test_a_folder_without_dicom_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("none")
    with pytest.raises(DataError, match="none of its 1 files"):
        dicom(root=str(tmp_path))
    with pytest.raises(DataError, match="data.root"):
        dicom(root="")


def test_no_text_of_a_header_is_in_names_records_stamps_or_cache(tmp_path):
    write(tmp_path / "scans/ct", pixels(), suffix="")
    source = dicom(root=str(tmp_path / "scans"))
    cached = Cached(source, Prepare(3, None, "percentiles"), str(tmp_path / "cache"))
    cached[0]
    kept = [path for path in (tmp_path / "cache").rglob("*")]
    seen = pickle.dumps([source, source[0], source.name(0), source.stamp(0), kept])
    seen += b"".join(path.read_bytes() for path in kept)
    assert len(kept) == 1
    for secret in SECRETS:
        assert secret.encode() not in seen


def test_a_name_in_a_field_that_is_read_is_not_quoted(tmp_path, capfd, recwarn):
    # a scanner, or an anonymizer, that wrote where it should not
    write(tmp_path / "ct", pixels())
    for path in (tmp_path / "ct").iterdir():
        raw = path.read_bytes()
        position = raw.index(b"\x20\x00\x32\x00DS") + 8
        path.write_bytes(raw[:position] + b"Doe^Jane" + raw[position + 8 :])
    source = dicom(root=str(tmp_path))
    with pytest.raises(DataError, match="no readable DICOM") as caught:
        source[0]
    shown = "".join(traceback.format_exception(caught.value))
    shown += "".join(str(warning.message) for warning in recwarn)
    assert "Doe" not in shown + "".join(capfd.readouterr())


def test_the_defaced_head_is_read_whole_in_its_order(real_data):
    root = real_data / "dicom_t1"
    source = dicom(root=str(root))
    assert len(source) == 1
    record = source[0]
    assert record["image"].shape == (64, 384, 274, 1)
    np.testing.assert_allclose(record["spacing_mm"], (0.6667, 0.6667, 0.7), atol=1e-4)
    files = sorted(root.iterdir())
    # its files are numbered upwards
    for i in (0, 31, 63):
        stored = pydicom.dcmread(files[i]).pixel_array
        np.testing.assert_array_equal(record["image"][i, ..., 0], stored)
