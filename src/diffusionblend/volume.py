"""Volumes: Hounsfield units on a grid in space, read from and written to several formats.

Arrays are (slices, rows, columns), that is (z, y, x): the reverse of the order of the files. The
signs of the axes stay as they are in the file, so that what is written lies voxel on voxel over
what was read. Here is what every format has in common; how each is read and written is in
`formats`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionblend.arrays import to_numpy
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.files import PathLike
from diffusionblend.geometry import Grid

MAX_VOXELS = 2**31
MAX_DEFLATE = 1032
"""Bytes that one byte of a compressed file can become at most: deflate's limit."""
SPACING_MM = (0.001, 100.0)
HU_LIMITS = (-32768.0, 65535.0)
BELOW_AIR, MOST_BELOW_AIR = -1500.0, 0.05
"""HU below which there is noise or padding alone, and the share of voxels from which it is neither.

Noise of 200 HU in air, and streaks of metal, leave 0.6 percent there.
"""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the coordinates of DICOM and ITK to those of NIfTI; its own inverse."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume in HU.

    `np.asarray(volume)` is its values; `torch.from_numpy(volume.hu)` shares their memory.

    Attributes:
        hu: Values (slices, rows, columns), float32, in HU; arrays of other types and tensors
            become that.
        grid: Where its voxels lie.

    Raises:
        ValueError: The values have another shape than the grid.
    """

    hu: np.ndarray
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "hu", to_numpy(self.hu))
        if self.hu.shape != self.grid.shape:
            raise ValueError(f"volume is {self.hu.shape}, its grid is {self.grid.shape}")

    def __array__(self, dtype: "np.dtype | None" = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.hu, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.hu.shape))
        spacing = " x ".join(f"{mm:.4g}" for mm in self.grid.spacing_mm)
        low, high = float(self.hu.min()), float(self.hu.max())
        return f"Volume({sizes} voxels of {spacing} mm, {low:.0f} to {high:.0f} HU)"

    def _repr_html_(self) -> str:
        from diffusionblend.notebook import volume_html

        return volume_html(self)

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

    def facing(self, grid: Grid) -> "Volume":
        """Return the same voxels in the order in which another grid counts its own."""
        along = [np.diag(np.array(g.affine)[:3, :3])[::-1] > 0 for g in (self.grid, grid)]
        axes = tuple(int(axis) for axis in np.flatnonzero(along[0] != along[1]))
        return Volume(np.flip(self.hu, axes), self.grid.reversed(axes)) if axes else self

    def as_seen(self) -> np.ndarray:
        """Return HU (slices, rows, columns) in the order of radiological display.

        Columns run to the patient's left, rows to the back, slices to the head, whatever the
        directions on disk.
        """
        return np.flip(self.hu, self.turned_axes)

    @property
    def turned_axes(self) -> tuple[int, ...]:
        """The axes (z, y, x) that `as_seen` counts from the other end."""
        x, y, z = np.diag(np.array(self.grid.affine)[:3, :3])
        return tuple(axis for axis, right in enumerate((z > 0, y < 0, x < 0)) if not right)

    def binned(self, factor: int) -> "Volume":
        """Return the mean over blocks of `factor` x `factor` pixels in each slice."""
        slices, rows, columns = self.hu.shape
        blocks = self.hu.reshape(slices, rows // factor, factor, columns // factor, factor)
        return Volume(blocks.mean(axis=(2, 4), dtype=np.float32), self.grid.binned(factor))


def read_volume(path: PathLike) -> Volume:
    """Read a CT volume in HU: NIfTI, NRRD, MetaImage, or a folder or zip with a DICOM series.

    Args:
        path: The file, or the folder.

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not one three-dimensional volume on straight axes, or not in HU.
        UsageError: The package that reads the format is not installed.
    """
    from diffusionblend.formats.read import read

    return read(Path(path))


def read_beside(path: Path) -> Volume:
    """Read what is beside a volume and need not look like a CT: a deviation, a volume on the way.

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not one three-dimensional NIfTI volume on straight axes.
    """
    from diffusionblend.formats import nifti

    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; make the volume again")
    return nifti.read(path, ct=False)


def write_volume(
    volume: Volume,
    path: PathLike,
    *,
    source: PathLike | None = None,
    description: str = "",
) -> None:
    """Write a volume in HU: whole or not at all.

    Args:
        volume: The volume.
        path: A name in .nii.gz, .nii or .nrrd; or without a suffix: the new folder of a derived
            DICOM series.
        source: For DICOM, the series (a folder or zip) whose patient, study and frame of
            reference it gets; without it they are new, and the patient is anonymous.
        description: For DICOM, what made the volume, in a few words.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name is of no format that is written, or its package is not installed.
        CorruptInput: The source is missing or damaged.
        UnsupportedInput: The source is no CT series, or the volume does not lie in it.
    """
    from diffusionblend.formats.write import write

    series = None if source is None else Path(source)
    write(volume, Path(path), source=series, description=description)


def check_suffix(path: Path) -> None:
    """Raise UsageError if `path` is not the name of a volume that can be written here."""
    from diffusionblend.formats.write import find_writer

    find_writer(path)


def check_source(source: Path, path: Path, grid: Grid) -> None:
    """Raise if a volume on a grid cannot be written to `path` as derived from a series.

    Asked before long work begins; reads headers only.

    Raises:
        CorruptInput: The source is missing or damaged.
        UnsupportedInput: It is no CT series, or the grid does not lie in it.
        UsageError: `path` is not the name of a folder, for DICOM.
    """
    from diffusionblend.formats.write import check

    check(source, path, grid)


def volume_in_order(
    name: object, voxels: np.ndarray, affine: np.ndarray, *, ct: bool = True
) -> Volume:
    """Make a volume of voxels as a file holds them: put the axes in the order x, y, z.

    Their directions stay as they are.

    Args:
        name: What to call the input in messages.
        voxels: Values in HU, in the order of the file's axes, the fastest first.
        affine: 4 x 4, from indices of `voxels` to millimetres, RAS+, on straight axes.
        ct: Whether to refuse values that no CT has.

    Raises:
        CorruptInput: A value is NaN or infinity.
        UnsupportedInput: The values are not HU.
    """
    order = np.argsort(np.abs(affine[:3, :3]).argmax(axis=0))
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        hu = np.ascontiguousarray(voxels.transpose(order).T, dtype=np.float32)
    check_hu(name, hu, ct)
    return Volume(hu, Grid.from_affine(hu.shape, affine[:, [*order, 3]]))


def check_header(name: object, shape: Sequence[int], affine: np.ndarray) -> None:
    """Refuse a grid before memory is taken for it: its shape, its spacing, its directions.

    Args:
        name: What to call the input in messages.
        shape: Numbers of voxels, in the order of the file's axes.
        affine: 4 x 4, from indices in that order to millimetres, RAS+.

    Raises:
        CorruptInput: It holds NaN or infinity, or voxels of a size that no scanner has.
        UnsupportedInput: It is not three-dimensional, too large, or oblique.
    """
    if len(shape) != 3 or min(shape) < 2:
        raise UnsupportedInput(
            f"{name}: has the shape {tuple(shape)}, expected three dimensions of two voxels or "
            "more; stack the slices into one volume"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise UnsupportedInput(f"{name}: has {math.prod(shape)} voxels; at most {MAX_VOXELS}")
    if not np.isfinite(affine).all():
        raise CorruptInput(f"{name}: its affine holds NaN or infinity; repair the header")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(name, spacing)
    # A tilted grid would need slices that are no planes of the file.
    along = np.abs(affine[:3, :3] / spacing) > 0.02
    if (along.sum(axis=0) != 1).any() or (along.sum(axis=1) != 1).any():
        raise UnsupportedInput(f"{name}: its axes are oblique; resample it to straight axes first")


def check_spacing(name: object, spacing: np.ndarray) -> None:
    """Raise CorruptInput if voxels have a size (three numbers, in mm) that no scanner has."""
    size = np.abs(spacing)
    if not (size.min() >= SPACING_MM[0] and size.max() <= SPACING_MM[1]):  # NaN is neither
        raise CorruptInput(
            f"{name}: voxels of {' x '.join(f'{s:g}' for s in size)} mm; expected "
            f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm a side; repair the header"
        )


def check_kind(name: object, kind: np.dtype) -> None:
    """Raise UnsupportedInput if voxels of a type are not one real number each."""
    if kind.kind not in "iuf":
        raise UnsupportedInput(f"{name}: its voxels are {kind}; expected one number each, in HU")


def check_claim(name: object, needed: int, held: int, compressed: bool) -> None:
    """Refuse a header that claims more voxels than the file can hold.

    Asked before memory is taken: a damaged header may claim more than any machine has.

    Args:
        name: What to call the input in messages.
        needed: Bytes of voxels that the header claims.
        held: Bytes of the file.
        compressed: Whether the voxels are.

    Raises:
        CorruptInput: It claims more.
    """
    held *= MAX_DEFLATE if compressed else 1
    if needed > held:
        raise CorruptInput(
            f"{name}: its header claims {needed} bytes of voxels, the file has at most {held}; "
            "copy it again"
        )


def check_hu(name: object, hu: np.ndarray, ct: bool = True) -> None:
    """Raise if values are not finite, or, of a `ct`, no Hounsfield units of a scan with air."""
    low, high = float(hu.min()), float(hu.max())  # NaN and infinity come through both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CorruptInput(f"{name}: holds NaN or infinity; expected finite HU; repair the volume")
    if not ct:
        return
    if low < HU_LIMITS[0] or high > HU_LIMITS[1] or high - low < 50 or low > -200:
        raise _not_hu(name, low, high)


def check_air(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if many values are none that air has: grey values with a sign.

    Padding is one value, the lowest, and does not count. A reconstruction may have such values, and
    is read; what is to be scanned may not.
    """
    if float(((hu < BELOW_AIR) & (hu > hu.min())).mean()) > MOST_BELOW_AIR:
        raise _not_hu(name, float(hu.min()), float(hu.max()))


def _not_hu(name: object, low: float, high: float) -> UnsupportedInput:
    return UnsupportedInput(
        f"{name}: values from {low:g} to {high:g} are not Hounsfield units (air -1000, "
        f"water 0); {_way_to_hu(low, high)}"
    )


def _way_to_hu(low: float, high: float) -> str:
    if low >= 0 and high <= 5:
        return (
            "they may be attenuation in 1/mm, mu: store 1000 (mu / mu_water - 1), where water has "
            "0.0193 at 70 keV"
        )
    if low >= 0 and high in (*range(1, 256), 65535):
        return (
            "they may be grey values: apply the rescale slope and intercept if there are any, or "
            "give the volume in HU"
        )
    return (
        "apply the rescale slope and intercept first; grey values, as of micro-CT, are to be "
        "scaled so that air is -1000 and water 0"
    )
