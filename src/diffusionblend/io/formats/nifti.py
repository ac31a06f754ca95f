"""NIfTI-1 and NIfTI-2 in one file, `.nii` or `.nii.gz`, read with nibabel; NIfTI-1 is written.

Where its voxels lie is in `nifti_forms`.
"""

import contextlib
import gzip
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from diffusionblend.data.arrays import in_parts
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.files import atomic
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.formats.headers import (
    check_claim,
    check_header,
    check_kind,
    check_spacing,
    volume_in_order,
)
from diffusionblend.io.formats.nifti_forms import check_forms, check_places, with_rounding

if TYPE_CHECKING:
    import nibabel

GZIP = b"\x1f\x8b"
MAGIC = {348: b"n+1", 540: b"n+2"}
"""By the bytes of the header, which it begins with: NIfTI-1 and NIfTI-2."""
_FLAGS = 4
"""Bytes after the header; the first says whether an extension follows."""
_VOXELS = 352
"""Byte that the voxels of a NIfTI-1 file without extensions begin at."""
MAX_OFFSET, MAX_TRAILING = 2**24, 2**24
"""Bytes before the voxels, for extensions of the header, and after them."""
MM, _UNITS = (0, 2), {1: "metres", 3: "micrometres"}
"""Codes of the unit of length; 0 is none stated."""
IMAGES = (0, 1001, 1011, 2001)
"""Intent codes of images: none, estimates, without a unit, of several times (refused as such)."""


def read(path: Path) -> Volume:
    """Read a NIfTI file that holds a volume."""
    with _image(path) as (image, stream):
        shape = _without_ones(image.shape)
        voxels = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        _read_on(path, stream, image)
    return volume_in_order(path, voxels, image.affine)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the numbers of voxels along the file's axes, from the header."""
    with _image(path) as (image, _):
        return _without_ones(image.shape)


@contextlib.contextmanager
def _image(path: Path) -> Iterator[tuple["nibabel.Nifti1Image", BinaryIO | gzip.GzipFile]]:
    """Yield the image whose header was checked, its voxels not yet read, and the open file."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    with parsing(path), _opened(path) as stream:
        try:
            yield _checked(path, stream), stream
        except (ImageFileError, HeaderDataError, WrapStructError) as error:
            raise CorruptInput(
                f"{path}: not a NIfTI file ({error}); convert it to NIfTI"
            ) from error


def _checked(path: Path, stream: BinaryIO | gzip.GzipFile) -> "nibabel.Nifti1Image":
    import nibabel

    # As it stands: nibabel itself would make a size of 0 one millimetre.
    start = stream.read(max(MAGIC) + _FLAGS)
    if start.startswith(GZIP):
        raise CorruptInput(f"{path}: is compressed with gzip twice; unpack it once")
    if len(start) < min(MAGIC):
        raise CorruptInput(
            f"{path}: not a NIfTI file, or cut short: it has only {len(start)} bytes; copy or "
            "convert it again"
        )
    second = 540 in (int.from_bytes(start[:4], order) for order in ("little", "big"))
    kind = with_rounding(nibabel.Nifti2Image if second else nibabel.Nifti1Image)
    header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
    if header["magic"].item() != MAGIC[header.sizeof_hdr]:
        raise CorruptInput(f"{path}: not a NIfTI file; convert it to NIfTI-1 in a single file")
    _check_unit(path, int(header["xyzt_units"]) & 7)
    _check_intent(path, int(header["intent_code"]))
    _check_sizes(path, header["dim"])
    check_spacing(path, header["pixdim"][1:4])
    check_forms(path, header)
    flags = start[header.sizeof_hdr :]
    _check_offset(path, header, extended=flags[:1] not in (b"", b"\0"))
    _check_scaling(path, float(header["scl_slope"]), float(header["scl_inter"]))
    stream.seek(0)
    # No memory map: the values must stay what they are, whatever becomes of the file.
    image = kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False)
    shape, stored = _without_ones(image.shape), image.get_data_dtype()
    _check_bits(path, int(header["bitpix"]), stored)
    check_header(path, shape, image.affine)
    check_kind(path, stored)
    packed = isinstance(stream, gzip.GzipFile)
    check_claim(path, math.prod(shape) * stored.itemsize, path.stat().st_size, packed)
    check_places(path, image.header, shape)
    return image


def _check_sizes(path: Path, sizes: np.ndarray) -> None:
    """Refuse an axis of no voxels after the third, which some readers take for one of one voxel."""
    axes = int(sizes[0])
    if (sizes[4 : axes + 1] < 1).any():
        raise CorruptInput(
            f"{path}: its dim is {', '.join(map(str, sizes.tolist()))}: {axes} axes, one of them "
            "without voxels; set dim[0] to 3 if it is one volume"
        )


def _check_unit(path: Path, unit: int) -> None:
    if unit not in MM:
        name = _UNITS.get(unit, f"unit {unit}")
        raise UnsupportedInput(f"{path}: its lengths are in {name}; expected mm; convert it")


def _check_intent(path: Path, code: int) -> None:
    """Refuse what says that it is not an image, though its values may look like HU."""
    from nibabel.nifti1 import intent_codes

    if code in intent_codes and code not in IMAGES:
        raise UnsupportedInput(
            f"{path}: its intent_code is {code} ({intent_codes.label[code]}); expected an image "
            "in HU; give the image that it was made from, or set intent_code to 0 if it is in HU"
        )


def _check_bits(path: Path, bits: int, kind: np.dtype) -> None:
    """Refuse a type of voxels that has other bits than are stated beside it, if any are."""
    if bits not in (0, 8 * kind.itemsize):
        raise CorruptInput(
            f"{path}: its bitpix is {bits}, but its datatype has {8 * kind.itemsize} bits, "
            f"{kind}; correct the one that is wrong, or convert it again"
        )


def _check_offset(path: Path, header: "nibabel.Nifti1Header", *, extended: bool) -> None:
    """Refuse voxels that begin within the header, or within the extension that it says follows."""
    offset, first = float(header["vox_offset"]), header.sizeof_hdr + _FLAGS
    if not (first <= offset <= MAX_OFFSET and offset.is_integer()):  # NaN is neither
        raise CorruptInput(
            f"{path}: its voxels begin at byte {offset:g}; expected {first} to {MAX_OFFSET}; "
            f"correct vox_offset in the header ({first} if no extension follows it)"
        )
    if extended and offset == first:
        raise CorruptInput(
            f"{path}: its voxels begin at byte {offset:g}, where its header says that an "
            "extension begins; set vox_offset to the end of the extension, or byte "
            f"{header.sizeof_hdr} to 0 if there is none"
        )


def _check_scaling(path: Path, slope: float, intercept: float) -> None:
    """Refuse an intercept that is not a number; a slope of 0 or NaN means that there is neither."""
    if math.isfinite(slope) and slope != 0 and not math.isfinite(intercept):
        raise CorruptInput(
            f"{path}: its scl_inter is {intercept:g} with a scl_slope of {slope:g}; correct it in "
            "the header: 0 if the values are HU, otherwise what converts them to HU"
        )


def _read_on(path: Path, stream: BinaryIO | gzip.GzipFile, image: "nibabel.Nifti1Image") -> None:
    """Read to the end: gzip compares its checksum there, and only there.

    A slice or more after the voxels is not padding: the header claims too few. Nor is less than
    that if it is not 0: the last voxels may be left over, where the first begin too early.
    """
    a_slice = math.prod(image.shape[:2]) * image.get_data_dtype().itemsize
    read, empty = 0, True
    while chunk := stream.read(2**20):
        read, empty = read + len(chunk), empty and not chunk.strip(b"\0")
        if read >= min(a_slice, MAX_TRAILING):
            raise CorruptInput(
                f"{path}: holds more than the {' x '.join(map(str, image.shape))} voxels that its "
                "header states; copy it again, or correct the sizes"
            )
    if not empty:
        raise CorruptInput(
            f"{path}: {read} bytes, not all of them 0, follow its voxels, which begin at byte "
            f"{image.dataobj.offset}; set vox_offset to where the voxels really begin, or cut off "
            "the rest"
        )


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    """Open a file, packed or not: some are called .nii.gz and are not, or the reverse."""
    with open(path, "rb") as stream:
        packed = stream.read(len(GZIP)) == GZIP
    return gzip.open(path) if packed else open(path, "rb")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out the axes of one voxel after the third."""
    return shape[:3] if shape[3:] == (1,) * len(shape[3:]) else shape


def write(volume: Volume, path: Path) -> None:
    """Write a volume in HU, float32, some slices at a time."""
    import nibabel
    from nibabel.openers import ImageOpener

    header = nibabel.Nifti1Image(
        np.broadcast_to(np.float32(0), volume.hu.T.shape), np.array(volume.grid.affine)
    ).header
    header.set_xyzt_units("mm")
    header["descrip"] = b"HU"
    header.set_data_offset(_VOXELS)
    with (
        atomic(path, check=partial(_is_same, volume)) as temporary,
        ImageOpener(temporary, "wb") as stream,
    ):
        stream.write(header.binaryblock.ljust(_VOXELS, b"\0"))
        for part in in_parts(volume.hu):
            stream.write(np.ascontiguousarray(part, "<f4").data)


def _is_same(volume: Volume, path: Path) -> bool:
    with _image(path) as (image, stream):
        stream.seek(image.dataobj.offset)
        same = all(_comes_next(stream, part) for part in in_parts(volume.hu))
        _read_on(path, stream, image)
    return same


def _comes_next(stream: BinaryIO | gzip.GzipFile, part: np.ndarray) -> bool:
    back = np.frombuffer(stream.read(part.nbytes), "<f4")
    return back.size == part.size and np.array_equal(back.reshape(part.shape), part, equal_nan=True)
