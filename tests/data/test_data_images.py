"""2D images from folders: what each format holds, and what cannot be used."""

import io
import pickle
import struct
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from medssl_jax.data.cache import Cached
from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.host import HostTransform, Prepare
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.sources.dicom import dicom
from medssl_jax.data.sources.images import images
from medssl_jax.errors import ConfigError, DataError

RNG = np.random.RandomState(0)
GREY = RNG.randint(0, 256, (5, 7)).astype(np.uint8)
COLOUR = RNG.randint(0, 256, (5, 7, 3)).astype(np.uint8)
DEEP = RNG.randint(0, 65536, (5, 7)).astype(np.uint16)
SECRETS = ("Doe^Jane", "PID-4711", "Saint Nowhere")


def read(folder, **settings):
    return images(root=str(folder), **settings)[0]["image"]


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def radiograph(stored, **changes):
    """Return a DICOM image of `stored` that lies nowhere, full of secrets."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID, data.InstitutionName = SECRETS
    data.Rows, data.Columns = stored.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.PixelData = stored.astype("<u2").tobytes()
    for field, value in changes.items():
        setattr(data, field, value)
    return data


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def chunk(kind, content):
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(rows, columns, depth, colour, lines):
    """Return a PNG written by hand; `lines` are its unfiltered rows."""
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + line for line in lines))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_every_image_below_the_folder_is_an_example_by_its_path(tmp_path):
    save(tmp_path / "b/x.PNG", GREY)
    save(tmp_path / "a.jpeg", GREY)
    write(tmp_path / "c/y.dcm", radiograph(GREY))
    write(tmp_path / "c/1.2.840.3", radiograph(GREY))  # as archives name them
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    source = images(root=str(tmp_path))
    names = [source.name(i) for i in range(len(source))]
    assert names == ["a.jpeg", "b/x.PNG", "c/1.2.840.3", "c/y.dcm"]
    assert [source[i]["image"].shape for i in range(4)] == [(5, 7, 1)] * 4
    assert source.labels is None and source.patients is None


def test_grey_png_keeps_its_values(tmp_path):
    save(tmp_path / "x.png", GREY)
    image = read(tmp_path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[..., 0], GREY)


def test_16_bits_stay_16_bits(tmp_path):
    lines = [row.astype(">u2").tobytes() for row in DEEP]
    (tmp_path / "x.png").write_bytes(png(5, 7, 16, 0, lines))
    image = read(tmp_path)
    np.testing.assert_array_equal(image[..., 0], DEEP)
    np.testing.assert_array_equal(read(tmp_path, channels="rgb")[..., 2], DEEP)
    prepared = Prepare(2, None, "hu", window_hu=(0, 65535))({"image": image})["image"]
    np.testing.assert_allclose(prepared[..., 0], DEEP / 65535, atol=1e-3)


def test_one_bit_is_black_and_white(tmp_path):
    save(tmp_path / "x.png", np.where(GREY > 99, 255, 0).astype(np.uint8), "1")
    np.testing.assert_array_equal(read(tmp_path)[..., 0], (GREY > 99) * 255)


def test_colours_of_files_and_of_palettes_are_rgb(tmp_path):
    save(tmp_path / "a/x.png", COLOUR)
    np.testing.assert_array_equal(read(tmp_path / "a", channels="rgb"), COLOUR)
    palette = Image.frombytes("P", (7, 5), (GREY % 4).tobytes())
    table = np.array([[9, 8, 7], [0, 255, 0], [1, 2, 3], [200, 100, 0]], np.uint8)
    palette.putpalette(table.tobytes())
    (tmp_path / "b").mkdir()
    palette.save(tmp_path / "b/x.png")
    np.testing.assert_array_equal(read(tmp_path / "b", channels="rgb"), table[GREY % 4])


@pytest.mark.parametrize("count, name", [(1, "grey"), (3, "rgb")])
def test_channels_can_be_counted(tmp_path, count, name):
    save(tmp_path / "x.png", GREY)
    by_count, by_name = (images(root=str(tmp_path), channels=c) for c in (count, name))
    np.testing.assert_array_equal(by_count[0]["image"], by_name[0]["image"])
    assert by_count[0]["image"].shape[-1] == count
    assert by_count.stamp(0) == by_name.stamp(0)  # one entry in the cache


def test_grey_among_colours_is_repeated(tmp_path):
    save(tmp_path / "x.png", GREY)
    image = read(tmp_path, channels="rgb")
    np.testing.assert_array_equal(image, np.stack([GREY] * 3, axis=-1))


def test_colours_among_grey_are_an_error_naming_the_file(tmp_path):
    save(tmp_path / "knee/x.png", COLOUR)
    with pytest.raises(DataError, match=r"knee/x\.png: .*colour.*data\.channels"):
        read(tmp_path)


def test_colours_are_turned_grey_on_request_as_pillow_does_it(tmp_path):
    save(tmp_path / "x.png", COLOUR)
    image = read(tmp_path, channels="turned_grey")
    expected = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert image.shape == (*expected.shape, 1) and image.dtype == np.uint8
    assert np.abs(image[..., 0].astype(int) - expected).max() <= 1  # its fixed point


def test_colours_that_are_all_grey_are_grey(tmp_path):
    save(tmp_path / "a/x.png", GREY, "RGB")
    np.testing.assert_array_equal(read(tmp_path / "a")[..., 0], GREY)
    save(tmp_path / "b/x.jpg", GREY, "RGB", quality=95)
    reference = np.asarray(Image.open(tmp_path / "b/x.jpg").convert("L"))
    np.testing.assert_array_equal(read(tmp_path / "b")[..., 0], reference)


@pytest.mark.parametrize("grey", [True, False])
def test_transparent_pixels_are_black_and_opaque_ones_as_they_are(tmp_path, grey):
    alpha = np.where(GREY > 99, 255, 0).astype(np.uint8)[..., None]
    pixels = GREY[..., None] if grey else COLOUR
    save(tmp_path / "x.png", np.concatenate([pixels, alpha], axis=-1))
    image = read(tmp_path, channels="grey" if grey else "rgb")
    np.testing.assert_array_equal(image, np.where(alpha, pixels, 0))


def test_the_colour_that_a_file_calls_transparent_is_black(tmp_path):
    value = int(GREY[2, 3])
    save(tmp_path / "x.png", GREY, transparency=value)
    expected = np.where(GREY == value, 0, GREY)
    np.testing.assert_array_equal(read(tmp_path)[..., 0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "x.png", DEEP, exif=exif)
    upright = {
        1: DEEP,
        2: DEEP[:, ::-1],
        3: DEEP[::-1, ::-1],
        4: DEEP[::-1],
        5: DEEP.T,
        6: np.rot90(DEEP, -1),
        7: DEEP[::-1, ::-1].T,
        8: np.rot90(DEEP),
    }[orientation]
    np.testing.assert_array_equal(read(tmp_path)[..., 0], upright)


def test_jpeg_in_print_colours_is_rgb(tmp_path):
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    flat[:8] = (10, 220, 30)
    save(tmp_path / "x.jpg", flat, "CMYK", quality=100)
    image = read(tmp_path, channels="rgb")
    assert np.abs(image.astype(int) - flat).max() < 12


def test_dicom_is_rescaled_and_dark_where_the_air_is(tmp_path):
    stored = RNG.randint(0, 4096, (5, 7))
    write(
        tmp_path / "a/x.dcm",
        radiograph(stored, RescaleSlope=2, RescaleIntercept=-1024),
    )
    image = read(tmp_path / "a")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., 0], 2.0 * stored - 1024)
    inverted = radiograph(stored, PhotometricInterpretation="MONOCHROME1")
    write(tmp_path / "b/x.dcm", inverted)
    np.testing.assert_array_equal(read(tmp_path / "b")[..., 0], 4095 - stored)


def test_dicom_knows_its_spacing_or_does_not(tmp_path):
    write(tmp_path / "a.dcm", radiograph(DEEP % 4096, PixelSpacing=[0.5, 0.25]))
    write(tmp_path / "b.dcm", radiograph(DEEP % 4096))
    source = images(root=str(tmp_path))
    assert source[0]["spacing_mm"] == (0.5, 0.25) and "spacing_mm" not in source[1]


@pytest.mark.parametrize("planes", [0, 1])
def test_dicom_in_colour_is_rgb(tmp_path, planes):
    stored = COLOUR[:4, :6]
    data = radiograph(
        stored,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=planes,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    data.PixelData = (np.moveaxis(stored, -1, 0) if planes else stored).tobytes()
    write(tmp_path / "x.dcm", data)
    np.testing.assert_array_equal(read(tmp_path, channels="rgb"), stored)
    with pytest.raises(DataError, match=r"x\.dcm: .*colour"):
        read(tmp_path)


def test_the_slices_of_a_series_are_images_too(real_data):
    folder = real_data / "dicom_t1"
    source = images(root=str(folder))
    assert len(source) == 64
    for i in (0, 63):
        stored = pydicom.dcmread(folder / source.name(i)).pixel_array
        np.testing.assert_array_equal(source[i]["image"][..., 0], stored)
    volume = dicom(root=str(folder), orientation="acquired")[0]
    assert source[0]["spacing_mm"] == volume["spacing_mm"][1:]


def test_nothing_of_a_header_is_kept(tmp_path):
    write(tmp_path / "x.dcm", radiograph(DEEP % 4096))
    exif = Image.Exif()
    exif[0x010E] = "Doe^Jane"
    save(tmp_path / "y.jpg", GREY, exif=exif, comment=b"PID-4711")
    source = images(root=str(tmp_path))
    cached = Cached(source, Prepare(2, None, "percentiles"), str(tmp_path / "cache"))
    for i in range(2):
        assert source[i].keys() == {"image"}
        _ = cached[i]
        assert not any(secret in source.stamp(i) for secret in SECRETS)
    for path in (tmp_path / "cache").iterdir():
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS)


def test_the_table_gives_labels_and_patients(tmp_path):
    for name in ("a/1.png", "a/2.png", "b.jpg"):
        save(tmp_path / name, GREY)
    table = tmp_path / "t.csv"
    table.write_text("path,label,patient\nb.jpg,1,p2\na/1.png,0,p1\na/2.png,0,p1\n")
    source = images(root=str(tmp_path), labels=str(table))
    assert source.labels.tolist() == [0, 0, 1]
    assert source.patients == ["p1", "p1", "p2"]
    assert len(sampler("bags", source, batch_size=2, seed=0)) == 2


def test_a_patient_without_images_is_an_error_or_is_recorded(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name, GREY)
    table = tmp_path / "t.csv"
    rows = "path,patient\na.png,p1\nb.png,p1\nc.png,p2\n"
    table.write_text(rows + "gone.png,p3\n")
    with pytest.raises(DataError, match=r"t\.csv: 1 row.*'gone\.png'"):
        images(root=str(tmp_path), labels=str(table))
    table.write_text(rows)
    (tmp_path / "c.png").write_bytes(b"broken")
    source = images(root=str(tmp_path), labels=str(table))
    rest = skip_unusable(source, tmp_path / "skipped.csv")
    assert "c.png,is no readable PNG" in (tmp_path / "skipped.csv").read_text()
    with pytest.raises(ConfigError, match="micro_batch_size 2 .* 1, the patients"):
        sampler("bags", rest, batch_size=2, seed=0)


def broken(name):
    """Return a file's bytes that cannot be used, by name."""
    buffer = io.BytesIO()
    large = RNG.randint(0, 256, (64, 64)).astype(np.uint8)
    kind = "JPEG" if name.endswith("jpg") else "PNG"
    Image.fromarray(large).save(buffer, kind)
    whole = buffer.getvalue()
    middle = len(whole) // 2
    if name.startswith("cut"):
        return whole[:middle]
    if name.startswith("flipped"):
        return whole[:middle] + bytes(b ^ 255 for b in whole[middle:])
    frames = [Image.fromarray(large), Image.fromarray(255 - large)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    lines = [bytes(28)] * 5
    return {
        "empty.png": b"",
        "text.jpg": b"path,label\n",
        "bomb.png": png(60000, 60000, 8, 0, []),
        "large.png": png(9460, 9460, 8, 0, []),  # of which Pillow warns only
        "animated.png": buffer.getvalue(),
        "deep-alpha.png": png(5, 7, 16, 4, lines),
        "constant.png": png(5, 7, 8, 0, [bytes(7)] * 5),
    }[name]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut.jpg", "truncated"),
        ("cut.png", "no readable PNG"),
        ("flipped.png", "no readable PNG"),
        ("empty.png", "no readable PNG"),
        ("text.jpg", "no readable PNG or JPEG"),
        ("bomb.png", "more than 89478485 pixels"),
        ("large.png", "more than 89478485 pixels"),
        ("animated.png", "animated"),
        ("deep-alpha.png", "16 bits with transparency"),
        ("constant.png", "constant"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path, name, reason):
    (tmp_path / name).write_bytes(broken(name))
    source = images(root=str(tmp_path))
    with pytest.raises(DataError, match=f"{name}: .*{reason}"):
        source[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"NumberOfFrames": 3}, "multi-frame file, of 3 frames.*dicom source"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
        ({"PixelData": None}, "has no PixelData: no image$"),
        ({"Rows": 50}, "no readable DICOM"),
        ({"PixelSpacing": [0, 0]}, "spacing"),
    ],
)
def test_dicom_that_cannot_be_used_is_named_and_not_quoted(tmp_path, changes, reason):
    data = radiograph(DEEP % 4096, **changes)
    if changes.get("PixelData", "") is None:
        del data.PixelData
    write(tmp_path / "x.dcm", data)
    with pytest.raises(DataError, match=rf"x\.dcm: .*{reason}") as caught:
        read(tmp_path)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.root"):
        images(root="")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="none of its 1 files"):
        images(root=str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"data\.channels 'gray'.*grey, rgb, turned_grey"
    ):
        images(root=str(tmp_path), channels="gray")


def test_images_of_many_sizes_and_depths_come_to_one(tmp_path):
    save(tmp_path / "a.png", RNG.randint(0, 65536, (90, 60)).astype(np.uint16))
    save(tmp_path / "b.jpg", RNG.randint(0, 256, (20, 44)).astype(np.uint8))
    write(tmp_path / "c.dcm", radiograph(RNG.randint(0, 4096, (31, 31))))
    source = pickle.loads(pickle.dumps(images(root=str(tmp_path))))
    host = HostTransform((24, 24), None, "percentiles", "all", resize=(24,))
    sizes = [host.prepare(source[i])["image"].shape for i in range(3)]
    assert sizes == [(36, 24, 1), (24, 53, 1), (24, 24, 1)]
    random = np.random.default_rng(0)
    for i in range(3):
        image = host(source[i], random)["image"]
        assert image.shape == (24, 24, 1) and image.dtype == np.float16
        assert 0 <= image.min() < 0.2 and 0.8 < image.max() <= 1
