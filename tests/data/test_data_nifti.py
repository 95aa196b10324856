"""NIfTI trees: orientation, spacing, and files that cannot be used."""

import gzip
import pickle

import nibabel as nib
import numpy as np
import pytest

from medssl_jax.data import decoding
from medssl_jax.data.sources.nifti import nifti
from medssl_jax.errors import ConfigError, DataError

OBLIQUE = nib.affines.from_matvec(
    # index i runs to P, j to S, k to L, each turned by a few degrees; 2, 0.5, 3 mm
    np.array([[0.1, 0.02, -3.0], [-2.0, 0.03, -0.1], [-0.08, 0.5, 0.1]]),
    [10, 20, 30],
)


def volume(*shape, dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.eye(4) if affine is None else affine
    nib.save(nib.Nifti1Image(data, affine), path)


def test_an_oblique_volume_comes_to_slices_up_rows_back_columns_left(tmp_path):
    data = volume(4, 5, 6)
    write(tmp_path / "a.nii.gz", data, OBLIQUE)
    record = nifti(root=str(tmp_path))[0]
    # (i, j, k) = (P, S, L) by construction: slices j, rows i, columns k
    np.testing.assert_array_equal(
        record["image"][..., 0], np.transpose(data, (1, 0, 2))
    )
    np.testing.assert_allclose(record["spacing_mm"], (0.5, 2.0, 3.0), atol=0.02)
    flipped = nifti(root=str(tmp_path), orientation="IAR")[0]["image"]
    np.testing.assert_array_equal(flipped, record["image"][::-1, ::-1, ::-1])


def test_acquired_keeps_the_order_on_disk_slowest_axis_first(tmp_path):
    data = volume(4, 5, 6)
    write(tmp_path / "a.nii", data, OBLIQUE)
    record = nifti(root=str(tmp_path), orientation="acquired")[0]
    np.testing.assert_array_equal(record["image"][..., 0], data.T)
    np.testing.assert_allclose(record["spacing_mm"], (3.0, 0.5, 2.0), atol=0.02)


def test_scaled_values_and_other_units_are_undone(tmp_path):
    image = nib.Nifti1Image(volume(3, 3, 3), np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_slope_inter(2.5, -1024)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    stored = np.frombuffer((tmp_path / "a.nii").read_bytes()[352:], "<i2")
    record = nifti(root=str(tmp_path), orientation="acquired")[0]
    reference = 2.5 * stored.reshape(3, 3, 3) - 1024
    np.testing.assert_array_equal(record["image"][..., 0], reference)
    assert record["image"].dtype == np.float32
    np.testing.assert_allclose(record["spacing_mm"], (2.0, 1.0, 1.0), rtol=1e-6)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_versions_in_both_byte_orders_are_read(tmp_path, kind, order):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nib.save(kind(volume(3, 4, 5), np.eye(4), header), tmp_path / "a.nii.gz")
    image = nifti(root=str(tmp_path), orientation="RAS")[0]["image"]
    np.testing.assert_array_equal(image[..., 0], volume(3, 4, 5))
    assert image.dtype.isnative


def test_the_tree_is_searched_without_hidden_files(tmp_path):
    write(tmp_path / "b/scan.nii.gz", volume(3, 3, 3))
    write(tmp_path / "a.NII", volume(3, 3, 3))
    (tmp_path / "b/._scan.nii.gz").write_bytes(b"macOS")
    write(tmp_path / ".hidden/scan.nii", volume(3, 3, 3))
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "b/above").symlink_to(tmp_path)
    source = nifti(root=str(tmp_path))
    assert source.names == ["a.NII", "b/scan.nii.gz"]


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    write(tmp_path / "a.nii", volume(3, 4, 5, 1))
    assert nifti(root=str(tmp_path))[0]["image"].shape == (5, 4, 3, 1)


def spoil(path, case):
    """Write one file that cannot be used."""
    data = volume(8, 9, 10, dtype=np.float32)
    if case == "nan":
        data[1, 2, 3] = np.nan
    if case == "infinite":
        data[1, 2, 3] = np.inf
    if case == "constant":
        data[:] = 3
    if case == "4D":
        data = np.stack([data, data], axis=-1)
    if case == "2D":
        data = data[0]
    affine = None if case == "no orientation" else np.eye(4)
    nib.save(nib.Nifti1Image(data, affine), path)
    packed = path.read_bytes()
    if case == "truncated":
        path.write_bytes(packed[: len(packed) // 2])
    if case == "checksum":
        path.write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    if case == "truncated inside":
        path.write_bytes(gzip.compress(gzip.decompress(packed)[:-50]))
    if case == "other bytes":
        path.write_bytes(b"no image " * 100)
    if case == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nan", "1 NaN"),
        ("infinite", "1 NaN or infinite"),
        ("constant", "constant"),
        ("4D", r"4D \(8, 9, 10, 2\)"),
        ("2D", r"2D \(9, 10\)"),
        ("no orientation", "data.orientation"),
        ("truncated", "no readable NIfTI"),
        ("checksum", "no readable NIfTI.*CRC"),
        ("truncated inside", "no readable NIfTI"),
        ("other bytes", "no readable NIfTI"),
        ("empty", "no readable NIfTI"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_a_file_that_cannot_be_used_is_named(tmp_path, case, reason):
    spoil(tmp_path / "scan_7.nii.gz", case)
    source = nifti(root=str(tmp_path))
    with pytest.raises(DataError, match=f"scan_7.nii.gz: .*{reason}"):
        source[0]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("xyzt_units", 7, "unit"),
        ("srow_x", [0, 0, 0, 0], "affine"),
        ("srow_y", [0, np.nan, 0, 0], "affine"),
        ("pixdim", [1, 0, 1, 1, 1, 1, 1, 1], "spacing"),
        ("vox_offset", 0, "voxels at byte 0, within its header"),
        ("dim", [3, 3, 3, 4, 1, 1, 1, 1], r"more voxels than its header's \(3, 3, 4\)"),
        ("dim", [3, 3, 4, 6, 1, 1, 1, 1], "no readable NIfTI"),
    ],
)
def test_a_senseless_header_is_named(tmp_path, field, value, reason):
    image = nib.Nifti1Image(volume(3, 4, 5), np.eye(4))
    image.header["vox_offset"] = 352
    image.header[field] = value
    (tmp_path / "scan_7.nii").write_bytes(
        image.header.binaryblock + bytes(4) + volume(3, 4, 5).tobytes()
    )
    source = nifti(root=str(tmp_path))
    with pytest.raises(DataError, match=f"scan_7.nii: .*{reason}"):
        source[0]


def test_a_stream_without_end_is_read_no_further_than_it_should_be(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(decoding, "_LARGE", 2**21)
    write(tmp_path / "large.nii", np.zeros((2, 2**10, 2**10), np.int32))
    packed = gzip.compress((tmp_path / "large.nii").read_bytes())
    (tmp_path / "large.nii").unlink()
    (tmp_path / "claims.nii.gz").write_bytes(packed)
    write(tmp_path / "hides.nii", volume(3, 4, 5))
    hides = (tmp_path / "hides.nii").read_bytes() + bytes(2**22)
    (tmp_path / "hides.nii").unlink()
    (tmp_path / "hides.nii.gz").write_bytes(gzip.compress(hides))
    source = nifti(root=str(tmp_path))
    with pytest.raises(DataError, match="claims.nii.gz: would unpack to 0.0 GiB"):
        source[0]
    with pytest.raises(DataError, match="hides.nii.gz: has more voxels"):
        source[1]


def test_colours_are_refused(tmp_path):
    data = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    write(tmp_path / "a.nii", data)
    with pytest.raises(DataError, match="not one real number"):
        nifti(root=str(tmp_path))[0]


@pytest.mark.parametrize("root", ["", "nowhere", "empty"])
def test_a_root_without_files_is_named(tmp_path, root):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=root or "data.root"):
        nifti(root=root and str(tmp_path / root))


@pytest.mark.parametrize("orientation", ["RAX", "RLS", "RA", "spl", "SPLR", ""])
def test_an_unknown_orientation_is_named(tmp_path, orientation):
    with pytest.raises(ConfigError, match="data.orientation"):
        nifti(root=str(tmp_path), orientation=orientation)


def test_the_stamp_changes_with_the_file_and_how_it_is_read(tmp_path):
    write(tmp_path / "a.nii", volume(3, 3, 3))
    source = pickle.loads(pickle.dumps(nifti(root=str(tmp_path))))
    before = source.stamp(0)
    assert before == nifti(root=str(tmp_path)).stamp(0)
    assert before != nifti(root=str(tmp_path), orientation="RAS").stamp(0)
    write(tmp_path / "a.nii", volume(3, 3, 4))
    assert before != source.stamp(0)


def test_the_decathlons_volumes_are_read_as_nibabel_reads_them(real_data):
    root = real_data / "msd_hippocampus/imagesTr"
    source = nifti(root=str(root))
    assert len(source) == 200
    for i in (0, 57, 199):
        record = source[i]
        closest = nib.as_closest_canonical(nib.load(root / source.name(i)))
        # canonical is (R, A, S); slices to S, rows to P, columns to L
        reference = np.transpose(closest.get_fdata(), (2, 1, 0))[:, ::-1, ::-1]
        np.testing.assert_array_equal(record["image"][..., 0], reference)
        assert record["spacing_mm"] == (1.0, 1.0, 1.0)
