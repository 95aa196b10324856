"""MetaImage, NRRD and Analyze: the records that NIfTI gives, and what cannot be used."""

import importlib.util
import logging
import pickle
import traceback

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medssl_jax.data import decoding
from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.sources.itk import itk
from medssl_jax.data.sources.nifti import nifti
from medssl_jax.errors import ConfigError, DataError

SHAPE = (5, 6, 7)
ITK = ("mha", "mhd", "nrrd", "nhdr")
TO_LPS = np.diag([-1.0, -1, 1, 1])
TURN = np.deg2rad(10)
AFFINES = {
    "axial": np.diag([-1.0, -2, 3, 1]),
    "sagittal": np.array([[0.0, 0, 4, -9], [-1, 0, 0, 7], [0, -2, 0, 5], [0, 0, 0, 1]]),
    "flipped": np.diag([1.0, 2, -2.5, 1]),
    "oblique": np.array(  # i runs to P, j to S, k to L; 2, .5, 3 mm
        [
            [0, 0, -3, 10],
            [-2 * np.cos(TURN), 0.5 * np.sin(TURN), 0, 20],
            [2 * np.sin(TURN), 0.5 * np.cos(TURN), 0, -30],
            [0, 0, 0, 1],
        ]
    ),
}
OBLIQUE = AFFINES["oblique"]


def scan(seed=0, shape=SHAPE):
    return np.random.RandomState(seed).randint(0, 500, shape).astype(np.int16)


def organs(seed=1, shape=SHAPE):
    return np.random.RandomState(seed).randint(0, 4, shape).astype(np.uint8)


def write(path, data, affine=AFFINES["axial"], compressed=False, **texts):
    """Write (i, j, k, *channels) by the library that the suffix is of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name:
        return nib.save(nib.Nifti1Image(data, affine), path)
    array = data.transpose(2, 1, 0, *range(3, data.ndim))
    image = sitk.GetImageFromArray(array, isVector=data.ndim > 3)
    in_lps = TO_LPS @ affine
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing_mm)
    image.SetOrigin(in_lps[:3, 3])
    image.SetDirection((in_lps[:3, :3] / spacing_mm).ravel())
    for name, text in texts.items():
        image.SetMetaData(name, text)
    sitk.WriteImage(image, str(path), compressed)


def assert_same(record, other):
    assert record.keys() == other.keys()
    np.testing.assert_array_equal(record["image"], other["image"])
    assert record["image"].dtype == other["image"].dtype
    np.testing.assert_allclose(record["spacing_mm"], other["spacing_mm"], rtol=1e-6)
    np.testing.assert_array_equal(record.get("mask", 0), other.get("mask", 0))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", ITK)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_volume_is_the_same_whichever_format_it_is_in(
    tmp_path, affine, suffix, compressed
):
    for folder, data in (("images", scan()), ("masks", organs())):
        write(tmp_path / f"nifti/{folder}/a.nii.gz", data, affine)
        write(tmp_path / f"itk/{folder}/a.{suffix}", data, affine, compressed)
    for orientation in ("SPL", "RAI", "acquired"):
        records = [
            source(
                root=str(tmp_path / kind / "images"),
                masks=str(tmp_path / kind / "masks"),
                orientation=orientation,
            )[0]
            for kind, source in (("nifti", nifti), ("itk", itk))
        ]
        assert_same(*records)


def test_an_oblique_volume_comes_to_slices_up_rows_back_columns_left(tmp_path):
    write(tmp_path / "a.mha", scan(), OBLIQUE)
    record = itk(root=str(tmp_path))[0]
    # (i, j, k) = (P, S, L) by construction: slices j, rows i, columns k
    np.testing.assert_array_equal(record["image"][..., 0], scan().transpose(1, 0, 2))
    np.testing.assert_allclose(record["spacing_mm"], (0.5, 2.0, 3.0), rtol=1e-6)


@pytest.mark.parametrize(
    "kind", [nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage]
)
def test_analyze_is_the_same_as_acquired_and_says_no_orientation(tmp_path, kind):
    (tmp_path / "analyze").mkdir()
    data = scan().astype(np.float64) + 0.25
    nib.save(kind(data, np.diag([-1, 2, 3, 1])), tmp_path / "analyze/a.img")
    write(tmp_path / "nifti/a.nii", data)
    root = str(tmp_path / "analyze")
    assert_same(
        itk(root=root, orientation="acquired")[0],
        nifti(root=str(tmp_path / "nifti"), orientation="acquired")[0],
    )
    with pytest.raises(DataError, match="a.hdr: does not say how.*'acquired'"):
        itk(root=root)[0]


def test_a_nifti_pair_is_the_same_as_a_single_file(tmp_path):
    (tmp_path / "pair").mkdir()
    nib.save(nib.Nifti1Pair(scan(), OBLIQUE), tmp_path / "pair/a.hdr")
    write(tmp_path / "nifti/a.nii", scan(), OBLIQUE)
    pair = itk(root=str(tmp_path / "pair"))
    assert_same(pair[0], nifti(root=str(tmp_path / "nifti"))[0])


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
def test_channels_are_in_the_voxels_or_a_fourth_axis(tmp_path, suffix):
    data = scan(shape=(*SHAPE, 3))
    write(tmp_path / f"voxels/a.{suffix}", data, OBLIQUE)
    write(tmp_path / "nifti/a.nii", data, OBLIQUE)
    wanted = nifti(root=str(tmp_path / "nifti"), channels=3)[0]
    assert_same(itk(root=str(tmp_path / "voxels"), channels=3)[0], wanted)
    axis = sitk.JoinSeries(
        [sitk.GetImageFromArray(data[..., k].transpose(2, 1, 0)) for k in range(3)]
    )
    (tmp_path / "axis").mkdir()
    sitk.WriteImage(axis, str(tmp_path / f"axis/a.{suffix}"))
    read = itk(root=str(tmp_path / "axis"), channels=3, orientation="acquired")
    np.testing.assert_array_equal(read[0]["image"], data.transpose(2, 1, 0, 3))
    for folder in ("voxels", "axis"):
        with pytest.raises(DataError, match="set data.channels if it has 3 channels"):
            itk(root=str(tmp_path / folder))[0]


@pytest.mark.parametrize("suffix", ITK)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_mask_comes_back_in_its_images_format_and_place(tmp_path, suffix, affine):
    write(tmp_path / f"images/b/a.{suffix}", scan(), affine, Name="Doe^Jane")
    write(tmp_path / f"masks/b/a.{suffix}", organs(), affine)
    read = itk(root=str(tmp_path / "images"), masks=str(tmp_path / "masks"))
    read = pickle.loads(pickle.dumps(read))
    path = read.write_mask(read.name(0), read[0]["mask"], tmp_path / "out")
    assert path == tmp_path / f"out/b/a.{suffix}"
    written, image = (
        sitk.ReadImage(str(p)) for p in (path, tmp_path / f"images/b/a.{suffix}")
    )
    assert written.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), organs().T)
    for field in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(
            getattr(written, field)(), getattr(image, field)(), atol=1e-6
        )
    assert not any(b"Doe" in file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair])
def test_a_mask_of_a_pair_is_such_a_pair(tmp_path, kind):
    (tmp_path / "images").mkdir()
    image = kind(scan(), None if kind is nib.AnalyzeImage else OBLIQUE)
    image.header.set_zooms((2, 0.5, 3))
    image.header["descrip"] = b"Doe^Jane"
    nib.save(image, tmp_path / "images/a.hdr")
    read = itk(root=str(tmp_path / "images"), orientation="acquired")
    path = read.write_mask("a.hdr", organs().T, tmp_path / "out")
    written, image = (nib.load(p) for p in (path, tmp_path / "images/a.hdr"))
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), organs())
    assert type(written) is type(image)
    np.testing.assert_allclose(written.affine, image.affine, rtol=1e-6)
    assert written.header.get_zooms() == (2, 0.5, 3)
    assert b"Doe" not in path.read_bytes()


@pytest.mark.parametrize("suffix", ITK)
def test_regions_that_overlap_are_parts_of_each_voxel(tmp_path, suffix):
    write(tmp_path / f"a.{suffix}", scan(), OBLIQUE)
    read = itk(root=str(tmp_path), orientation="acquired")
    regions = np.stack([organs() > 0, organs() > 1], axis=-1)
    path = read.write_mask(
        f"a.{suffix}", regions.transpose(2, 1, 0, 3), tmp_path / "out"
    )
    written = itk(root=str(path.parent), channels=2, orientation="acquired")[0]
    np.testing.assert_array_equal(written["image"], regions.transpose(2, 1, 0, 3))


def test_tables_choose_and_pair_as_they_do_for_nifti(tmp_path):
    for seed, name in enumerate("abc"):
        write(tmp_path / f"{name}/t1.mha", scan())
        write(tmp_path / f"{name}/seg.nrrd", organs(seed))
    rows = [f"{n}/t1.mha,{n}/seg.nrrd,p{n},{n < 'c'}" for n in "cba"]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["path,mask,patient,train", *rows]))
    settings = {"only": "train=True", "orientation": "acquired"}
    read = itk(root=str(tmp_path), masks=str(table), **settings)
    assert read.names == ["a/t1.mha", "b/t1.mha"]
    assert read.patients == ["pa", "pb"]
    np.testing.assert_array_equal(read[1]["mask"], organs(1).T)


def text_header(path, fields, voxels, between):
    """Write a header of one's own before voxels."""
    lines = [f"{name}{between}{value}" for name, value in fields.items()]
    head = "NRRD0004\n" if between == ": " else ""
    end = "\n" if between == ": " else ""
    text = head + "\n".join(lines) + "\n" + end
    path.write_bytes(text.encode() + voxels.tobytes())


def meta(path, voxels, matrix="1 0 0 0 1 0 0 0 1", spacing="1 2 3", **fields):
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "Comment": "Doe^Jane",
        "TransformMatrix": matrix,
        "ElementSpacing": spacing,
        "DimSize": "5 6 7",
        "ElementType": "MET_SHORT",
        **fields,
        "ElementDataFile": fields.get("ElementDataFile", "LOCAL"),
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # the last
    text_header(path, fields, voxels, " = ")


def nrrd(path, voxels, directions="(1,0,0) (0,2,0) (0,0,3)", **fields):
    fields = {
        "type": "short",
        "dimension": 3,
        "sizes": "5 6 7",
        "space": "left-posterior-superior",
        "space directions": directions,
        "endian": "little",
        "encoding": "raw",
        "content": "Doe^Jane",
        **fields,
    }
    text_header(path, fields, voxels, ": ")


@pytest.mark.parametrize("make", [meta, nrrd])
def test_headers_written_by_hand_are_read(tmp_path, make):
    path = tmp_path / ("a.mha" if make is meta else "a.nrrd")
    make(path, scan().transpose(2, 1, 0).copy())
    record = itk(root=str(tmp_path))[0]
    # L, P, S: slices last to first index, as they are
    np.testing.assert_array_equal(record["image"][..., 0], scan().T)
    assert record["spacing_mm"] == (3, 2, 1)


def damaged(folder, fault):
    """Write one file that cannot be used; return its name."""
    voxels = scan()
    if fault == "nan":
        data = scan().astype(np.float32)
        data[1, 2, 3] = np.nan
        write(folder / "a.mha", data)
    elif fault == "constant":
        write(folder / "a.nrrd", 0 * scan())
    elif fault == "4D":
        write(folder / "a.mha", scan(shape=(*SHAPE, 2)))
    elif fault == "2D":
        sitk.WriteImage(sitk.GetImageFromArray(scan()[0]), str(folder / "a.mha"))
    elif fault.startswith("truncated"):
        suffix = fault.split()[1]
        write(folder / f"a.{suffix}", scan(), compressed="packed" in fault)
        largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:-20])
    elif fault.startswith("missing"):
        suffix = fault.split()[1]
        write(folder / f"a.{suffix}", scan())
        largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        largest.rename(folder / "Doe^Jane")
    elif fault == "renamed":  # to be nameless
        meta(folder / "a.mhd", voxels[:0], ElementDataFile="Doe^Jane.raw")
    elif fault == "renamed nhdr":
        nrrd(folder / "a.nhdr", voxels[:0], **{"data file": "Doe^Jane.raw"})
    elif fault == "singular":
        meta(folder / "a.mha", voxels, "1 0 0 1 0 0 0 0 1")
    elif fault == "singular nrrd":
        nrrd(folder / "a.nrrd", voxels, "(1,0,0) (1,0,0) (0,0,3)")
    elif fault == "long direction":
        meta(folder / "a.mha", voxels, "2 0 0 0 1 0 0 0 1")
    elif fault == "nan direction":
        meta(folder / "a.mha", voxels, "nan 0 0 0 1 0 0 0 1")
    elif fault == "no side":
        meta(folder / "a.mha", voxels, spacing="1 0 3")
    elif fault == "no direction":
        meta(folder / "a.mha", voxels, None)
    elif fault == "no space":
        nrrd(folder / "a.nrrd", voxels)
        text = (folder / "a.nrrd").read_bytes()
        space = b"space: left-posterior-superior"
        (folder / "a.nrrd").write_bytes(text.replace(space, b"space dimension: 3"))
    elif fault == "other space":
        nrrd(folder / "a.nrrd", voxels, space="3D-right-handed")
    elif fault == "field":
        nrrd(folder / "a.nrrd", voxels, **{"patient Doe^Jane": 1})
    elif fault == "other bytes":
        (folder / "a.nrrd").write_bytes(b"Doe^Jane" * 100)
    elif fault == "empty":
        (folder / "a.mha").write_bytes(b"")
    elif fault == "no pair":
        (folder / "a.hdr").write_bytes(b"ENVI Doe^Jane" * 100)
        (folder / "a.img").write_bytes(b"ENVI")


DAMAGED = {
    "nan": "1 NaN",
    "constant": "constant",
    "4D": r"4D \(5, 6, 7, 2\), not one 3D volume",
    "2D": "2D",
    "truncated mha": "no readable",
    "truncated mha packed": "no readable",
    "truncated mhd": "no readable",
    "truncated nrrd": "no readable",
    "truncated nrrd packed": "no readable",
    "truncated nhdr": "no readable",
    "truncated hdr": "no readable Analyze or NIfTI pair",
    "missing mhd": "data file that is not there.*'ElementDataFile'",
    "missing nhdr": "data file that is not there.*'data file'",
    "missing hdr": "no .img beside it",
    "renamed": "data file that is not there",
    "renamed nhdr": "data file that is not there",
    "singular": "directions in its header",
    "singular nrrd": "directions in its header",
    "long direction": "directions in its header",
    "nan direction": "directions in its header",
    "no side": "spacing of 0",
    "no direction": "no TransformMatrix.*'acquired'",
    "no space": "no space of the patient.*'acquired'",
    "other space": "no space of the patient",
    "field": "no readable MetaImage or NRRD",
    "other bytes": "no readable MetaImage or NRRD",
    "empty": "no readable MetaImage or NRRD",
    "no pair": "no readable Analyze or NIfTI pair",
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_file_that_cannot_be_used_is_named_without_its_header(
    tmp_path, fault, capfd, caplog, recwarn
):
    damaged(tmp_path, fault)
    with caplog.at_level(logging.DEBUG):
        source = itk(root=str(tmp_path))
        with pytest.raises(DataError, match=rf"a\.\w+: .*{DAMAGED[fault]}") as caught:
            source[0]
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    shown += "".join(str(warning.message) for warning in recwarn)
    assert "Doe" not in shown + "".join(capfd.readouterr())


def test_what_a_header_leaves_open_is_read_as_acquired(tmp_path):
    meta(tmp_path / "a.mha", scan().transpose(2, 1, 0).copy(), None)
    read = itk(root=str(tmp_path), orientation="acquired")
    np.testing.assert_array_equal(read[0]["image"][..., 0], scan().T)


def test_a_size_that_would_take_all_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_LARGE", 2**21)
    nrrd(tmp_path / "a.nrrd", scan(), sizes="5000 6000 7000", encoding="gzip")
    meta(tmp_path / "b.mha", scan(), DimSize="5000 6000 7000", CompressedData=True)
    for place in range(2):
        with pytest.raises(DataError, match="would unpack to"):
            itk(root=str(tmp_path))[place]


def test_a_mask_on_another_grid_is_named(tmp_path):
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.2
    write(tmp_path / "images/a.mha", scan(), OBLIQUE)
    write(tmp_path / "masks/a.nrrd", organs(), moved)
    read = itk(root=str(tmp_path / "images"), masks=str(tmp_path / "masks"))
    with pytest.raises(DataError, match="masks/a.nrrd: .*0.4 voxels away"):
        read[0]


def test_the_stamp_changes_with_the_data_file_and_not_with_its_absence(tmp_path):
    for suffix in ("mhd", "nhdr", "hdr"):
        write(tmp_path / f"{suffix}.{suffix}", scan())
    source = itk(root=str(tmp_path))
    for i in range(3):
        before = source.stamp(i)
        assert before == source.stamp(i)
        stem = source.name(i).split(".")[0]
        data = next(p for p in tmp_path.glob(f"{stem}.*") if p.name != source.name(i))
        data.write_bytes(data.read_bytes() + b"\0")
        assert source.stamp(i) != before
        data.unlink()
        assert source.stamp(i)
    write(tmp_path / "good.mha", scan())
    usable = skip_unusable(itk(root=str(tmp_path)), tmp_path / "skipped.csv")
    assert [usable.name(i) for i in range(len(usable))] == ["good.mha"]


def test_without_simpleitk_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[itk\]'"):
        itk(root=str(tmp_path))
