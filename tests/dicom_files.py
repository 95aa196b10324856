"""DICOM files full of what must not be seen again: series, and enhanced ones."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

SECRETS = [
    "Doe^Jane",
    "PID-4711",
    "19660401",
    "Saint Nowhere",
    "knee of Jane",
    "1.2.3.9",
]
# rows of pixels run to a little off L, columns to a little off P: oblique axial slices
ANGLE = np.deg2rad(10)
ACROSS = np.array([np.cos(ANGLE), np.sin(ANGLE), 0])
DOWN = np.array([-np.sin(ANGLE) * 0.96, np.cos(ANGLE) * 0.96, -0.28])
NORMAL = np.cross(ACROSS, DOWN)
BETWEEN_MM, ROWS_MM, COLUMNS_MM = 2.5, 0.5, 0.75


def header(series="1"):
    """Return a header full of what must not be seen again."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID = "Doe^Jane", "PID-4711"
    data.PatientBirthDate = data.StudyDate = "19660401"
    data.InstitutionName = "Saint Nowhere"
    data.SeriesDescription = data.StudyDescription = "knee of Jane"
    data.SeriesInstanceUID = f"1.2.3.9.{series}"
    data.StudyInstanceUID = "1.2.3.9"
    data.FrameOfReferenceUID = "1.2.3.9.0"
    return data


def slice_file(stored, height_mm, series="1", **changes):
    """Return one CT slice of `stored` pixels, `height_mm` up the normal."""
    data = header(series)
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.ImageOrientationPatient = [f"{x:.8f}" for x in (*ACROSS, *DOWN)]
    data.ImagePositionPatient = [f"{x:.6f}" for x in NORMAL * height_mm]
    data.PixelSpacing = [ROWS_MM, COLUMNS_MM]
    data.SliceThickness = 99.0
    data.RescaleSlope, data.RescaleIntercept = 2, -1024
    data.PixelData = stored.astype("<u2").tobytes()
    for field, value in changes.items():
        if value is None:
            delattr(data, field)
        else:
            setattr(data, field, value)
    return data


def pixels(count=5, rows=4, columns=6):
    return np.random.RandomState(0).randint(0, 4096, (count, rows, columns))


def write(folder, stored, suffix=".dcm", series="1", slopes=None, **changes):
    """Write a series in an order on disk that is not that of its slices."""
    folder.mkdir(parents=True, exist_ok=True)
    shuffled = np.random.RandomState(1).permutation(len(stored))
    for number, i in enumerate(shuffled):
        data = slice_file(stored[i], i * BETWEEN_MM, series, **changes)
        data.RescaleSlope = data.RescaleSlope if slopes is None else slopes[i]
        path = folder / f"{series}-{number:03d}{suffix}"
        data.save_as(path, enforce_file_format=True)
    return shuffled


def enhanced(stored, order=None, slopes=None, groups=None, **changes):
    """Return an enhanced MR file of frames in an order on disk, each with its scale.

    groups: of frame i, what its functional groups have beside its place and scale.
    """
    order = range(len(stored)) if order is None else order
    data = slice_file(stored[0], 0.0)
    for uid in ("SOPClassUID", "file_meta.MediaStorageSOPClassUID"):
        owner = data.file_meta if "." in uid else data
        setattr(owner, uid.split(".")[-1], EnhancedMRImageStorage)
    del data.ImageOrientationPatient, data.ImagePositionPatient, data.PixelSpacing
    del data.RescaleSlope, data.RescaleIntercept, data.SliceThickness
    data.NumberOfFrames = len(stored)
    data.PixelData = stored[list(order)].astype("<u2").tobytes()
    shared = Dataset()
    shared.PlaneOrientationSequence = [
        item(ImageOrientationPatient=[f"{x:.8f}" for x in (*ACROSS, *DOWN)])
    ]
    shared.PixelMeasuresSequence = [item(PixelSpacing=[ROWS_MM, COLUMNS_MM])]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for i in order:
        frame = item(
            PlanePositionSequence=[
                item(ImagePositionPatient=[f"{x:.6f}" for x in NORMAL * i * BETWEEN_MM])
            ],
            PixelValueTransformationSequence=[
                item(
                    RescaleSlope=2 if slopes is None else slopes[i],
                    RescaleIntercept=-1024,
                )
            ],
            FrameContentSequence=[item(StackID="1", FrameComments="Doe^Jane")],
        )
        frames.append(frame)
        for sequence, fields in (groups(i) if groups else {}).items():
            setattr(frame, sequence, [item(**fields)])
    data.PerFrameFunctionalGroupsSequence = frames
    for field, value in changes.items():
        setattr(data, field, value)
    return data


def item(**fields):
    found = Dataset()
    for field, value in fields.items():
        setattr(found, field, value)
    return found
