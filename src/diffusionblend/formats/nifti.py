"""NIfTI-1 in one file, `.nii` or `.nii.gz`, read with nibabel."""

import gzip
import math
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.volume import (
    Volume,
    check_claim,
    check_header,
    check_kind,
    check_spacing,
    volume_in_order,
)

HEADER_BYTES, MAGIC = 348, b"n+1"
_READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, MemoryError, OverflowError)


def read(path: Path) -> Volume:
    """Read a NIfTI file that holds a CT volume in HU.

    Raises:
        CorruptInput: The file is truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not three-dimensional on straight axes, or not in HU.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        voxels, affine = _voxels(path)
    except (ImageFileError, HeaderDataError, WrapStructError) as error:
        raise CorruptInput(f"{path}: not a NIfTI file ({error}); convert it to NIfTI") from error
    except _READ_ERRORS as error:
        raise CorruptInput(f"{path}: cannot be read ({error}); copy or convert it again") from error
    return volume_in_order(path, voxels, affine)


def _voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the values in the order of the file's axes, and the affine."""
    import nibabel

    compressed = path.name.endswith(".gz")
    with _opened(path, compressed) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on a header that name no file
        # As it stands: nibabel itself would make a size of 0 one millimetre.
        header = nibabel.Nifti1Header(stream.read(HEADER_BYTES), check=False)
        if header["magic"].item() != MAGIC:
            raise CorruptInput(f"{path}: not a NIfTI file; convert it to NIfTI-1, one file")
        check_spacing(path, header["pixdim"][1:4])
        stream.seek(0)
        # No memory map: the values must stay what they are, whatever becomes of the file.
        file_map = nibabel.Nifti1Image.make_file_map({"image": stream})
        image = nibabel.Nifti1Image.from_file_map(file_map, mmap=False)
        shape = _without_ones(image.shape)
        check_header(path, shape, image.affine)
        kind = image.get_data_dtype()
        check_kind(path, kind)
        check_claim(path, math.prod(shape) * kind.itemsize, path.stat().st_size, compressed)
        voxels = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        while stream.read(2**20):  # gzip compares its checksum at the end, and only there
            pass
    return voxels, image.affine


def _opened(path: Path, compressed: bool) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path) if compressed else open(path, "rb")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out the axes of one voxel after the third."""
    return shape[:3] if shape[3:] == (1,) * len(shape[3:]) else shape
