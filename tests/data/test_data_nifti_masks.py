"""NIfTI volumes with masks: pairs, one grid, channels, and masks written back."""

import csv
import pickle

import nibabel as nib
import numpy as np
import pytest

from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.sources.nifti import nifti
from medssl_jax.errors import ConfigError, DataError

SHAPE = (5, 6, 7)
TURN = np.deg2rad(10)
OBLIQUE = np.array(  # i runs to P, j to S, k to L, turned by ten degrees; 2, .5, 3 mm
    [
        [0, 0, -3, 10],
        [-2 * np.cos(TURN), 0.5 * np.sin(TURN), 0, 20],
        [2 * np.sin(TURN), 0.5 * np.cos(TURN), 0, -30],
        [0, 0, 0, 1],
    ]
)
AFFINES = {
    "axial": np.diag([-1.0, -1, 3, 1]),
    "sagittal": np.array([[0.0, 0, 4, -9], [-1, 0, 0, 7], [0, -1, 0, 5], [0, 0, 0, 1]]),
    "flipped": np.diag([1.0, 1, -2.5, 1]),
    "oblique": OBLIQUE,
}


def scan(seed=0, shape=SHAPE):
    return np.random.RandomState(seed).randint(0, 500, shape).astype(np.int16)


def organs(seed=1, shape=SHAPE, dtype=np.uint8):
    return np.random.RandomState(seed).randint(0, 4, shape).astype(dtype)


def write(path, data, affine=AFFINES["axial"], kind=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(data, affine), path)


def case(folder, mask, name="a", affine=AFFINES["axial"]):
    """Write an image and a mask of its; return the source."""
    write(folder / f"images/{name}.nii.gz", scan())
    write(folder / f"masks/{name}.nii.gz", mask, affine)
    return source(folder)


def source(folder, masks="masks", **settings):
    root = folder / settings.pop("below", "images")
    return nifti(root=str(root), masks=str(folder / masks), **settings)


def test_a_mask_is_turned_as_its_image(tmp_path):
    data, mask = scan(), organs()
    write(tmp_path / "images/a.nii.gz", data, OBLIQUE)
    write(tmp_path / "masks/a.nii.gz", mask, OBLIQUE)
    record = source(tmp_path)[0]
    # (i, j, k) = (P, S, L) by construction: slices j, rows i, columns k
    np.testing.assert_array_equal(record["mask"], np.transpose(mask, (1, 0, 2)))
    np.testing.assert_array_equal(record["image"][..., 0], data.transpose(1, 0, 2))
    assert record["mask"].dtype == np.uint8
    flipped = source(tmp_path, orientation="IAR")[0]
    np.testing.assert_array_equal(flipped["mask"], record["mask"][::-1, ::-1, ::-1])
    acquired = source(tmp_path, orientation="acquired")[0]
    np.testing.assert_array_equal(acquired["mask"], mask.T)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("orientation", ["SPL", "RAI", "acquired"])
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_mask_comes_back_as_its_file_was(tmp_path, affine, orientation, kind):
    write(tmp_path / "images/b/a.nii", scan(), affine, kind)
    write(tmp_path / "masks/b/a.nii.gz", organs(), affine, kind)
    read = source(tmp_path, orientation=orientation)
    read = pickle.loads(pickle.dumps(read))
    path = read.write_mask(read.name(0), read[0]["mask"], tmp_path / "out")
    assert path == tmp_path / "out/b/a.nii.gz"
    written, image = nib.load(path), nib.load(tmp_path / "images/b/a.nii")
    assert type(written) is kind and written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), organs())
    np.testing.assert_array_equal(written.affine, image.affine)
    for code in ("qform_code", "sform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(written.header[code], image.header[code])


def test_a_written_mask_has_the_images_geometry_and_none_of_its_texts(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_qform(OBLIQUE, code=1)  # and no sform: scanners write one of the two
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = b"Doe^Jane"
    (tmp_path / "images").mkdir()
    image = nib.Nifti1Image(scan(), header.get_best_affine(), header)
    nib.save(image, tmp_path / "images/a.nii.gz")
    read = nifti(root=str(tmp_path / "images"))
    path = read.write_mask("a.nii.gz", np.zeros((6, 5, 7), int), tmp_path)
    written, image = nib.load(path), nib.load(tmp_path / "images/a.nii.gz")
    assert written.shape == image.shape
    assert written.get_qform(coded=True)[1] == 1
    assert written.get_sform(coded=True)[1] == image.get_sform(coded=True)[1] == 0
    np.testing.assert_array_equal(written.affine, image.affine)
    assert b"Doe" not in written.header.binaryblock


def test_overlapping_regions_are_written_as_a_fourth_axis(tmp_path):
    read = case(tmp_path, organs())
    mask = read[0]["mask"]
    regions = np.stack([mask > 0, mask > 1], axis=-1)
    written = nib.load(read.write_mask("a.nii.gz", regions, tmp_path / "out"))
    expected = np.stack([organs() > 0, organs() > 1], axis=-1)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), expected)


def test_masks_are_paired_by_name(tmp_path):
    # in their folder the masks of x_0 and x come in another order than the images
    names = ["x_0000.nii", "b/x.nii.gz", "y_0000.nii.gz", "z_1.NII", "x_0.nii"]
    for seed, name in enumerate(names):
        write(tmp_path / "images" / name, scan())
        other = name.replace("_0000", "").replace(".gz", "").lower() + ".gz"
        write(tmp_path / "masks" / other, organs(seed))
    read = source(tmp_path, orientation="acquired")
    assert read.names == [names[i] for i in (1, 4, 0, 2, 3)]
    for place, seed in enumerate([1, 4, 0, 2, 3]):
        np.testing.assert_array_equal(read[place]["mask"], organs(seed).T)


def test_masks_below_the_images_are_no_images(tmp_path):
    write(tmp_path / "a.nii", scan())
    write(tmp_path / "seg/a.nii", organs())
    assert source(tmp_path, "seg", below="").names == ["a.nii"]
    with pytest.raises(ConfigError, match="data.masks .* is data.root"):
        source(tmp_path, "", below="")


def table(folder, *rows):
    folder.mkdir(exist_ok=True)
    with open(folder / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_masks_are_paired_by_a_table_that_has_patients_too(tmp_path):
    for seed, name in enumerate("abc"):
        write(tmp_path / f"{name}/t1.nii", scan())
        write(tmp_path / f"{name}/seg.nii", organs(seed))
    rows = [(f"{n}/t1.nii", f"{n}/seg.nii", f"p{n}", n < "c") for n in "cba"]
    table(tmp_path, ("path", "mask", "patient", "train"), *rows)
    chosen = {"below": "", "orientation": "acquired", "only": "train=True"}
    read = source(tmp_path, "pairs.csv", **chosen)
    assert read.names == ["a/t1.nii", "b/t1.nii"]
    assert read.patients == ["pa", "pb"]
    np.testing.assert_array_equal(read[1]["mask"], organs(1).T)
    with pytest.raises(ConfigError, match="data.labels"):
        source(tmp_path, "pairs.csv", labels="other.csv", **chosen)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("path", "patient"), ("a.nii", "p")], "no column 'mask'"),
        ([("path", "mask"), ("a.nii", "")], "1 image.* without a mask: 'a.nii'"),
        ([("path", "mask"), ("a.nii", "")], "data.unmasked=keep"),
        ([("path", "mask"), ("a.nii", "m.nii")], r"1 mask.* not in .*'m\.nii'"),
        ([("path", "mask"), ("b.nii", "a.nii")], r"1 row.*without a file: 'b\.nii'"),
    ],
)
def test_a_table_that_pairs_nothing_is_named(tmp_path, rows, reason):
    write(tmp_path / "a.nii", scan())
    table(tmp_path, *rows)
    with pytest.raises(DataError, match=f"pairs.csv: .*{reason}"):
        source(tmp_path, "pairs.csv", below="")


def test_images_and_masks_without_each_other_are_named(tmp_path):
    for name in "abcde":
        write(tmp_path / f"images/{name}.nii", scan())
        write(tmp_path / f"masks/{name}.nii", organs())
    (tmp_path / "masks/a.nii").unlink()
    with pytest.raises(DataError, match=r"1 image.*without a mask: 'a\.nii'"):
        source(tmp_path)
    kept = source(tmp_path, unmasked="keep")
    assert not kept.has_masks and kept.masked.tolist() == [False] + [True] * 4
    assert ["mask" in kept[i] for i in range(5)] == kept.masked.tolist()
    before = kept.stamp(0)
    write(tmp_path / "masks/a.nii", organs())
    whole = source(tmp_path, unmasked="keep")
    assert whole.has_masks and whole.masked is None and whole.stamp(0) != before
    (tmp_path / "masks/a.nii").unlink()
    with pytest.raises(ConfigError, match="unmasked 'drop' is unknown: raise or keep"):
        source(tmp_path, unmasked="drop")
    for name in "abcd":
        (tmp_path / f"images/{name}.nii").unlink()
    with pytest.raises(DataError, match="3 mask.*without an image.*'b', 'c', 'd'"):
        source(tmp_path)
    write(tmp_path / "images/e_0000.nii", scan())
    for name in "bcd":
        (tmp_path / f"masks/{name}.nii").unlink()
    with pytest.raises(DataError, match="1 name.* several images have: 'e'"):
        source(tmp_path)
    with pytest.raises(DataError, match="nowhere: .*data.masks"):
        source(tmp_path, "nowhere")


def spoilt(fault):
    """Return a mask that cannot be used, and its affine."""
    mask, affine = organs(), AFFINES["axial"].copy()
    if fault == "shape":
        mask = mask[:-1]
    elif fault == "transposed":
        mask = mask.transpose(2, 1, 0)
    elif fault == "flipped":
        affine = np.diag([1.0, -1, 3, 1])
    elif fault == "spacing":
        affine = np.diag([-1.0, -1, 3.2, 1])
    elif fault == "elsewhere":
        affine[0, 3] += 0.2
    else:
        values = {"fraction": 0.5, "nan": np.nan, "negative": -1, "many": 256}
        mask = mask.astype(np.float32)
        mask[1, 2, 3] = values[fault]
    return mask, affine


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("shape", r"mask of \(4, 6, 7\), and its image has \(5, 6, 7\)"),
        ("transposed", r"mask of \(7, 6, 5\)"),
        ("flipped", "axes run to RPS, those of its image to LPS"),
        ("spacing", "spacing is 1 x 1 x 3.2 mm, that of its image 1 x 1 x 3 mm"),
        ("elsewhere", "up to 0.2 voxels away"),
        ("fraction", "fractions, such as 0.5"),
        ("nan", "1 NaN"),
        ("negative", "values from -1 to 3"),
        ("many", "values from 0 to 256"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(tmp_path, fault, reason):
    mask, affine = spoilt(fault)
    read = case(tmp_path, mask, affine=affine)
    with pytest.raises(DataError, match=f"masks/a.nii.gz: .*{reason}"):
        read[0]


def test_rounded_headers_are_one_grid_and_background_alone_is_a_mask(tmp_path):
    affine = AFFINES["axial"] + 1e-3
    record = case(tmp_path, np.zeros(SHAPE, np.float32), affine=affine)[0]
    assert not record["mask"].any() and record["mask"].dtype == np.uint8


def test_files_that_say_no_orientation_are_compared_by_spacing(tmp_path):
    read = case(tmp_path, organs(), affine=None)
    with pytest.raises(DataError, match="spacing is 1 x 1 x 1 mm"):
        read[0]
    write(tmp_path / "images/a.nii.gz", scan(), None)
    acquired = source(tmp_path, orientation="acquired")
    np.testing.assert_array_equal(acquired[0]["mask"], organs().T)


def test_a_case_whose_mask_is_damaged_can_be_skipped(tmp_path):
    for name in "abc":
        case(tmp_path, organs(), name)
    (tmp_path / "masks/b.nii.gz").write_bytes(b"no image")
    usable = skip_unusable(source(tmp_path), tmp_path / "skipped.csv")
    assert [usable.name(i) for i in range(2)] == ["a.nii.gz", "c.nii.gz"]
    assert len(usable) == 2


def test_channels_are_the_fourth_axis(tmp_path):
    data = scan(shape=(*SHAPE, 4))
    write(tmp_path / "images/a.nii.gz", data, OBLIQUE)
    write(tmp_path / "masks/a.nii.gz", organs(), OBLIQUE)
    image = source(tmp_path, channels=4)[0]["image"]
    np.testing.assert_array_equal(image, data.transpose(1, 0, 2, 3))
    write(tmp_path / "images/a.nii.gz", data[..., None, :], OBLIQUE)  # as vectors
    vectors = source(tmp_path, channels=4)[0]["image"]
    np.testing.assert_array_equal(vectors, image)


def test_channels_that_differ_between_cases_are_named_with_both_numbers(tmp_path):
    write(tmp_path / "a.nii", scan(shape=(*SHAPE, 3)))
    write(tmp_path / "b.nii", scan())
    for place, name, count in ((0, "a", 3), (1, "b", 1)):
        with pytest.raises(DataError, match=rf"{name}\.nii: has {count} .* and 4 are"):
            nifti(root=str(tmp_path), channels=4)[place]
    with pytest.raises(ConfigError, match="data.channels is 0"):
        nifti(root=str(tmp_path), channels=0)


def test_the_stamp_changes_with_the_mask_and_without_masks(tmp_path):
    read = case(tmp_path, organs())
    before = read.stamp(0)
    assert before == source(tmp_path).stamp(0)
    assert before != nifti(root=str(tmp_path / "images")).stamp(0)
    write(tmp_path / "masks/a.nii.gz", organs(2, (*SHAPE[:2], 9)))
    assert before != read.stamp(0)
    (tmp_path / "masks/a.nii.gz").unlink()
    with pytest.raises(DataError, match="masks/a.nii.gz"):
        read.stamp(0)


def test_the_decathlons_masks_are_read_as_nibabel_reads_them(real_data):
    root = real_data / "msd_hippocampus"
    read = source(root, "labelsTr", below="imagesTr")
    for i in (0, 57, 199):
        closest = nib.as_closest_canonical(nib.load(root / "labelsTr" / read.name(i)))
        reference = np.transpose(closest.get_fdata(), (2, 1, 0))[:, ::-1, ::-1]
        np.testing.assert_array_equal(read[i]["mask"], reference)
