"""DICOM SEG of a series: pixels, places, names, whose it is; read by highdicom."""

import importlib.util
import logging
import pickle
import traceback

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import DOWN, NORMAL, SECRETS, enhanced, pixels, write
from pydicom.pixels import pixel_array

from medssl_jax.data.sources.dicom import dicom
from medssl_jax.errors import ConfigError, DataError

NAMES = ["femur", "tibia", "patella"]
ORIENTATIONS = ("SPL", "RAI", "acquired")


def organs(source, classes=4, seed=3):
    """Return a mask for a source's record, some of its slices empty."""
    shape = source[0]["image"].shape[:-1]
    mask = np.random.RandomState(seed).randint(0, classes, shape).astype(np.uint8)
    mask[0] = 0
    return mask


def found(path, headers, classes):
    """Return the classes that a SEG has on each file, as highdicom reads them."""
    seg = highdicom.seg.segread(path)
    uids = [header.SOPInstanceUID for header in headers]
    return seg.get_pixels_by_source_instance(
        source_sop_instance_uids=uids,
        segment_numbers=range(1, classes + 1),
        assert_missing_frames_are_empty=True,
    )


def headers_along_the_normal(folder):
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    heights = [np.array(f.ImagePositionPatient, float) @ NORMAL for f in files]
    return [files[i] for i in np.argsort(heights)]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_mask_lies_pixel_by_pixel_on_the_series(tmp_path, orientation):
    write(tmp_path / "study/ct", pixels())
    source = dicom(root=str(tmp_path / "study"), orientation=orientation)
    source = pickle.loads(pickle.dumps(source))
    acquired = organs(dicom(root=str(tmp_path / "study"), orientation="acquired"))
    # the normal runs up, columns to the left, rows to the back: SPL already
    mask = acquired
    if orientation == "RAI":
        mask = acquired.transpose(2, 1, 0)[::-1, ::-1, ::-1]
    path = source.write_mask("ct", mask, tmp_path / "out", NAMES)
    assert path == tmp_path / "out/ct.dcm"
    headers = headers_along_the_normal(tmp_path / "study/ct")
    read = found(path, headers, 3)
    for k in range(3):
        np.testing.assert_array_equal(read[..., k], acquired == k + 1)


def test_frames_have_the_place_of_the_slice_that_they_refer_to(tmp_path):
    write(tmp_path / "ct", pixels())
    source = dicom(root=str(tmp_path))
    path = source.write_mask("ct", organs(source), tmp_path / "out", NAMES)
    seg = pydicom.dcmread(path)
    headers = {f.SOPInstanceUID: f for f in headers_along_the_normal(tmp_path / "ct")}
    shared = seg.SharedFunctionalGroupsSequence[0]
    first = next(iter(headers.values()))
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert orientation == first.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == first.PixelSpacing
    assert len(seg.PerFrameFunctionalGroupsSequence) == 3 * 4  # a slice is empty
    for frame in seg.PerFrameFunctionalGroupsSequence:
        derived = frame.DerivationImageSequence[0].SourceImageSequence[0]
        header = headers[derived.ReferencedSOPInstanceUID]
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, header.ImagePositionPatient)
    assert seg.FrameOfReferenceUID == "1.2.3.9.0" and seg.StudyInstanceUID == "1.2.3.9"
    assert seg.SeriesInstanceUID not in ("", "1.2.3.9.1")
    referred = seg.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == "1.2.3.9.1"
    uids = [
        item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence
    ]
    assert set(uids) == set(headers)


def test_it_is_binary_and_its_segments_have_names_and_colours(tmp_path):
    write(tmp_path, pixels())
    source = dicom(root=str(tmp_path))
    names = ["femur", "Ödem " + 30 * "lang "]
    path = source.write_mask(".", organs(source), tmp_path / "out", names)
    assert path == tmp_path / "out/_root.dcm"
    seg = pydicom.dcmread(path)
    assert (seg.SegmentationType, seg.BitsAllocated, seg.Modality) == (
        "BINARY",
        1,
        "SEG",
    )
    labels = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert labels == ["femur", names[1][:63].strip(), "class 3"]
    colours = [tuple(s.RecommendedDisplayCIELabValue) for s in seg.SegmentSequence]
    assert len(set(colours)) == 3


def test_regions_that_overlap_are_segments_of_their_own(tmp_path):
    write(tmp_path / "ct", pixels())
    source = dicom(root=str(tmp_path))
    mask = organs(source)
    regions = np.stack([mask > 0, mask > 1], axis=-1)
    path = source.write_mask("ct", regions, tmp_path / "out", ["whole", "core"])
    read = found(path, headers_along_the_normal(tmp_path / "ct"), 2)
    np.testing.assert_array_equal(read, regions)


def test_nothing_found_is_a_segmentation_too(tmp_path):
    write(tmp_path / "ct", pixels())
    source = dicom(root=str(tmp_path))
    mask = np.zeros(source[0]["image"].shape[:-1], np.uint8)
    path = source.write_mask("ct", mask, tmp_path / "out", NAMES)
    seg = highdicom.seg.segread(path)
    assert seg.number_of_segments == 3 and not pixel_array(seg).any()


def separate_scales(data):
    """Give each frame what could be shared."""
    shared = data.SharedFunctionalGroupsSequence[0]
    for group in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        for frame in data.PerFrameFunctionalGroupsSequence:
            setattr(frame, group, shared[group].value)
        delattr(shared, group)


@pytest.mark.parametrize("shared", [True, False])
def test_a_mask_lies_on_the_frames_of_an_enhanced_file(tmp_path, shared):
    order = [3, 0, 4, 2, 1]
    data = enhanced(pixels(), order)
    if not shared:
        separate_scales(data)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    source = dicom(root=str(tmp_path))
    mask = organs(source)
    path = source.write_mask("a.dcm", mask, tmp_path / "out", NAMES)
    assert path == tmp_path / "out/a.dcm"
    seg = highdicom.seg.segread(path)
    read = seg.get_pixels_by_source_frame(
        data.SOPInstanceUID,
        range(1, 6),
        segment_numbers=[1, 2, 3],
        assert_missing_frames_are_empty=True,
    )
    for k in range(3):
        np.testing.assert_array_equal(read[..., k], mask[order] == k + 1)


def real(data, i):
    """What scanners write: rounded directions, and not all that is optional."""
    data.ImageOrientationPatient = [x + 1e-6 * i for x in data.ImageOrientationPatient]
    del data.SliceThickness


def tilted(data, i):
    position = np.array(data.ImagePositionPatient, float)
    position += 0.3 * (position @ NORMAL) * DOWN
    data.ImagePositionPatient = [f"{x:.6f}" for x in position]


@pytest.mark.parametrize("change", [real, tilted])
def test_series_as_scanners_write_them_are_laid_over(tmp_path, change):
    write(tmp_path / "ct", pixels())
    for i, path in enumerate(sorted((tmp_path / "ct").iterdir())):
        data = pydicom.dcmread(path)
        change(data, i)
        data.save_as(path)
    source = dicom(root=str(tmp_path))
    mask = organs(source)
    path = source.write_mask("ct", mask, tmp_path / "out", NAMES)
    read = found(path, headers_along_the_normal(tmp_path / "ct"), 3)
    np.testing.assert_array_equal(read @ [1, 2, 3], mask)


OWNED = {
    "PatientID": "PID-4711",
    "PatientBirthDate": "19660401",
    "PatientSex": "O",
    "AccessionNumber": "A 1",
    "StudyDate": "20200102",
    "StudyTime": "101112.5",
    "StudyID": "7",
    "ReferringPhysicianName": "Roe^Jane",
    "PatientIdentityRemoved": "NO",
}


def owned(folder, **fields):
    write(folder, pixels())
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        for field, value in fields.items():
            setattr(data, field, value)
        data.save_as(path)


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 100", "Müller^Jürgen"),
    ],
)
def test_it_is_its_patients_and_no_other_text_is_copied(
    tmp_path, caplog, capfd, characters, name
):
    fields = OWNED | {"PatientName": name}
    others = {"SpecificCharacterSet": characters, "ImageComments": "left knee"}
    owned(tmp_path / "ct", **others, **fields)
    source = dicom(root=str(tmp_path))
    names = ["Λ", *NAMES[1:]]  # which only one of the three can write
    with caplog.at_level(logging.DEBUG):
        path = source.write_mask("ct", organs(source), tmp_path / "out", names)
    seg = pydicom.dcmread(path)
    for field, value in fields.items():
        assert str(seg[field].value) == value
    assert seg.SegmentSequence[0].SegmentLabel == "Λ"
    raw = path.read_bytes()
    for text in ("Saint Nowhere", "knee"):  # the institution, comments, descriptions
        assert text.encode() not in raw
    shown = caplog.text + "".join(capfd.readouterr())
    assert pydicom.uid.PYDICOM_ROOT_UID not in shown  # of every file's name
    secrets = [*SECRETS, *fields.values()]
    assert not any(text in shown for text in secrets if len(text) > 3)
    assert "copied" in source.mask_note


def test_an_owner_that_the_standard_would_refuse_is_copied_and_not_shown(
    tmp_path, caplog, capfd, recwarn
):
    with pydicom.config.disable_value_validation():
        odd = {"PatientSex": "unknown", "PatientName": "Doe Jane", "StudyDate": "2020"}
        owned(tmp_path / "ct", **odd)
        source = dicom(root=str(tmp_path))
    with caplog.at_level(logging.DEBUG):
        path = source.write_mask("ct", organs(source), tmp_path / "out", NAMES)
    with pydicom.config.disable_value_validation():
        seg = pydicom.dcmread(path)
        assert {field: str(seg[field].value) for field in odd} == odd
        assert seg.AccessionNumber == ""  # has to be there, and may be empty
    shown = caplog.text + "".join(capfd.readouterr())
    assert "Doe" not in shown + "".join(str(w.message) for w in recwarn)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("FrameOfReferenceUID", None, r"ct/.*\.dcm: has no FrameOfReferenceUID"),
        ("StudyInstanceUID", None, r"ct/.*\.dcm: has no StudyInstanceUID"),
        ("FrameOfReferenceUID", "1.2.3.9.8", "ct: its files have several FrameOf"),
    ],
)
def test_a_series_that_no_seg_can_refer_to_is_named(tmp_path, field, value, reason):
    write(tmp_path / "ct", pixels())
    path = min((tmp_path / "ct").iterdir())
    data = pydicom.dcmread(path)
    if value is None:
        delattr(data, field)
    else:
        setattr(data, field, value)
    data.save_as(path)
    source = dicom(root=str(tmp_path))
    with pytest.raises(DataError, match=reason) as caught:
        source.write_mask("ct", organs(source), tmp_path / "out", NAMES)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(secret in shown for secret in SECRETS)
    assert not (tmp_path / "out").exists()


def test_without_highdicom_it_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path / "ct", pixels())
    source = dicom(root=str(tmp_path))
    mask = organs(source)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[dicom\]'"):
        source.write_mask("ct", mask, tmp_path / "out", NAMES)


def test_the_masks_of_a_run_below_its_scans_are_no_scans(tmp_path):
    write(tmp_path / "ct", pixels())
    source = dicom(root=str(tmp_path))
    source.write_mask("ct", organs(source), tmp_path / "masks", NAMES)
    assert dicom(root=str(tmp_path)).names == ["ct"]


def test_a_mask_lies_on_the_defaced_head(real_data, tmp_path):
    root = real_data / "dicom_t1"
    source = dicom(root=str(root))
    image = source[0]["image"][..., 0]
    dark, bright = np.percentile(image, [70, 95])
    mask = (image > dark).astype(np.uint8) + (image > bright)
    path = source.write_mask(".", mask, tmp_path, ["tissue", "bright"])
    headers = [pydicom.dcmread(file) for file in sorted(root.iterdir())]
    read = found(path, headers, 2)
    for header, one in zip(headers, read, strict=True):
        # by the files' own pixels
        stored = header.pixel_array
        np.testing.assert_array_equal(one[..., 0], (stored > dark) & (stored <= bright))
        np.testing.assert_array_equal(one[..., 1], stored > bright)
