"""Volumes: Hounsfield units on a grid in space, read from and written to NIfTI.

Arrays are (slices, rows, columns), that is (z, y, x): the reverse of NIfTI's order. The signs of
the axes stay as they are in the file, so that what is written lies voxel on voxel over what was
read.
"""

import gzip
import math
import warnings
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.files import atomic
from diffusionblend.geometry import Grid

SUFFIXES = (".nii.gz", ".nii")
HEADER_BYTES, MAGIC = 348, b"n+1"
MAX_VOXELS = 2**31
MAX_DEFLATE = 1032
"""Bytes that one byte of a gzip file can become at most."""
SPACING_MM = (0.001, 100.0)
HU_LIMITS = (-32768.0, 65535.0)
_READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, MemoryError, OverflowError)


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume in HU.

    Attributes:
        hu: Values (slices, rows, columns), float32, in HU.
        grid: Where its voxels lie.
    """

    hu: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        if self.hu.shape != self.grid.shape:
            raise ValueError(f"volume is {self.hu.shape}, its grid is {self.grid.shape}")

    def slices(self, first: int, last: int) -> "Volume":
        """Return the slices `first` to `last` - 1, on their own grid.

        Raises:
            UsageError: There are no such slices.
        """
        if not 0 <= first < last <= len(self.hu):
            raise UsageError(
                f"slices {first}:{last} are not in the volume; expected A:B with "
                f"0 <= A < B <= {len(self.hu)}"
            )
        return Volume(self.hu[first:last], self.grid.part((first, 0, 0), self.hu[first:last].shape))

    def as_seen(self) -> np.ndarray:
        """Return HU (slices, rows, columns) in the order of radiological display.

        Columns run to the patient's left, rows to the back, slices to the head, whatever the
        directions on disk.
        """
        x, y, z = np.diag(np.array(self.grid.affine)[:3, :3])
        flipped = tuple(axis for axis, right in enumerate((z > 0, y < 0, x < 0)) if not right)
        return np.flip(self.hu, flipped)

    def binned(self, factor: int) -> "Volume":
        """Return the mean over blocks of `factor` x `factor` pixels in each slice."""
        slices, rows, columns = self.hu.shape
        blocks = self.hu.reshape(slices, rows // factor, factor, columns // factor, factor)
        return Volume(blocks.mean(axis=(2, 4), dtype=np.float32), self.grid.binned(factor))


def read_volume(path: Path) -> Volume:
    """Read a NIfTI file that holds a CT volume in HU.

    Raises:
        CorruptInput: The file is missing, truncated, or holds NaN or infinity.
        UnsupportedInput: It is not three-dimensional, or not in HU.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; expected a NIfTI volume (.nii.gz or .nii)")
    if not path.name.endswith(SUFFIXES):
        raise UnsupportedInput(f"{path}: not a NIfTI file; expected a name in .nii.gz or .nii")
    try:
        hu, affine = _read_nifti(path)
    except (ImageFileError, HeaderDataError, WrapStructError) as error:
        raise CorruptInput(f"{path}: not a NIfTI file ({error}); convert it to NIfTI") from error
    except _READ_ERRORS as error:
        raise CorruptInput(f"{path}: cannot be read ({error}); copy or convert it again") from error
    _check_hu(path, hu)
    return Volume(np.ascontiguousarray(hu), Grid.from_affine(hu.shape, affine))


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume to a NIfTI file in HU, float32: whole or not at all.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name has no suffix of NIfTI.
    """
    import nibabel

    check_suffix(path)
    image = nibabel.Nifti1Image(volume.hu.T.astype(np.float32), np.array(volume.grid.affine))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"HU"
    with atomic(path, check=partial(_expect_same, volume)) as temporary:
        nibabel.save(image, temporary)


def check_suffix(path: Path) -> None:
    """Raise UsageError if `path` is not the name of a NIfTI file."""
    if not path.name.endswith(SUFFIXES):
        raise UsageError(f"{path}: expected a name in .nii.gz or .nii for a volume")


def _expect_same(volume: Volume, path: Path) -> None:
    import nibabel

    back = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj).T
    if not np.array_equal(back, volume.hu.astype(np.float32), equal_nan=True):
        raise OSError(None, "what was written does not read back the same")


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (slices, rows, columns) and the affine of a NIfTI file."""
    import nibabel

    with _opened(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on a header that name no file
        # As it stands: nibabel itself would make a size of 0 one millimetre.
        header = nibabel.Nifti1Header(stream.read(HEADER_BYTES), check=False)
        if header["magic"].item() != MAGIC:
            raise CorruptInput(f"{path}: not a NIfTI file; convert it to NIfTI-1, one file")
        _check_spacing(path, header["pixdim"][1:4])
        stream.seek(0)
        # No memory map: the values must stay what they are, whatever becomes of the file.
        file_map = nibabel.Nifti1Image.make_file_map({"image": stream})
        image = nibabel.Nifti1Image.from_file_map(file_map, mmap=False)
        _check_header(path, image.shape, image.affine)
        _check_storage(path, image)
        image = _in_order(image)
        hu = np.asarray(image.dataobj, dtype=np.float32).T
        while stream.read(2**20):  # gzip compares its checksum at the end, and only there
            pass
    return hu, image.affine


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path) if path.name.endswith(".gz") else open(path, "rb")


def _check_storage(path: Path, image: Any) -> None:  # noqa: ANN401 - nibabel has no types
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        raise UnsupportedInput(f"{path}: its voxels are {kind}; expected one number each, in HU")
    # Asked before memory is taken: a damaged header may claim more than any machine has.
    needed = math.prod(image.shape) * kind.itemsize
    held = path.stat().st_size * (MAX_DEFLATE if path.name.endswith(".gz") else 1)
    if needed > held:
        raise CorruptInput(
            f"{path}: its header claims {needed} bytes of voxels, the file has at most {held}; "
            "copy it again"
        )


def _check_header(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> None:
    shape = shape[:3] if shape[3:] == (1,) * len(shape[3:]) else shape
    if len(shape) != 3 or min(shape) < 2:
        raise UnsupportedInput(
            f"{path}: has the shape {shape}, expected three dimensions of two voxels or more; "
            "stack the slices into one volume"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise UnsupportedInput(f"{path}: has {math.prod(shape)} voxels; at most {MAX_VOXELS}")
    if not np.isfinite(affine).all():
        raise CorruptInput(f"{path}: its affine holds NaN or infinity; repair the header")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    _check_spacing(path, spacing)
    # A tilted grid would need slices that are no planes of the file.
    along = np.abs(affine[:3, :3] / spacing) > 0.02
    if (along.sum(axis=0) != 1).any() or (along.sum(axis=1) != 1).any():
        raise UnsupportedInput(f"{path}: its axes are oblique; resample it to straight axes first")


def _check_spacing(path: Path, spacing: np.ndarray) -> None:
    size = np.abs(spacing)
    if not (size.min() >= SPACING_MM[0] and size.max() <= SPACING_MM[1]):  # NaN is neither
        raise CorruptInput(
            f"{path}: voxels of {' x '.join(f'{s:g}' for s in size)} mm; expected "
            f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm a side; repair the header"
        )


def _in_order(image: Any) -> Any:  # noqa: ANN401 - nibabel has no types
    """Put the axes in the order x, y, z; leave their directions alone."""
    import nibabel

    if image.ndim > 3:
        first = (...,) + (0,) * (image.ndim - 3)
        image = nibabel.Nifti1Image(image.dataobj[first], image.affine, image.header)
    order = nibabel.orientations.io_orientation(image.affine)
    order[:, 1] = 1
    return image.as_reoriented(order)


def _check_hu(path: Path, hu: np.ndarray) -> None:
    low, high = float(hu.min()), float(hu.max())  # NaN and infinity come through both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CorruptInput(f"{path}: holds NaN or infinity; expected finite HU; repair the volume")
    if low < HU_LIMITS[0] or high > HU_LIMITS[1] or high - low < 50 or low > -200:
        raise UnsupportedInput(
            f"{path}: values from {low:g} to {high:g} are not Hounsfield units (air -1000, "
            "water 0); apply the rescale slope and intercept first"
        )
