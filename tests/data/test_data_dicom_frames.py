"""Enhanced multi-frame DICOM: a file is a volume, as a series of its frames would be."""

import logging
import traceback

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import BETWEEN_MM, NORMAL, SECRETS, enhanced, item, pixels, write
from pydicom.dataset import Dataset
from pydicom.uid import (
    ParametricMapStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from medssl_jax.data.sources.dicom import dicom
from medssl_jax.errors import DataError

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # which pydicom 3.0 does not know


def save(data, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_frames_in_any_order_are_the_volume_of_the_series(tmp_path):
    stored, slopes = pixels(), np.array([1.0, 0.5, 2.0, 0.25, 3.0])
    write(tmp_path / "series", stored, slopes=slopes)
    save(enhanced(stored, [3, 0, 4, 2, 1], slopes), tmp_path / "frames/a")
    series, frames = (dicom(root=str(tmp_path / k))[0] for k in ("series", "frames"))
    np.testing.assert_array_equal(frames["image"], series["image"])
    np.testing.assert_allclose(frames["spacing_mm"], series["spacing_mm"])
    other = dicom(root=str(tmp_path / "frames"), orientation="RAI")[0]
    reference = frames["image"].transpose(2, 1, 0, 3)[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(other["image"], reference)


def converted(folder, path, kind):
    """Write a folder's series as highdicom does, a legacy converted file."""
    series = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    for data in series:
        for field in (
            *("PatientSex", "AccessionNumber", "StudyID", "StudyTime"),
            *("ReferringPhysicianName", "Modality", "Manufacturer"),
        ):
            if field not in data:
                setattr(data, field, "")
        data.Modality = "CT" if "CT" in kind.__name__ else "MR"
        data.SeriesNumber = data.InstanceNumber = 1
    made = kind(
        series,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    save(made, path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_legacy_converted_series_is_the_series(tmp_path):
    write(tmp_path / "series", pixels())
    kind = highdicom.legacy.LegacyConvertedEnhancedCTImage
    converted(tmp_path / "series", tmp_path / "one/a.dcm", kind)
    series, one = (dicom(root=str(tmp_path / k)) for k in ("series", "one"))
    assert one.name(0) == "a.dcm"
    np.testing.assert_array_equal(one[0]["image"], series[0]["image"])
    assert one[0]["spacing_mm"] == series[0]["spacing_mm"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_defaced_head_is_the_same_as_one_file(real_data, tmp_path):
    kind = highdicom.legacy.LegacyConvertedEnhancedMRImage
    converted(real_data / "dicom_t1", tmp_path / "a.dcm", kind)
    series, one = (
        dicom(root=str(root))[0] for root in (real_data / "dicom_t1", tmp_path)
    )
    np.testing.assert_array_equal(one["image"], series["image"])
    np.testing.assert_allclose(one["spacing_mm"], series["spacing_mm"], rtol=1e-6)


def test_each_file_is_a_volume_named_by_its_path(tmp_path):
    write(tmp_path / "a", pixels())
    for name, seed in (("IM1", 1), ("IM2.dcm", 2)):
        data = enhanced(pixels() // seed)
        data.SeriesInstanceUID = "1.2.3.9.7"  # of one series, and two volumes
        save(data, tmp_path / "a" / name)
    (tmp_path / "t.csv").write_text("path,label\na,0\na/IM2.dcm,1\na/IM1,0\n")
    source = dicom(root=str(tmp_path), labels=str(tmp_path / "t.csv"))
    assert source.names == ["a", "a/IM1", "a/IM2.dcm"]
    assert source.labels.tolist() == [0, 0, 1]
    expected = 2.0 * (pixels() // 2) - 1024
    np.testing.assert_array_equal(source[2]["image"][..., 0], expected)


def test_a_scale_that_is_said_once_holds_for_all_frames(tmp_path):
    data = enhanced(pixels())
    for frame in data.PerFrameFunctionalGroupsSequence:
        del frame.PixelValueTransformationSequence
    save(data, tmp_path / "none/a.dcm")
    image = dicom(root=str(tmp_path / "none"))[0]["image"][..., 0]
    np.testing.assert_array_equal(image, pixels())
    data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [
        item(RescaleSlope=3, RescaleIntercept=5)
    ]
    save(data, tmp_path / "shared/a.dcm")
    image = dicom(root=str(tmp_path / "shared"))[0]["image"][..., 0]
    np.testing.assert_array_equal(image, 3.0 * pixels() + 5)


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize(
    "storage", [SegmentationStorage, LABEL_MAP, ParametricMapStorage]
)
def test_a_segmentation_is_no_image(tmp_path, storage, meta):
    write(tmp_path / "ct", pixels())
    data = enhanced(pixels() % 2)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = storage
    if not meta:
        del data.file_meta.MediaStorageSOPClassUID
    data.preamble = bytes(128)
    data.save_as(tmp_path / "ct/seg.dcm", enforce_file_format=meta)
    assert dicom(root=str(tmp_path)).names == ["ct"]


def of_slices(count):
    """Return a number for each frame: two volumes, one behind the other."""
    return lambda i: {"FrameContentSequence": {"TemporalPositionIndex": i // count + 1}}


def spoilt(case):
    """Return a file that cannot be used."""
    stored = pixels(6)
    if case == "stacks":
        return enhanced(
            stored,
            groups=lambda i: {"FrameContentSequence": {"StackID": f"Doe {i // 3}"}},
        )
    if case == "times":
        return enhanced(stored, groups=of_slices(2))
    if case == "b-values":
        weights = [None, 1000.0]
        return enhanced(
            stored,
            groups=lambda i: {
                "MRDiffusionSequence": {"DiffusionBValue": weights[i % 2]}
            },
        )
    if case == "echoes":
        return enhanced(
            stored, groups=lambda i: {"MREchoSequence": {"EffectiveEchoTime": i % 3}}
        )
    data = enhanced(stored)
    frames = data.PerFrameFunctionalGroupsSequence
    if case == "twice":
        frames[4].PlanePositionSequence = frames[3].PlanePositionSequence
    if case == "no position":
        del frames[2].PlanePositionSequence
    if case == "no directions":
        del data.SharedFunctionalGroupsSequence
    if case == "empty":
        frames[2].PlanePositionSequence[0].ImagePositionPatient = ""
    if case == "fewer":
        del frames[5]
    if case == "film":
        del data.PerFrameFunctionalGroupsSequence
        data.SOPClassUID = UltrasoundMultiFrameImageStorage
        data.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    if case == "gap":
        place = NORMAL * 9 * BETWEEN_MM
        frames[5].PlanePositionSequence[0].ImagePositionPatient = [
            f"{x:.6f}" for x in place
        ]
    if case == "planes":
        turned = Dataset()
        turned.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        frames[1].PlaneOrientationSequence = [turned]
    if case == "colours":
        data.SamplesPerPixel = 3
    if case == "short":
        data.PixelData = data.PixelData[:-20]
    if case == "slope":
        frames[1].PixelValueTransformationSequence[0].RescaleSlope = 0
    if case == "no pixels":
        del data.PixelData
    return data


CASES = {
    "stacks": "holds several volumes: 2 stacks;.*dcm2niix",
    "times": "holds several volumes: 3 temporal positions",
    "b-values": "holds several volumes: 2 b-values",
    "echoes": "holds several volumes: 3 echo times",
    "twice": "1 of its slices lie where another one does",
    "no position": "frame 3 lies .* no ImagePositionPatient in a PlanePosition",
    "no directions": "frame 1 lies .* no ImageOrientationPatient in a PlaneOrient",
    "empty": "frame 3 lies .* no ImagePositionPatient",
    "fewer": "says of 5 frames where they lie, and has 6",
    "film": "multi-frame file that does not say where its frames lie.*dcm2niix",
    "gap": "has a gap: slices 5 and 6 of 6",
    "planes": "different planes",
    "colours": "3 samples per pixel",
    "short": "no readable DICOM",
    "slope": "RescaleSlope of 0",
    "no pixels": "has no PixelData",
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_used_is_named_without_its_header(
    tmp_path, case, capfd, caplog, recwarn
):
    save(spoilt(case), tmp_path / "study/a.dcm")
    write(tmp_path / "other", pixels())
    with caplog.at_level(logging.DEBUG):
        source = dicom(root=str(tmp_path))
        assert source.names == ["other", "study/a.dcm"]
        match = f"study/a.dcm: .*{CASES[case]}"
        with pytest.raises(DataError, match=match) as caught:
            source[1]
    out, err = capfd.readouterr()
    shown = "".join(traceback.format_exception(caught.value))
    shown += "".join(str(warning.message) for warning in recwarn)
    for secret in [*SECRETS, "Doe"]:
        assert secret not in shown + out + err + caplog.text


def test_a_number_of_frames_that_is_none_is_a_damaged_file(tmp_path, capfd, recwarn):
    save(enhanced(pixels(10)), tmp_path / "a.dcm")
    raw = (tmp_path / "a.dcm").read_bytes()
    place = raw.index(b"\x28\x00\x08\x00IS") + 8
    (tmp_path / "a.dcm").write_bytes(raw[:place] + b"Do" + raw[place + 2 :])
    with pytest.raises(DataError, match="a.dcm: is no readable DICOM") as caught:
        dicom(root=str(tmp_path))[0]
    shown = "".join(traceback.format_exception(caught.value))
    shown += "".join(str(warning.message) for warning in recwarn)
    assert "'Do'" not in shown + "".join(capfd.readouterr())
