"""Geometries of LEAP (Kim & Champley 2023), from the text that its `save_parameters` writes.

The text has a line `name = value` for each number, in mm and degrees. LEAP's own angles begin at
the negative y axis, so that at the angle phi of the text its bins run along (cos phi, sin phi), as
ours do, and rows along z; the source is at distance sod, tau beside the central ray
(`set_conebeam`). Projections are (views, rows, bins).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import ConeBeam, FanBeam, Geometry, Grid, ParallelBeam, PosedBeam
from diffusionblend.geometry.beam import Beam
from diffusionblend.geometry.poses import as_posed
from diffusionblend.geometry.tools.astra import centred
from diffusionblend.geometry.tools.values import count, number, numbers
from diffusionblend.geometry.tools.vectors import Taken, Vectors, beam_of, vectors_of

_OLD = {
    "img_dimx": "numX",
    "img_dimy": "numY",
    "img_dimz": "numZ",
    "img_pwidth": "voxelWidth",
    "img_pheight": "voxelHeight",
    "img_offsetx": "offsetX",
    "img_offsety": "offsetY",
    "img_offsetz": "offsetZ",
    "proj_geometry": "geometry",
    "proj_nangles": "numAngles",
    "proj_nrows": "numRows",
    "proj_ncols": "numCols",
    "proj_pheight": "pixelHeight",
    "proj_pwidth": "pixelWidth",
    "proj_crow": "centerRow",
    "proj_ccol": "centerCol",
    "proj_arange": "angularRange",
    "proj_phis": "phis",
    "proj_sod": "sod",
    "proj_sdd": "sdd",
    "proj_tau": "tau",
    "proj_helicalpitch": "helicalPitch",
    "proj_srcpos": "sourcePositions",
    "proj_modcenter": "moduleCenters",
    "proj_rowvec": "rowVectors",
    "proj_colvec": "colVectors",
}
"""Names of LEAP's first versions, and those of today."""


def is_leap(text: str) -> bool:
    """Return whether a text is one of LEAP's."""
    return "geometry" in parse_leap(text)


def parse_leap(text: str) -> dict[str, str]:
    """Return the lines of a text as a dictionary."""
    lines = (line.partition("#")[0].partition("=") for line in text.splitlines())
    stated = {name.strip(): value.strip() for name, equals, value in lines if equals}
    return {_OLD.get(name, name): value for name, value in stated.items() if value}


def from_leap(text: str) -> Taken:
    """Take over a geometry of LEAP.

    Args:
        text: What `save_parameters` wrote.

    Raises:
        CorruptInput: A number is missing, or is not a number.
        UnsupportedInput: No circular beam is like it.
    """
    stated: dict[str, Any] = {name: _value(value) for name, value in parse_leap(text).items()}
    kind = str(stated.get("geometry", "")).lower().replace("-", "").removesuffix("beam")
    if number(stated, "helicalPitch", 0.0) != 0:
        raise UnsupportedInput(
            "helicalPitch is not 0, but the start of the source is not stated; write it as a "
            "modular beam, or as a geometry.json with helix_pitch_mm"
        )
    for name in ("tiltAngle", "pitchAngle"):
        if number(stated, name, 0.0) != 0:
            raise UnsupportedInput(
                f"{name} is not 0; write it as a modular beam (convert_to_modularbeam)"
            )
    rows, row_mm = count(stated, "numRows"), number(stated, "pixelHeight")
    if kind == "modular":
        beam, row_mm = beam_of(_modules(stated, rows))
    else:
        beam = _beam(stated, kind, rows, row_mm)
    return Taken(beam, rows, row_mm, _grid(stated))


def to_leap(geometry: Geometry) -> str:
    """Return `geometry` as the text that LEAP's `load_parameters` reads.

    Raises:
        UnsupportedInput: It is a fan on a curved detector, or parallel rays to a detector that is
            turned, which LEAP has not.
    """
    grid, beam = geometry
    if beam.curved:
        raise UnsupportedInput("LEAP has no fan on a curved detector; expected a flat one")
    panel = as_posed(beam, grid.shape[0], grid.spacing_mm[0])
    lines: dict[str, object] = {
        "numX": grid.shape[2],
        "numY": grid.shape[1],
        "numZ": grid.shape[0],
        "voxelWidth": grid.pixel_mm,
        "voxelHeight": grid.spacing_mm[0],
        "offsetX": 0,
        "offsetY": 0,
        "offsetZ": 0,
        "geometry": beam.kind,
        "numAngles": len(beam.angles_deg),
        "numRows": panel.rows,
        "numCols": beam.bins,
        "pixelHeight": panel.row_mm,
        "pixelWidth": beam.bin_mm,
        "centerRow": (panel.rows - 1) / 2 - panel.row_offset_mm / panel.row_mm,
        "centerCol": (beam.bins - 1) / 2 - beam.offset_mm / beam.bin_mm,
        "phis": ", ".join(f"{angle:.10g}" for angle in beam.angles_deg),
    }
    if isinstance(beam, ConeBeam | FanBeam):
        lines |= {"sod": beam.sod_mm, "sdd": beam.sdd_mm, "tau": beam.axis_mm}
    if isinstance(beam, PosedBeam):
        lines |= _modular(geometry)
    return "".join(f"{name} = {value}\n" for name, value in lines.items())


def _modular(geometry: Geometry) -> dict[str, object]:
    """Return the lines of a modular beam, whose vectors are from the middle of its detector."""
    vectors = vectors_of(geometry)
    if not vectors.diverges:
        raise UnsupportedInput("LEAP's modular beams come from a source; expected a cone")
    places = {
        "sourcePositions": vectors.source,
        "moduleCenters": vectors.middle,
        "rowVectors": vectors.up / np.linalg.norm(vectors.up, axis=1, keepdims=True),
        "colVectors": vectors.along / np.linalg.norm(vectors.along, axis=1, keepdims=True),
    }
    rows, bins = vectors.rows, vectors.bins
    lines: dict[str, object] = {"geometry": "modular"}
    lines |= {"centerRow": (rows - 1) / 2, "centerCol": (bins - 1) / 2}
    return lines | {
        name: ", ".join(f"{value:.12g}" for value in part.ravel()) for name, part in places.items()
    }


def _value(text: str) -> object:
    """Return numbers as such, and words as they are."""
    try:
        found = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        return text
    return found[0] if len(found) == 1 else found


def _beam(stated: Mapping[str, Any], kind: str, rows: int, row_mm: float) -> Beam:
    bins, bin_mm = count(stated, "numCols"), number(stated, "pixelWidth")
    middle = number(stated, "centerCol", (bins - 1) / 2)
    common: dict[str, Any] = {
        "angles_deg": tuple(_angles(stated).tolist()),
        "bins": bins,
        "bin_mm": bin_mm,
        "offset_mm": ((bins - 1) / 2 - middle) * bin_mm,
    }
    if kind == "parallel":
        return ParallelBeam(**common)
    common |= {
        "sod_mm": number(stated, "sod"),
        "sdd_mm": number(stated, "sdd"),
        "axis_mm": number(stated, "tau", 0.0),
    }
    curved = str(stated.get("detectorType", "flat")).lower() == "curved"
    if kind == "fan":
        return FanBeam(**common, detector="curved" if curved else "flat")
    if kind != "cone" or curved:
        raise UnsupportedInput(
            f"geometry is {kind[:40] or 'missing'}{', curved' if curved else ''}; expected "
            "parallel, fan, cone on a flat detector, or modular"
        )
    lifted = (rows - 1) / 2 - number(stated, "centerRow", (rows - 1) / 2)
    return ConeBeam(**common, rows=rows, row_mm=row_mm, row_offset_mm=lifted * row_mm)


def _angles(stated: Mapping[str, Any]) -> np.ndarray:
    """Return the angles in degrees (views,): stated, or spread evenly over the stated arc."""
    views = count(stated, "numAngles")
    if stated.get("phis") is None:
        return number(stated, "angularRange") * np.arange(views) / views
    angles = numbers(stated, "phis", (-1,))
    if len(angles) != views:
        raise CorruptInput(f"phis has {len(angles)} angles; numAngles is {views}")
    return angles


def _modules(stated: Mapping[str, Any], rows: int) -> Vectors:
    """Return the vectors of a modular beam, whose vectors of rows and columns have length 1."""
    source, middle, up, along = (
        numbers(stated, name, (-1, 3))
        for name in ("sourcePositions", "moduleCenters", "rowVectors", "colVectors")
    )
    sizes = number(stated, "pixelWidth"), number(stated, "pixelHeight")
    return Vectors(source, middle, along * sizes[0], up * sizes[1], count(stated, "numCols"), rows)


def _grid(stated: Mapping[str, Any]) -> Grid | None:
    """Return the grid of the volume; None if it is not stated or not about the axis."""
    if stated.get("numX") is None:
        return None
    if any(number(stated, f"offset{axis}", 0.0) != 0 for axis in "XYZ"):
        return None
    shape = [count(stated, f"num{axis}") for axis in "ZYX"]
    width, height = (number(stated, f"voxel{side}") for side in ("Width", "Height"))
    return None if math.isclose(width, 0) else centred(shape, [height, width, width])
