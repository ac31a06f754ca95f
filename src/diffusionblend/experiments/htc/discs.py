"""The measured discs: which files there are, what they measured, and their segmentations."""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionblend.data.scan import Scan
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.geometry import FanBeam, Geometry, Grid
from diffusionblend.io.projections.importing import import_scan

SOURCE = "https://doi.org/10.5281/zenodo.6984868 and https://doi.org/10.5281/zenodo.7418878"
_FACTOR = 2
"""How many pixels of the segmentation a pixel of a reconstruction is wide: there are 256 x 256."""
_NAME = re.compile(r"htc2022_(?P<disc>.+)_\d+\.mat")
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Disc:
    """A scan of a disc, and the challenge's segmentation, which only a score is made of.

    Attributes:
        name: Its name, such as `tb`.
        degrees: The arc that is taken.
        scan: The scan, its line integrals as they were measured.
        truth: Which pixels are acrylic (rows, columns), in the order of a reconstruction.
    """

    name: str
    file: str
    degrees: int
    scan: Scan
    truth: np.ndarray


def find_discs(folder: Path, degrees: Sequence[int]) -> list[Disc]:
    """Return the scans of arcs of these many degrees, the widest of each disc first.

    An arc that was measured is taken as it is; others are cut from the widest scan of the disc.

    Args:
        folder: Of the challenge's files, htc2022_DISC_DEGREES.mat and htc2022_DISC_truth.png.
        degrees: The arcs.
    """
    discs = []
    for name, paths in _files(folder).items():
        truth = _truth(folder / f"htc2022_{name}_truth.png")
        scans = sorted(((_read(p, len(truth)), p.name) for p in paths), key=lambda s: -_arc(s[0]))
        for arc in sorted(degrees, reverse=True):
            wide = [(s, file) for s, file in scans if arc <= _arc(s) + _ROUNDING]
            own = [(s, file) for s, file in wide if math.isclose(arc, _arc(s))]
            discs += [Disc(name, file, arc, cut(s, arc), truth) for s, file in (own or wide)[:1]]
    if not discs:
        raise UsageError(f"no disc of {folder} was measured over an arc that wide")
    return discs


def cut(scan: Scan, degrees: float) -> Scan:
    """Return the first views of a scan, over this many degrees."""
    beam = scan.geometry.beam
    turned = np.abs(np.array(beam.angles_deg) - beam.angles_deg[0])
    views = np.flatnonzero(turned <= degrees + _ROUNDING).tolist()
    geometry = Geometry(scan.geometry.grid, beam.views(views))
    return dataclasses.replace(scan, y=scan.y[:, views], geometry=geometry)


def _files(folder: Path) -> dict[str, list[Path]]:
    """Return the scans in a folder, by the names of their discs."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected the data of {SOURCE}")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        name = _NAME.fullmatch(path.name)
        if name:
            found.setdefault(name["disc"], []).append(path)
    if not found:
        raise UsageError(f"{folder}: has no htc2022_DISC_DEGREES.mat; get the data of {SOURCE}")
    return found


def _arc(scan: Scan) -> float:
    angles = scan.geometry.beam.angles_deg
    return abs(angles[-1] - angles[0])


def _read(path: Path, size: int) -> Scan:
    """Read a scan; the axis is in the middle, as the challenge has it."""
    scan = import_scan(path, centre="none", size=size // _FACTOR)
    beam = scan.geometry.beam
    if not isinstance(beam, FanBeam) or len(scan.y) != 1:
        raise CorruptInput(f"{path}: is not a fan of one row; expected a scan of the challenge")
    pixel_mm = _FACTOR * beam.bin_mm * beam.sod_mm / beam.sdd_mm
    grid = Grid.from_spacing(scan.geometry.grid.shape, (1.0, pixel_mm, pixel_mm))
    return dataclasses.replace(scan, geometry=Geometry(grid, beam))


def _truth(path: Path) -> np.ndarray:
    """Read a segmentation; its first row is the last row of our slices."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("L"))
    except (OSError, ValueError) as error:
        raise CorruptInput(f"{path}: no segmentation ({error}); expected a PNG") from error
    rows, columns = pixels.shape
    if rows != columns or rows % _FACTOR:
        raise CorruptInput(f"{path}: has {rows} x {columns} pixels; expected 512 x 512")
    return pixels[::-1] > 0
