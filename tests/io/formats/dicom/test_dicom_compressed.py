"""Compressed DICOM: the same slices, whatever they are packed in, and no memory for a bomb."""

import locale
import sys
import time
import tracemalloc

import imagecodecs
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its documentation calls it
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.io.formats.dicom.pixels import picture_size
from diffusionblend.io.volumes import read_volume
from support.small_volumes import assert_same, datasets, every, refusal, save

SYNTAXES = [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]
SHAPE = (16, 12, 3)


@pytest.fixture(scope="module")
def stored():
    """Stored values (column, row, slice): a smooth body in air, so that they can be packed."""
    x, y, z = np.indices(SHAPE)
    return np.maximum(1500 - 36 * (x - 8) ** 2 + 3 * y + z, 12).astype(np.int16)


def encoded(values, syntax):
    if syntax == JPEGLSLossless:
        return imagecodecs.jpegls_encode(values)
    if syntax == JPEGLosslessSV1:
        return imagecodecs.ljpeg_encode(values, bitspersample=16)
    return imagecodecs.jpeg2k_encode(values, reversible=True, level=0, codecformat="j2k")


def pack(slices, syntax):
    """Compress slices by another library than the one that reads them, where there is one."""
    for one in slices:
        if syntax == RLELossless:
            one.compress(syntax, generate_instance_uid=False)
            continue
        values = np.frombuffer(one.PixelData, np.uint16).reshape(one.Rows, one.Columns)
        if syntax == JPEG2000Lossless and one.PixelRepresentation:
            values = values.view(np.int16)
        one.PixelData = encapsulate([encoded(values, syntax)])
        one["PixelData"].VR = "OB"
        one.file_meta.TransferSyntaxUID = syntax
    return slices


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name[:20])
def test_compressed_slices_are_the_slices(place, stored, syntax, signed):
    values = stored - 700 * signed
    slices = datasets(values)
    every(PixelRepresentation=signed, RescaleIntercept=-1024 + 1400 * signed)(slices)
    expected = read_volume(save(place / "plain", slices))
    assert_same(read_volume(save(place / "packed", pack(slices, syntax))), expected)


def test_twelve_bits_with_a_sign_get_it_back(place, stored):
    slices = datasets(stored - 700)
    every(RescaleIntercept=376)(slices)
    expected = read_volume(save(place / "plain", slices))
    for one in slices:
        values = np.frombuffer(one.PixelData, np.uint16) & 0xFFF
        one.PixelData = values.tobytes()
    every(BitsStored=12, HighBit=11)(slices)
    assert_same(read_volume(save(place / "packed", pack(slices, JPEGLosslessSV1))), expected)


@pytest.mark.parametrize("signed", [0, 1])
def test_jpeg_2000_in_the_boxes_of_a_file_is_read_as_without(place, stored, signed, monkeypatch):
    """As some archives store it, although DICOM says not to."""
    slices = datasets(stored - 700 * signed)
    every(PixelRepresentation=signed, RescaleIntercept=-1024 + 1400 * signed)(slices)
    expected = read_volume(save(place / "plain", slices))
    encode = imagecodecs.jpeg2k_encode
    monkeypatch.setattr(
        imagecodecs, "jpeg2k_encode", lambda v, **o: encode(v, **o | {"codecformat": "jp2"})
    )
    assert_same(read_volume(save(place / "packed", pack(slices, JPEG2000Lossless))), expected)
    frame = imagecodecs.jpeg2k_encode(np.zeros((500, 400), np.uint16), reversible=True, level=0)
    assert frame[4:8] == b"jP  "
    assert picture_size(frame) == (500, 400)
    for cut in (20, frame.index(b"jp2c") + 4):
        with pytest.raises(ValueError, match="without a size"):
            picture_size(frame[:cut])


@pytest.mark.parametrize("codec", ["j2k", "jp2"])
def test_jpeg_2000_with_a_sign_that_the_header_lacks_says_what_to_set(
    place, stored, codec, monkeypatch
):
    """Half of the range would be added to all values."""
    encode = imagecodecs.jpeg2k_encode
    monkeypatch.setattr(
        imagecodecs, "jpeg2k_encode", lambda v, **o: encode(v, **o | {"codecformat": codec})
    )
    slices = pack(datasets(stored), JPEG2000Lossless)
    every(PixelRepresentation=0)(slices)
    words = str(refusal(read_volume, save(place / "s", slices)))
    assert "its JPEG 2000 data are signed, but its PixelRepresentation is 0; set" in words
    every(PixelRepresentation=1)(slices)
    assert_same(
        read_volume(save(place / "s", slices)), read_volume(save(place / "plain", datasets(stored)))
    )


@pytest.fixture
def same_locale():
    """ITK leaves the locale C behind."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.usefixtures("same_locale")
@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_what_itk_compresses_is_read_as_itk_reads_it(place, stored, compressor):
    folder = save(place / "plain", datasets(stored), [f"{k}.dcm" for k in range(3)])
    (place / "packed").mkdir()
    for file in folder.iterdir():
        image, writer = sitk.ReadImage(str(file), sitk.sitkInt16), sitk.ImageFileWriter()
        for key, text in {"0008|0060": "CT", "0020|000e": "1.2.3"}.items():
            image.SetMetaData(key, text)
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(place / "packed" / file.name))
        writer.Execute(image)
    assert_same(read_volume(place / "packed"), read_volume(folder))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name[:20])
def test_damaged_pixels_are_read_or_refused_in_little_time_and_memory(place, stored, syntax):
    folder = save(place / "series", pack(datasets(stored), syntax))
    path, rng = folder / "1", np.random.default_rng(0)
    raw = path.read_bytes()
    start = raw.rindex(b"\xe0\x7f\x10\x00")
    tracemalloc.start()
    began, outcomes = time.process_time(), []  # whatever else the machine does
    for _ in range(6):
        read_volume(folder)
    intact, began = time.process_time() - began, time.process_time()
    for _ in range(60):
        damaged = bytearray(raw)
        for at in rng.integers(start, len(raw), rng.choice([1, 3, 10])):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(start, 2 * len(raw))])
        try:
            outcomes.append(read_volume(folder).hu.shape == SHAPE[::-1])
        except (CorruptInput, UnsupportedInput) as error:  # the latter: values that are no HU
            outcomes.append(str(folder) in str(error))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert all(outcomes)
    assert time.process_time() - began < 3 * 10 * intact


@pytest.mark.parametrize("syntax", SYNTAXES[:3], ids=lambda uid: uid.name[:20])
def test_a_picture_that_claims_another_size_is_refused_before_it_is_decoded(
    place, stored, syntax, monkeypatch
):
    slices = pack(datasets(stored), syntax)
    frame = encoded(np.zeros((500, 400), np.uint16), syntax)
    assert picture_size(frame) == (500, 400)
    slices[1].PixelData = encapsulate([frame])
    for decoder in ("jpegls_decode", "jpegsof3_decode", "jpeg2k_decode"):
        monkeypatch.delattr(imagecodecs, decoder)
    every(Rows=12)(slices)
    with pytest.raises((CorruptInput, AttributeError)) as caught:
        read_volume(save(place / "series", slices[1:]))
    assert "holds (500, 400) pixels" in str(caught.value)


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc3", b"\xff\xd8" + b"\xff" * 9]
)
def test_a_picture_without_a_size_is_no_picture(frame):
    with pytest.raises((ValueError, IndexError)):
        picture_size(frame)


def test_a_missing_decoder_is_named(place, stored, monkeypatch):
    folder = save(place / "series", pack(datasets(stored), JPEGLosslessSV1))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UsageError, match="0: needs imagecodecs; run `pip install"):
        read_volume(folder)


def test_a_type_of_pixels_that_the_header_does_not_say_is_refused(place, stored):
    slices = pack(datasets(stored), JPEGLSLossless)
    every(BitsAllocated=8, BitsStored=8, HighBit=7)(slices)
    message = str(refusal(read_volume, save(place / "series", slices)))
    assert "its pixels are uint16, but its header says 8 of 8 bits" in message
