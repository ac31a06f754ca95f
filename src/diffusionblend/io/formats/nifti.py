"""NIfTI-1 in one file, `.nii` or `.nii.gz`, read and written with nibabel."""

import contextlib
import gzip
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

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

if TYPE_CHECKING:
    import nibabel

HEADER_BYTES, MAGIC = 348, b"n+1"
MAX_OFFSET, MAX_TRAILING = 2**24, 2**24
"""Bytes before the voxels, for extensions of the header, and after them."""
MM, _UNITS = (0, 2), {1: "metres", 3: "micrometres"}
"""Codes of the unit of length; 0 is none stated."""


def read(path: Path) -> Volume:
    """Read a NIfTI file that holds a volume.

    Raises:
        CorruptInput: The file is truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not three-dimensional on straight axes in mm.
    """
    with _image(path) as (image, stream):
        shape = _without_ones(image.shape)
        voxels = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        _read_on(path, stream)
    return volume_in_order(path, voxels, image.affine)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the numbers of voxels along the file's axes, from the header.

    Raises:
        CorruptInput: As `read`.
        UnsupportedInput: As `read`.
    """
    with _image(path) as (image, _):
        return _without_ones(image.shape)


@contextlib.contextmanager
def _image(path: Path) -> Iterator[tuple["nibabel.Nifti1Image", BinaryIO | gzip.GzipFile]]:
    """Yield the image whose header was checked, its voxels not yet read, and the open file."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    compressed = path.name.endswith(".gz")
    with parsing(path), _opened(path, compressed) as stream:
        try:
            yield _checked(path, stream, compressed), stream
        except (ImageFileError, HeaderDataError, WrapStructError) as error:
            raise CorruptInput(
                f"{path}: not a NIfTI file ({error}); convert it to NIfTI"
            ) from error


def _checked(
    path: Path, stream: BinaryIO | gzip.GzipFile, compressed: bool
) -> "nibabel.Nifti1Image":
    import nibabel

    # As it stands: nibabel itself would make a size of 0 one millimetre.
    header = nibabel.Nifti1Header(stream.read(HEADER_BYTES), check=False)
    if header["magic"].item() != MAGIC:
        raise CorruptInput(f"{path}: not a NIfTI file; convert it to NIfTI-1, one file")
    _check_unit(path, int(header["xyzt_units"]) & 7)
    check_spacing(path, header["pixdim"][1:4])
    _check_offset(path, float(header["vox_offset"]))
    stream.seek(0)
    # No memory map: the values must stay what they are, whatever becomes of the file.
    file_map = nibabel.Nifti1Image.make_file_map({"image": stream})
    image = nibabel.Nifti1Image.from_file_map(file_map, mmap=False)
    shape, kind = _without_ones(image.shape), image.get_data_dtype()
    check_header(path, shape, image.affine)
    check_kind(path, kind)
    check_claim(path, math.prod(shape) * kind.itemsize, path.stat().st_size, compressed)
    return image


def _check_unit(path: Path, unit: int) -> None:
    if unit not in MM:
        name = _UNITS.get(unit, f"unit {unit}")
        raise UnsupportedInput(f"{path}: its lengths are in {name}; expected mm; convert it")


def _check_offset(path: Path, offset: float) -> None:
    if not 0 <= offset <= MAX_OFFSET:  # NaN is neither
        raise CorruptInput(
            f"{path}: its voxels begin at byte {offset:g}; expected {MAX_OFFSET} at most; copy it "
            "again"
        )


def _read_on(path: Path, stream: BinaryIO | gzip.GzipFile) -> None:
    """Read to the end: gzip compares its checksum there, and only there."""
    read = 0
    while chunk := stream.read(2**20):
        read += len(chunk)
        if read > MAX_TRAILING:
            raise CorruptInput(f"{path}: holds more than its header claims; copy it again")


def _opened(path: Path, compressed: bool) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path) if compressed else open(path, "rb")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out the axes of one voxel after the third."""
    return shape[:3] if shape[3:] == (1,) * len(shape[3:]) else shape


def write(volume: Volume, path: Path) -> None:
    """Write a volume in HU, float32.

    Raises:
        OutputError: The place cannot be written or is full.
    """
    import nibabel

    image = nibabel.Nifti1Image(volume.hu.T.astype(np.float32), np.array(volume.grid.affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"HU"
    with atomic(path, check=partial(_expect_same, volume)) as temporary:
        nibabel.save(image, temporary)


def _expect_same(volume: Volume, path: Path) -> None:
    import nibabel

    back = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj).T
    if not np.array_equal(back, volume.hu.astype(np.float32), equal_nan=True):
        raise OSError(None, "what was written does not read back the same")
