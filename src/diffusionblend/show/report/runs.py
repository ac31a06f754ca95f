"""Which volumes a report is of, and what they are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.formats.dicom.files import is_dicom
from diffusionblend.io.formats.registry import STD, is_volume, stem
from diffusionblend.io.volumes import read_compared
from diffusionblend.runs.provenance import CLASSICAL, beside, record_of
from diffusionblend.runs.record import Found, find_record

TRUTH = "truth"
MOST_RUNS = 24
LONGEST_NAME = 60


@dataclass(frozen=True, eq=False)
class Run:
    """A volume, its name in the report, and what is beside it."""

    name: str
    volume: Volume
    found: Found


def find_runs(paths: Sequence[Path], truth: Path | None = None) -> list[Path]:
    """Return the volumes that are meant: of a folder, those directly in it.

    Left out is what is beside another volume; and the truth, which is `truth` or is called so.
    """
    found = [run for path in paths for run in _runs_of(path)]
    same = None if truth is None else truth.resolve()
    found = [path for path in dict.fromkeys(found) if path.resolve() != same]
    if not found:
        named = ", ".join(map(str, paths))
        raise UsageError(
            f"{named}: no volume besides the truth; give the volumes to compare with it"
        )
    if len(found) > MOST_RUNS:
        raise UsageError(
            f"{len(found)} volumes; expected 1 to {MOST_RUNS} on a page; name fewer, such as "
            f"{found[0]}"
        )
    return found


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read volumes on one grid, and their records."""
    volumes = [read_compared(path) for path in paths]  # first: no record is looked for of a disk
    read = [(find_record(path), each) for path, each in zip(paths, volumes, strict=True)]
    grid = read[0][1].grid
    read = [(found, on_grid(found.path, each, grid, paths[0])) for found, each in read]
    names = _names([found for found, _ in read])
    return [Run(name, other, found) for name, (found, other) in zip(names, read, strict=True)]


def on_grid(path: Path, volume: Volume, grid: Grid, other: Path) -> Volume:
    """Return a volume with axes that run as those of a grid, that of another volume.

    DICOM, for one, is written from the patient's right and front on, whatever the scan's axes.
    """
    turned = volume.oriented_like(grid)
    if not turned.grid.close_to(grid):
        raise UnsupportedInput(
            f"{path}: is on another grid ({in_words(volume.grid)}) than {other} "
            f"({in_words(grid)}); give volumes of one scan"
        )
    return turned


def in_words(grid: Grid) -> str:
    """Say how many voxels a grid has, of what size, and where it begins."""
    shape = " x ".join(map(str, grid.shape))
    spacing = " x ".join(f"{mm:.4g}" for mm in grid.spacing_mm)
    place = ", ".join(f"{row[3]:.5g}" for row in grid.affine[:3])
    return f"{shape} voxels of {spacing} mm from ({place})"


def volumes_of(path: Path) -> list[Path]:
    """Return the volumes directly in a folder, but those beside another; a file is itself."""
    if not path.exists():
        raise CorruptInput(f"{path}: no such file; expected a volume, or a folder of volumes")
    if not path.is_dir() or is_volume(path):
        return [path]
    held = (p for p in path.iterdir() if not p.name.startswith("."))
    volumes = sorted(p for p in held if is_volume(p) or _is_made_series(p))
    parts = {beside(volume, part) for volume in volumes for part in (STD, CLASSICAL)}
    shown = [v for v in volumes if v not in parts]
    if not shown:
        _check_series(path)
    return shown or [path]


def _check_series(path: Path) -> None:
    """Refuse a folder that is no DICOM series, but has volumes in a folder of it, as of a batch."""
    held = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    if any(is_dicom(p) for p in held):
        return
    for folder in filter(Path.is_dir, held):
        if volume := next(filter(is_volume, sorted(folder.iterdir())), None):
            raise CorruptInput(
                f"{path}: has no volume of its own, but one of a folder in it has, {volume}; give "
                "such a folder, or the names of volumes"
            )


def _is_made_series(path: Path) -> bool:
    """Return whether a folder is a DICOM series that was made here: it has a record beside it."""
    return path.is_dir() and record_of(path).is_file() and any(map(is_dicom, path.iterdir()))


def _runs_of(path: Path) -> list[Path]:
    runs = [volume for volume in volumes_of(path) if volume == path or not is_truth(volume)]
    if not runs:
        raise CorruptInput(f"{path}: contains no reconstruction; name a volume, or another folder")
    return runs


def is_truth(path: Path) -> bool:
    """Return whether a volume is called the truth."""
    return stem(path) == TRUTH


def _names(found: Sequence[Found]) -> list[str]:
    """Call volumes by their method if that tells them apart, else by their file."""
    methods = [str(f.record.method.get("name", "")) if f.record else "" for f in found]
    stems = [stem(f.path) for f in found]
    folders = [f"{f.path.absolute().parent.name}/{s}" for f, s in zip(found, stems, strict=True)]
    for names in (methods, stems, folders):
        cut = [name[:LONGEST_NAME] for name in names]
        if all(cut) and len(set(cut)) == len(cut):
            return cut
    return [f"{name[:LONGEST_NAME]} ({number})" for number, name in enumerate(stems, 1)]
