"""Geometry: the grid of a volume, and the views, source and detector of a scanner.

Frozen values, to and from JSON. Lengths are in millimetres. Angles are stored in degrees, so that
files hold round numbers, and used in radians in formulas.

Conventions. A slice has its rows along y and its columns along x; z counts the slices. All are
counted in the order of storage, from the centre of the volume, through which the axis runs. At
view theta the detector's bins run along e = (cos theta, sin theta) and the rays along
d = (-sin theta, cos theta). Bin b of n lies at

    s = (b - (n - 1) / 2) bin_mm + offset_mm

A parallel ray is the line p . e = s, p = (x, y). A point p casts its shadow in a fan on

    flat:    s = sdd (p . e + axis_mm) / (sod + p . d)
    curved:  s = sdd arctan((p . e + axis_mm) / (sod + p . d))

and in a cone on the flat s and on the row at t = sdd z / (sod + p . d), row r of n lying at
t = (r - (n - 1) / 2) row_mm + row_offset_mm. Far away (sod to infinity) all this is parallel.

A posed beam has a source and a flat detector that stand anywhere in each view (`posed`).

Line integrals are (detector rows, views, bins) for all beams. Parallel and fan beams see one
slice with one row: those two numbers are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import msgspec
import numpy as np

from diffusionblend.arguments import check_fields
from diffusionblend.errors import CorruptInput, InvalidValue
from diffusionblend.geometry.arc import Arc, find_arc
from diffusionblend.geometry.beam import Beam, ParallelBeam
from diffusionblend.geometry.grid import Affine, Grid
from diffusionblend.geometry.kinds import find_beam, known
from diffusionblend.geometry.point import ConeBeam, FanBeam, PointBeam
from diffusionblend.geometry.posed import Pose, PosedBeam

__all__ = [
    "Affine",
    "Arc",
    "Beam",
    "ConeBeam",
    "FanBeam",
    "Geometry",
    "Grid",
    "ParallelBeam",
    "PointBeam",
    "Pose",
    "PosedBeam",
    "find_arc",
    "geometry_from_json",
]

SCHEMA: Final = "diffusionblend-geometry/1"
SPACING_MM = 1e-9, 1e9
"""Sizes of voxels: whatever is scanned, and in whatever unit somebody took for mm."""


@dataclass(frozen=True)
class Geometry:
    """A grid, and the beam that looks at it: `grid, beam = geometry`.

    Attributes:
        grid: Grid of the volume to reconstruct, with square pixels.
        beam: Views, source and detector; its axis runs through the centre of the grid.

    Raises:
        InvalidValue: They do not fit: pixels are not square, or the source would be inside the
            slices.
    """

    grid: Grid
    beam: Beam

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.grid.shape) < 1 or not np.isfinite(self.grid.affine).all():
            raise InvalidValue(f"grid is {self.grid.shape}; expected positive numbers")
        low, high = SPACING_MM
        if not low <= min(self.grid.spacing_mm) <= max(self.grid.spacing_mm) <= high:
            raise InvalidValue(
                f"voxels of {self.grid.spacing_mm} mm; expected each within {low:g} to {high:g}"
            )
        if self.beam.source_in(self.grid):
            raise InvalidValue(
                f"the source circles at sod_mm {self.beam.source_mm:g}, inside the slices, whose "
                f"corners are {self.grid.radius_mm:g} mm from the axis; expected it outside"
            )

    def __iter__(self) -> Iterator[Any]:
        return iter((self.grid, self.beam))

    @cached_property
    def arc(self) -> Arc:
        """What the views cover."""
        return find_arc(self.beam, self.grid)

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Shape of the line integrals: detector rows, views, bins."""
        return self.beam.sinogram_shape(self.grid)

    def to_json(self) -> str:
        """Return the geometry as JSON, grid and beam in one object.

        Raises:
            UnsupportedInput: The beam is of a class that cannot be read again.
        """
        fields = msgspec.to_builtins(known(self.beam))
        head = {"kind": fields.pop("kind"), "schema": SCHEMA}
        common = {name: fields.pop(name) for name in Beam.__struct_fields__}
        whole = head | common | {"grid": self.grid} | fields
        return msgspec.json.encode(whole).decode()


class _Head(msgspec.Struct):
    """What all geometries state besides their beam."""

    kind: str
    grid: Grid
    schema: Literal["diffusionblend-geometry/1"] = SCHEMA


def geometry_from_json(text: str | bytes) -> Geometry:
    """Read what `to_json` wrote."""
    try:
        head = msgspec.json.decode(text, type=_Head)
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        beam = {name: fields[name] for name in fields if name not in ("grid", "schema")}
        cls = find_beam(head.kind)
        return Geometry(head.grid, msgspec.json.decode(msgspec.json.encode(beam), type=cls))
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptInput(f"the geometry cannot be used: {error}") from error
