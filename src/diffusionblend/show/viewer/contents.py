"""What the page gets: volumes as NIfTI of int16 HU, what is known of them, a picture of the scan.

All that is given is read before the page opens, so that what cannot be read is refused on the
command line; the possibly many volumes of a sampling's steps are read when asked for.
"""

import functools
import importlib.resources
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.io.files import as_utf8, sha256
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_beside, read_shape, read_shown
from diffusionblend.pictures.colours import DIFFERENCE_HU, WINDOWS, colours, grey
from diffusionblend.pictures.png import png_bytes
from diffusionblend.pictures.sections import section
from diffusionblend.quality.record import Warn
from diffusionblend.quality.words import is_grave, rank
from diffusionblend.runs.checkpoint import SavedStep, read_steps
from diffusionblend.runs.provenance import steps_folder
from diffusionblend.runs.record import Found, Record, find_record
from diffusionblend.show.report.runs import is_truth, volumes_of
from diffusionblend.show.viewer.server import Answer, Routes

MAX_VOXELS, MAX_VOLUMES = 400_000_000, 8
"""Of all volumes together: docs/viewer.md says what was measured."""
STEPS_IN_MEMORY = 4
_NIFTI, _JSON, _PNG = "application/octet-stream", "application/json", "image/png"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_INT16 = np.iinfo(np.int16)


class Step(msgspec.Struct, frozen=True):
    """A step of the sampling, for the page: what to call it, its volume's name, |A u - y| / |y|."""

    name: str
    file: str
    residual: float


class Shown(msgspec.Struct, frozen=True, rename="camel"):
    """A volume, for the page.

    Attributes:
        shape: Columns, rows, slices: (x, y, z).
        step_mm: From voxel to voxel (x, y, z), with its sign, RAS+.
        first_mm: Centre of the first voxel (x, y, z).
        still: The name of a picture of the slice that is shown first, for as long as the page
            draws nothing itself; empty of a volume on another grid than the first.
        steps: Of its sampling, in order.
        warnings: What its record warns of, the gravest first.
        grave: How many of them say that something may be wrong.
    """

    name: str
    file: str
    shape: tuple[int, int, int]
    step_mm: tuple[float, float, float]
    first_mm: tuple[float, float, float]
    still: str = ""
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    grave: int = 0


@dataclass(frozen=True)
class Contents:
    """What there is to view."""

    routes: Routes
    shown: tuple[Shown, ...]
    scan: Path | None


def gather(paths: Sequence[Path], scan: Path | None = None, *, shrink: int = 1) -> Contents:
    """Read what is to be viewed.

    Args:
        paths: Volumes, in any format that is read, or folders of them.
        scan: A scan; if not given, the one that a volume's record names, if it lies beside it.
        shrink: Show the mean over blocks of this many pixels, squared, in each slice.
    """
    paths = [volume for path in paths for volume in volumes_of(path)]
    check_size(paths, shrink)
    routes, shown, grid = dict(_page()), [], None
    records = {path: find_record(path) for path in paths}
    read = functools.lru_cache(STEPS_IN_MEMORY)(partial(_read, shrink=shrink))
    for index, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        volume = _binned(read_shown(path), shrink)
        # Stored in the order of the first, so that they can be subtracted.
        grid = grid or volume.grid
        volume = volume.oriented_like(grid)
        file, folder = f"volume-{index}.nii", steps_folder(path)
        routes[file] = partial(Answer, _NIFTI, as_nifti(volume))
        steps, called = [], _step_names(read_steps(folder), records[path].record)
        for saved, called_so in called:
            steps.append(Step(called_so, f"volume-{index}-step-{saved.step}.nii", saved.residual))
            routes[steps[-1].file] = partial(_step, read, folder / saved.volume, volume.grid)
        warned = _warnings(records[path].record)
        shown.append(_shown(name, file, volume.grid, tuple(steps), warned))
        if volume.grid == grid:
            still = f"volume-{index}.png"
            routes[still] = partial(Answer, _PNG, _still(volume))
            shown[-1] = msgspec.structs.replace(shown[-1], still=still)
    scan = scan or next(filter(None, map(scan_of, records.values())), None)
    if scan is not None:
        routes["scan.png"] = partial(Answer, _PNG, _picture(scan))
    reference = next((i for i, path in enumerate(paths) if is_truth(path)), 0)
    told = _told(shown, scan, shrink, reference)
    routes["session.json"] = partial(Answer, _JSON, msgspec.json.encode(told))
    return Contents(routes, tuple(shown), scan)


def check_size(paths: Sequence[Path], shrink: int = 1) -> None:
    """Refuse more than a browser can hold; asked of the headers, before a voxel is read."""
    if not 0 < len(paths) <= MAX_VOLUMES:
        cure = f"name fewer, such as {paths[0]}" if paths else "name one"
        raise UsageError(f"{len(paths)} volumes to view; expected 1 to {MAX_VOLUMES}; {cure}")
    voxels = sum(math.prod(read_shape(path)) for path in paths) // shrink**2
    if voxels > MAX_VOXELS:
        least = shrink + 1
        while voxels * shrink**2 // least**2 > MAX_VOXELS:
            least += 1
        raise UsageError(
            f"{len(paths)} volumes to view have {voxels} voxels; expected at most {MAX_VOXELS}, "
            f"the limit of a browser; give fewer, or add `shrink={least}`"
        )


def scan_of(found: Found) -> Path | None:
    """Return the scan that a volume's record names, if the same scan still lies beside it."""
    if found.record is None:
        return None
    # Its last part only: a record may come from anywhere.
    place = found.path.with_name(Path(str(found.record.scan.get("name", ""))).name or "none")
    same = place.is_file() and sha256(place) == found.record.scan.get("sha256")
    return place if same else None


def _step_names(
    saved: Sequence[SavedStep], record: Record | None
) -> Iterator[tuple[SavedStep, str]]:
    """Name each step by its number; of several samples, by both."""
    for one in saved:
        if record is None or record.samples == 1:
            yield one, f"{one.step}"
        else:
            sample, step = record.sample_of(one.step)
            yield one, f"sample {sample}, {step}"


def _warnings(record: Record | None) -> tuple[Warn, ...]:
    if record is None or record.quality is None:
        return ()
    return tuple(sorted(record.quality.warnings, key=lambda warning: rank(warning.code)))


def as_nifti(volume: Volume) -> bytes:
    """Return a volume as a NIfTI file of int16, not compressed: HU rounded to 1.

    What is above 32767 HU becomes that. The axes, which may be up to one degree off, are straight.
    """
    import nibabel

    voxels = np.empty(volume.hu.shape, np.int16)
    for rounded, values in zip(voxels, volume.hu, strict=True):
        rounded[:] = np.rint(values).clip(_INT16.min, _INT16.max)
    image = nibabel.Nifti1Image(voxels.T, _straight(volume.grid))
    image.header.set_xyzt_units("mm")
    # A range, so that the page need not look for one.
    image.header["cal_min"], image.header["cal_max"] = -1000, 1000
    return image.to_bytes()


def _still(volume: Volume) -> bytes:
    """Return the middle axial slice in the first window, as a PNG.

    As the page shows it first: the patient's right is on the left, and the front on top.
    """
    x, y, _ = np.sign(np.diag(_straight(volume.grid))[:3]).astype(int)
    hu = section(volume.hu, volume.grid.spacing_mm, "axial")[::-y, ::-x]
    return png_bytes(Image.fromarray(grey(hu, WINDOWS[0].limits_hu)))


def _straight(grid: Grid) -> np.ndarray:
    affine = np.array(grid.affine)
    affine[:3, :3] = np.diag(np.diag(affine)[:3])
    return affine


def _page() -> Iterator[tuple[str, Callable[[], Answer]]]:
    """Yield the files of the page: those that are in its folder now, and no others."""
    folder = importlib.resources.files(__package__) / "page"
    for prefix, place in (("", folder), ("niivue/", folder / "niivue")):
        for file in place.iterdir():
            kind = _KINDS.get(Path(file.name).suffix)
            if kind is not None:
                name = "" if file.name == "index.html" else prefix + file.name
                yield name, partial(Answer, f"{kind}; charset=utf-8", file.read_bytes())


def _names(paths: Sequence[Path]) -> list[str]:
    """Return names for people: those of the files; of equal ones the paths."""
    names = [path.name for path in paths]
    return [
        str(path) if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]


def _shown(
    name: str, file: str, grid: Grid, steps: tuple[Step, ...], warnings: tuple[Warn, ...]
) -> Shown:
    affine = _straight(grid)
    x, y, z = np.diag(affine)[:3].tolist()
    first_x, first_y, first_z = affine[:3, 3].tolist()
    slices, rows, columns = grid.shape
    return Shown(
        name=as_utf8(name),
        file=file,
        shape=(columns, rows, slices),
        step_mm=(x, y, z),
        first_mm=(first_x, first_y, first_z),
        steps=steps,
        warnings=tuple(warning.text for warning in warnings),
        grave=sum(is_grave(warning.code) for warning in warnings),
    )


def _told(
    shown: Sequence[Shown], scan: Path | None, shrink: int, reference: int
) -> dict[str, object]:
    return {
        "volumes": shown,
        "reference": reference,
        "windows": [{"name": w.name, "centre": w.centre, "width": w.width} for w in WINDOWS],
        "difference": {"hu": DIFFERENCE_HU, "colours": colours().tolist()},
        "scan": None if scan is None else {"name": scan.name, "file": "scan.png"},
        "shrink": shrink,
    }


def _picture(scan: Path) -> bytes:
    from diffusionblend.pictures.scanner import draw_scan

    read = read_scan(scan)
    return png_bytes(draw_scan(read.geometry, read.y))


_ONE_AT_A_TIME = threading.Lock()


def _step(read: Callable[[Path, Grid], bytes], place: Path, grid: Grid) -> Answer:
    with _ONE_AT_A_TIME:
        return Answer(_NIFTI, read(place, grid))


def _read(place: Path, grid: Grid, shrink: int) -> bytes:
    volume = _binned(read_beside(place), shrink).oriented_like(grid)
    if volume.grid.shape != grid.shape:
        raise UnsupportedInput(
            f"{place}: has {volume.grid.shape} voxels; expected {grid.shape}, as its volume has; "
            "remove it"
        )
    return as_nifti(Volume(volume.hu, grid))


def _binned(volume: Volume, factor: int) -> Volume:
    """Return the mean over blocks of pixels; a rest at the end of rows and columns is left out."""
    _, rows, columns = volume.hu.shape
    hu = volume.hu[:, : rows - rows % factor, : columns - columns % factor]
    return Volume(hu, volume.grid.part((0, 0, 0), hu.shape)).binned(factor)
