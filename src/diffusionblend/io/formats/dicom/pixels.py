"""Pixels of one DICOM file, a slice or several frames, compressed or not.

pydicom reads what is not compressed, run lengths and, through Pillow, JPEG 2000; imagecodecs reads
lossless JPEG, which most compressed CT is in, and JPEG-LS. Decoders are named, never just whatever
is installed: GDCM, for one, ends the whole process on damaged data. They take the size of a picture
from the compressed data, which may state any, so it is compared with the header first.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.formats.archive import File, opened, size_of
from diffusionblend.io.formats.dicom.files import number, required, syntax_of, value
from diffusionblend.io.formats.foreign import extra, parsing
from diffusionblend.io.formats.headers import check_claim

if TYPE_CHECKING:
    from pydicom import Dataset

PIXELS = 0x7FE00008
"""The first tag that is one of pixels."""
RLE = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80",)
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_PLUGINS = {RLE: "pydicom", **dict.fromkeys(JPEG_2000, "pillow")}
_FRAMES = (0xC3, 0xF7)
"""Last byte of the markers that begin a frame of lossless JPEG, and of JPEG-LS."""
_SIZED_2000 = b"\xff\x4f\xff\x51"
_DEPTH_AT = 42
_BOXED_2000 = b"\0\0\0\x0cjP  \r\n\x87\n"
"""Begins a file of JPEG 2000 (JP2), whose boxes should not be in DICOM, and are."""


def check_storage(file: File, header: "Dataset", needed: int) -> None:
    """Refuse pixels that are not decoded here, or that the file cannot hold."""
    syntax = required(file, header.file_meta, "TransferSyntaxUID")
    with parsing(file):  # an unknown syntax is no syntax
        compressed = syntax.is_compressed
    if compressed and syntax not in (*_PLUGINS, *JPEG_LOSSLESS, *JPEG_LS):
        raise UnsupportedInput(
            f"{file}: its transfer syntax is {syntax.name} ({syntax}), which this program does "
            "not decode; decompress it first"
        )
    if syntax in JPEG_LOSSLESS + JPEG_LS:
        with extra(file, "imagecodecs"):
            import imagecodecs  # noqa: F401 - asked for before any pixel is read
    check_claim(file, needed, size_of(file), compressed)


def read_pixels(
    file: File, size: tuple[int, int], frames: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Read the stored values of a file whose header was accepted.

    Returns:
        The values (frames, rows, columns), and which of them are padding and no measurement.
    """
    from pydicom.filereader import read_partial

    with parsing(file), opened(file) as stream:
        syntax = syntax_of(file, stream)
        data = read_partial(stream, stop_when=_behind_pixels(), force=True)
        data.file_meta.TransferSyntaxUID = syntax
        pixels = _decoded(file, data, size, frames)
    _check_size(file, pixels.shape, size if frames == 1 else (frames, *size))
    pixels = pixels.reshape(frames, *size)
    padded = _padded(file, data, pixels)
    return _in_bits(file, data, pixels, padded), padded


def _padded(file: File, data: "Dataset", pixels: np.ndarray) -> np.ndarray:
    """Return where Pixel Padding Value is, or what lies between it and its Range Limit.

    Both may be stated with a sign or without, whatever the pixels are (PS3.3, C.7.5.1.1.2).
    """
    if value(file, data, "PixelPaddingValue") in (None, "") or pixels.dtype.kind == "f":
        return np.zeros(pixels.shape, bool)
    first = number(file, data, "PixelPaddingValue", 0)
    ends = np.array([first, number(file, data, "PixelPaddingRangeLimit", first)], np.int64)
    low, high = sorted(ends.astype(pixels.dtype).tolist())
    return (pixels >= low) & (pixels <= high)


def _in_bits(file: File, data: "Dataset", pixels: np.ndarray, padded: np.ndarray) -> np.ndarray:
    """Return the values in the bits that are stored: an overlay may lie in those above."""
    size = 8 * pixels.dtype.itemsize
    bits = int(number(file, data, "BitsStored", size))
    high = int(number(file, data, "HighBit", bits - 1))
    if pixels.dtype.kind == "f" or (bits, high) == (size, size - 1):
        return pixels
    if not 0 < bits <= high + 1 <= size:
        raise CorruptInput(
            f"{file}: BitsStored is {bits}, HighBit {high}, of {size} bits; repair the header"
        )
    # What is above has to be nothing, the sign again, or an overlay; and so what is below.
    signed = pixels.dtype.kind == "i"
    top, below = pixels >> (high + (not signed)), pixels & ((1 << (high + 1 - bits)) - 1)
    # Negative numbers have their sign above, or nothing: some of each are numbers of more bits.
    negative = -1 if signed and (top[~padded] == -1).any() else int(signed)
    stray = ((top != 0) & (top != negative) | (below != 0)) & ~padded
    if stray.any() and not _has_overlay(data):
        raise CorruptInput(
            f"{file}: BitsStored is {bits}, HighBit {high}, but its values range from "
            f"{pixels.min()} to {pixels.max()}; repair the header, or export it again"
        )
    # Up to the top and down again, which repeats the sign in numbers that have one.
    return (pixels << (size - 1 - high)) >> (size - bits)


def _has_overlay(data: "Dataset") -> bool:
    """Return whether an overlay lies in the pixels: (60xx,0102) says in which bit."""
    tags = list(data.keys())
    return any(tag.group & 0xFF01 == 0x6000 and tag.element == 0x0102 for tag in tags)


def _behind_pixels() -> Callable[[int, str | None, int], bool]:
    """Return what stops a parser at the element after the pixels, whatever that is."""
    seen = False

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal seen
        before, seen = seen, seen or tag >= PIXELS
        return before

    return stop


def _decoded(file: File, data: "Dataset", size: tuple[int, int], frames: int) -> np.ndarray:
    from pydicom.encaps import get_frame

    syntax = str(data.file_meta.TransferSyntaxUID)
    if syntax in JPEG_LOSSLESS + JPEG_LS + JPEG_2000:
        packed = [get_frame(data.PixelData, i, number_of_frames=frames) for i in range(frames)]
        for frame in packed:
            _check_size(file, picture_size(frame), size)
            _check_sign(file, data, frame)
        if syntax not in JPEG_2000:
            made = [_decoded_jpeg(file, data, frame, ls=syntax in JPEG_LS) for frame in packed]
            return made[0] if frames == 1 else np.stack(made)
    if syntax not in _PLUGINS:
        _check_length(file, data, (frames, *size))
    # Bits that are not stored are looked at here: padding may use them, and a header may be wrong.
    data.pixel_array_options(decoding_plugin=_PLUGINS.get(syntax, ""), correct_unused_bits=False)
    return data.pixel_array


def _decoded_jpeg(file: File, data: "Dataset", frame: bytes, *, ls: bool) -> np.ndarray:
    """Decode lossless JPEG, or JPEG-LS, whose values have no sign of their own."""
    import imagecodecs

    pixels = (imagecodecs.jpegls_decode if ls else imagecodecs.jpegsof3_decode)(frame)
    bits = int(number(file, data, "BitsStored", 16))
    if pixels.dtype.itemsize * 8 != data.BitsAllocated or not 1 <= bits <= data.BitsAllocated:
        raise CorruptInput(
            f"{file}: its pixels are {pixels.dtype}, but its header says {bits} of "
            f"{data.BitsAllocated} bits; copy it again"
        )
    return pixels.view(f"i{pixels.dtype.itemsize}") if data.PixelRepresentation else pixels


def picture_size(frame: bytes) -> tuple[int, int]:
    """Return the rows and columns that a JPEG, JPEG-LS or JPEG 2000 picture says it has.

    From its markers: those of JPEG are FF and a byte, most with a length of two bytes (ISO/IEC
    10918-1, B.2); in JPEG 2000 the size comes first, as two corners of four-byte numbers (ISO/IEC
    15444-1, A.5.1).

    Raises:
        ValueError: It does not say.
    """
    frame = _codestream(frame) if frame.startswith(_BOXED_2000) else frame
    if frame[:4] == _SIZED_2000:
        right, bottom, left, top = np.frombuffer(frame, ">u4", 4, offset=8).tolist()
        return bottom - top, right - left
    at = 2
    while frame[at : at + 1] == b"\xff":
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            rows, columns = np.frombuffer(frame, ">u2", 2, offset=at + 5).tolist()
            return rows, columns
        at += 2 + length
    raise ValueError("compressed pixels without a size")


def _check_sign(file: File, data: "Dataset", frame: bytes) -> None:
    """Refuse JPEG 2000 that states a sign where the header states none: half of the range is added.

    Others have no sign of their own, and take that of the header. It comes after the sizes, in the
    highest bit of the depth (ISO/IEC 15444-1, A.5.1).
    """
    frame = _codestream(frame) if frame.startswith(_BOXED_2000) else frame
    signed = frame[:4] == _SIZED_2000 and frame[_DEPTH_AT : _DEPTH_AT + 1] >= b"\x80"
    if signed and not data.PixelRepresentation:
        raise CorruptInput(
            f"{file}: its JPEG 2000 data are signed, but its PixelRepresentation is 0; set that "
            "to 1, or export it again"
        )


def _codestream(boxes: bytes) -> bytes:
    """Return what is in the first box of pixels of JP2; a box is its length, type and contents."""
    at = 0
    while boxes[at + 4 : at + 8] not in (b"jp2c", b""):
        at += max(8, int.from_bytes(boxes[at : at + 4], "big"))
    return boxes[at + 8 :]


def _check_length(file: File, data: "Dataset", size: tuple[int, int, int]) -> None:
    """Refuse pixels of a row more than the header says: one of its sizes is too small.

    Less than a row may be padding.
    """
    bits = int(number(file, data, "BitsAllocated", 16))
    row = size[-1] * bits // 8
    held = len(value(file, data, "PixelData") or b"") // max(1, row)
    if held > size[0] * size[1]:
        raise CorruptInput(
            f"{file}: holds {held} rows of {size[-1]} pixels, but its header says "
            f"{size[0] * size[1]}; copy or export it again"
        )


def _check_size(file: File, found: tuple[int, ...], size: tuple[int, ...]) -> None:
    if found != size:
        raise CorruptInput(
            f"{file}: holds {found} pixels, but its header says {size}; copy it again"
        )
