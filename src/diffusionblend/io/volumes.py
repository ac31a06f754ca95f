"""Volumes read from and written to files, in any format of `formats.registry`."""

import hashlib
from pathlib import Path

from diffusionblend.data.hounsfield import check_finite, check_hu, tell_of_scale
from diffusionblend.data.volume import HasVolume, Volume, volume_in
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.files import PathLike, naming, sha256
from diffusionblend.io.formats.registry import is_deviation, reader_of, writer_of


def read_volume(path: PathLike) -> Volume:
    """Read a CT volume in HU: NIfTI, NRRD, MetaImage, OME-Zarr, or a DICOM series.

    Args:
        path: The file, the folder (of OME-Zarr or DICOM) or the zip (of DICOM).

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not one three-dimensional volume on straight axes, or not in HU.
        UsageError: The package that reads the format is not installed.
    """
    path = Path(path)
    volume = _read(path)
    if is_deviation(path) and volume.hu.min() >= 0:
        raise UnsupportedInput(
            f"{path}: is the standard deviation of samples, not a CT; give the volume that it "
            "belongs to, or look at it with `view`"
        )
    check_hu(path, volume.hu)
    return volume


def read_compared(path: PathLike) -> Volume:
    """Read a CT volume to compare it or to look at it; a scale other than HU is reported."""
    volume = read_volume(path)
    tell_of_scale(path, volume.hu)
    return volume


def read_shown(path: PathLike) -> Volume:
    """Read a CT volume to look at, or the deviation of several samples, as `a.std.nii.gz` is."""
    return read_beside(Path(path)) if is_deviation(Path(path)) else read_compared(path)


def read_beside(path: Path) -> Volume:
    """Read what lies beside a volume and need not be a CT: a deviation, an intermediate volume."""
    if not path.exists():
        raise CorruptInput(f"{path}: no such file; make the volume again")
    return _read(path)


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the number of voxels along each axis, in the order of the file, from its header."""
    return reader_of(path).shape(path)


def digest(path: Path) -> str:
    """Return the SHA-256 of the file of a volume; of several files that of their digests."""
    each = [sha256(file) for file in reader_of(path).files(path)]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


def write_volume(
    volume: Volume | HasVolume,
    path: PathLike,
    *,
    source: PathLike | None = None,
    description: str = "",
) -> None:
    """Write a volume in HU: whole or not at all.

    Args:
        volume: The volume, or a reconstruction.
        path: A name in .nii.gz, .nii, .nrrd or .ome.zarr; or without a suffix: the new folder of a
            derived DICOM series.
        source: For DICOM, the series (a folder or zip) whose patient, study and frame of
            reference it gets; without it they are new, and the patient is anonymous.
        description: For DICOM, what made the volume, in a few words.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name is of no format that is written, or its package is not installed.
        CorruptInput: The volume holds NaN or infinity, or the source is missing or damaged.
        UnsupportedInput: The source is no CT series, or the volume does not lie in it.
    """
    path, volume = Path(path), volume_in(volume)
    form = writer_of(path)
    with naming(path):
        check_finite(volume.hu)
    if form.check_source is not None:
        series = None if source is None else Path(source)
        form.write(volume, path, source=series, description=description)
    elif source is not None:
        raise UsageError(_no_place_for(source, path))
    else:
        form.write(volume, path)


def check_suffix(path: Path) -> None:
    """Raise UsageError if `path` is not the name of a volume that can be written here."""
    writer_of(path)


def check_grid(path: Path, grid: Grid) -> None:
    """Raise UnsupportedInput if the format of `path` cannot express a grid."""
    check = writer_of(path).check_grid
    if check is not None:
        check(path, grid)


def check_source(source: Path, path: Path, grid: Grid) -> None:
    """Raise if a volume on a grid cannot be written to `path` as derived from a series.

    Asked before long work begins; reads headers only.
    """
    check = writer_of(path).check_source
    if check is None:
        raise UsageError(_no_place_for(source, path))
    check(source, grid)


def _read(path: Path) -> Volume:
    with naming(path):
        return reader_of(path).read(path)


def _no_place_for(source: PathLike, path: Path) -> str:
    return (
        f"{path}: has no place for the patient and study of {source}; expected a name without a "
        "dot, for a folder of DICOM"
    )
