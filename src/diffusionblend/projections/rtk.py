"""RTK's geometry XML, of which a circular cone beam on a flat detector is taken.

RTK (Reconstruction Toolkit, class ThreeDCircularProjectionGeometry) turns about its y axis; its
coordinates are IEC 61217's. With x, y, z there, the gantry at angle g, and the source and the
detector's origin moved by (sx, sy) and (px, py) in the detector's plane,

    u = sdd (x cos g - z sin g - sx) / (sod - x sin g - z cos g) + sx - px
    v = sdd (y - sy) / (sod - x sin g - z cos g) + sy - py.

That is our cone (see `geometry`) for X = x, Y = -z, Z = y - sy, with axis_mm = -sx and the middle
of the detector, where RTK has u = v = 0, at px - sx and py - sy. Where the file holds the matrix
of a projection too, it is compared with the numbers.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.formats.foreign import extra, parsing
from diffusionblend.projections.geometry_file import MAX_VIEWS, ConeFacts, read_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ROOT = "RTKThreeDCircularGeometry"
SAME_MM, SAME_DEG = 1e-3, 1e-3


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """The nine numbers of a projection in mm and degrees, named as RTK names them."""

    SourceToIsocenterDistance: float = 0.0
    SourceToDetectorDistance: float = 0.0
    GantryAngle: float = 0.0
    ProjectionOffsetX: float = 0.0
    ProjectionOffsetY: float = 0.0
    SourceOffsetX: float = 0.0
    SourceOffsetY: float = 0.0
    OutOfPlaneAngle: float = 0.0
    InPlaneAngle: float = 0.0


_FIXED = tuple(name for name in Projection.__struct_fields__ if not name.endswith("Angle"))
_TILTS = ("OutOfPlaneAngle", "InPlaneAngle")
_MATRIX_TOLERANCE = 1e-2


def read_rtk(path: Path) -> ConeFacts:
    """Read the geometry of a circular cone beam.

    Raises:
        CorruptInput: It is missing, too large, no XML of RTK, or contradicts itself.
        UnsupportedInput: Distances or offsets vary, the detector is tilted or curved, or the rays
            are parallel.
        UsageError: defusedxml is not installed.
    """
    text = read_text(path)
    with extra(path, "defusedxml", "projections"):
        from defusedxml import ElementTree
    with parsing(path):  # entities, which could grow without limit, are an error
        root = ElementTree.fromstring(text)
    if root.tag != ROOT:
        raise UnsupportedInput(f"{path}: its root is {root.tag[:40]}; expected {ROOT}")
    projections = list(_projections(path, root))
    if not 1 <= len(projections) <= MAX_VIEWS:
        raise CorruptInput(f"{path}: {len(projections)} projections; expected 1 to {MAX_VIEWS}")
    _check_circular(path, projections)
    return _cone(projections)


def _projections(path: Path, root: "Element") -> Iterator[Projection]:
    """Yield the projections; a number that is not repeated holds on, as RTK has it."""
    known = Projection()
    for element in root:
        if element.tag in Projection.__struct_fields__:
            known = _with(path, known, element)
        elif element.tag == "RadiusCylindricalDetector" and _number(path, element) != 0:
            raise UnsupportedInput(
                f"{path}: RadiusCylindricalDetector is {element.text}; expected a flat detector"
            )
        elif element.tag == "Projection":
            for part in element:
                if part.tag in Projection.__struct_fields__:
                    known = _with(path, known, part)
            _check_matrix(path, known, element.findtext("Matrix"))
            yield known


def _with(path: Path, known: Projection, element: "Element") -> Projection:
    return msgspec.structs.replace(known, **{element.tag: _number(path, element)})


def _number(path: Path, element: "Element") -> float:
    try:
        value = float(element.text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CorruptInput(
            f"{path}: {element.tag} is {(element.text or '')[:40]!r}; expected a number"
        )
    return value


def _check_circular(path: Path, projections: list[Projection]) -> None:
    """Refuse what a circular cone beam on a flat detector is not."""
    for index, one in enumerate(projections):
        for name in _TILTS:
            tilt = math.remainder(getattr(one, name), 360.0)
            if abs(tilt) > SAME_DEG:
                raise UnsupportedInput(
                    f"{path}: {name} of projection {index} is {tilt:g} degrees; expected 0: a "
                    "tilted detector has to be resampled first"
                )
        for name in _FIXED:
            value, first = getattr(one, name), getattr(projections[0], name)
            if abs(value - first) > SAME_MM:
                raise UnsupportedInput(
                    f"{path}: {name} varies: {first:g} mm, and {value:g} mm in projection {index}; "
                    "expected one circle"
                )
    if projections[0].SourceToDetectorDistance == 0:
        raise UnsupportedInput(
            f"{path}: SourceToDetectorDistance is 0, that is, rays are parallel; expected a cone; "
            "write a geometry.json of the kind parallel"
        )


def _cone(projections: list[Projection]) -> ConeFacts:
    one = projections[0]
    return ConeFacts(
        schema="diffusionblend-geometry/1",
        angles_deg=tuple(projection.GantryAngle for projection in projections),
        sod_mm=one.SourceToIsocenterDistance,
        sdd_mm=one.SourceToDetectorDistance,
        axis_mm=-one.SourceOffsetX,
        offset_mm=one.ProjectionOffsetX - one.SourceOffsetX,
        row_offset_mm=one.ProjectionOffsetY - one.SourceOffsetY,
    )


def _check_matrix(path: Path, one: Projection, text: str | None) -> None:
    """Refuse a projection whose matrix does not follow from its numbers."""
    if text is None:
        return
    try:
        matrix = np.array(text.split(), dtype=float).reshape(3, 4)
    except ValueError as error:
        raise CorruptInput(f"{path}: a Matrix is no 12 numbers; copy it again") from error
    expected = matrix_of(one)
    tolerance = _MATRIX_TOLERANCE * max(1.0, float(np.abs(expected).max()) * 1e-3)
    if not np.allclose(matrix, expected, 0, tolerance):
        raise CorruptInput(
            f"{path}: the Matrix at GantryAngle {one.GantryAngle:g} is not that of its numbers; "
            "write the geometry anew"
        )


def matrix_of(one: Projection) -> np.ndarray:
    """Return the matrix (3, 4) from (x, y, z, 1) in mm to (u, v, 1), up to a factor.

    With the detector untilted; RTK's Matrix has the same factor, -(sod + p . d).
    """
    g = math.radians(one.GantryAngle)
    along = np.array([math.cos(g), 0.0, -math.sin(g), 0.0])
    depth = np.array([math.sin(g), 0.0, math.cos(g), -one.SourceToIsocenterDistance])
    up = np.array([0.0, 1.0, 0.0, 0.0])
    last = np.array([0.0, 0.0, 0.0, 1.0])
    sdd, sx, sy = one.SourceToDetectorDistance, one.SourceOffsetX, one.SourceOffsetY
    return np.stack(
        [
            -sdd * (along - sx * last) + (sx - one.ProjectionOffsetX) * depth,
            -sdd * (up - sy * last) + (sy - one.ProjectionOffsetY) * depth,
            depth,
        ]
    )
