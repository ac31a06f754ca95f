"""Volumes: Hounsfield units on a grid in space, read from and written to NIfTI.

Arrays are (slices, rows, columns), that is (z, y, x): the reverse of NIfTI's order. The signs of
the axes stay as they are in the file, so that what is written lies voxel on voxel over what was
read.
"""

import math
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.files import atomic
from diffusionblend.geometry import Grid

SUFFIXES = (".nii.gz", ".nii")
MAX_VOXELS = 2**31
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
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; expected a NIfTI volume (.nii.gz or .nii)")
    if not path.name.endswith(SUFFIXES):
        raise UnsupportedInput(f"{path}: not a NIfTI file; expected a name in .nii.gz or .nii")
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        _check_header(path, image.shape, image.affine)
        image = _in_order(image)
        hu = np.asarray(image.dataobj, dtype=np.float32).T
    except ImageFileError as error:
        raise CorruptInput(f"{path}: not a NIfTI file ({error}); convert it to NIfTI") from error
    except _READ_ERRORS as error:
        raise CorruptInput(f"{path}: cannot be read ({error}); copy or convert it again") from error
    _check_hu(path, hu)
    return Volume(np.ascontiguousarray(hu), Grid.from_affine(hu.shape, image.affine))


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


def _check_header(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> None:
    shape = shape[:3] if shape[3:] == (1,) * len(shape[3:]) else shape
    if len(shape) != 3 or min(shape) < 2:
        raise UnsupportedInput(
            f"{path}: has the shape {shape}, expected three dimensions of two voxels or more; "
            "stack the slices into one volume"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise UnsupportedInput(f"{path}: has {math.prod(shape)} voxels; at most {MAX_VOXELS}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing.min() < 0.001 or spacing.max() > 100:
        raise CorruptInput(f"{path}: voxels of {spacing} mm cannot be; repair the header's affine")
    # A tilted grid would need slices that are no planes of the file.
    if (np.abs(affine[:3, :3] / spacing) > 0.02).sum() != 3:
        raise UnsupportedInput(f"{path}: its axes are oblique; resample it to straight axes first")


def _in_order(image: Any) -> Any:  # noqa: ANN401 - nibabel has no types
    """Put the axes in the order x, y, z; leave their directions alone."""
    import nibabel

    if image.ndim > 3:
        image = nibabel.Nifti1Image(image.dataobj[..., 0], image.affine, image.header)
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
