"""RTK's geometry XML; a cone beam on a flat detector is read from it.

RTK (Reconstruction Toolkit, class ThreeDCircularProjectionGeometry) turns about its y axis; its
coordinates are IEC 61217's. With x, y, z there, the gantry at angle g, and the source and the
detector's origin moved by (sx, sy) and (px, py) in the detector's plane,

    u = sdd (x cos g - z sin g - sx) / (sod - x sin g - z cos g) + sx - px
    v = sdd (y - sy) / (sod - x sin g - z cos g) + sy - py.

That is our cone (see `geometry`) for X = x, Y = -z, Z = y - sy, with axis_mm = -sx and the middle
of the detector, where RTK has u = v = 0, at px - sx and py - sy. Out of the plane the system is
turned about x first, and in its plane about z last; a system that is, or whose numbers vary from
projection to projection, is a posed beam. Where the file holds the matrix of a projection too, it
is compared with the numbers.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import ConeBeam, Geometry, Pose, PosedBeam
from diffusionblend.geometry.posed import turning
from diffusionblend.geometry.poses import alike, as_posed, vector
from diffusionblend.io.formats.foreign import extra, parsing
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.formats.geometry_file import MAX_VIEWS, ConeFacts, read_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ROOT = "RTKThreeDCircularGeometry"
SAME_DEG = 1e-3
SPREAD_BINS, FURTHEST_BINS = 0.1, 0.5
"""By how much a projection's own place may move its shadows, as the root mean square of all
projections and at most, for their mean to stand for all.

With a jitter of the detector of 0.06 bins, balls stay within 0.02 voxels and water within 1 HU.
"""


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
_TINY = 1e-9


class RtkFacts(ConeFacts, frozen=True, kw_only=True, tag="cone"):
    """A circular cone beam, and how far single projections are from it.

    Attributes:
        apart: Of what varies: its name, and the differences from its mean in mm.
        tilted: Whether a projection is turned in its plane or out of it.
        poses: Where source and detector are in each projection.
    """

    apart: tuple[tuple[str, tuple[float, ...]], ...] = ()
    tilted: bool = False
    poses: tuple[Pose, ...] = ()

    def placed(self, beam: Measured) -> tuple[Measured, tuple[str, ...]]:
        """Return the beam, posed where one circle does not stand for all views, and what varies."""
        said = []
        for name, values in self.apart:
            moved = np.abs(values) * _bins_for_a_mm(name, beam)
            spread, furthest = float(np.sqrt(np.square(moved).mean())), float(moved.max())
            words = f"{name} varies by up to {np.abs(values).max():.3g} mm, {furthest:.2g} pixels"
            if self.tilted or spread > SPREAD_BINS or furthest > FURTHEST_BINS:
                return _posed(self, beam), (f"{words}; each projection has its own place",)
            said.append(f"{words}; its mean is used for all")
        return (_posed(self, beam) if self.tilted else beam), tuple(said)


def read_rtk(path: Path) -> RtkFacts:
    """Read the geometry of a cone beam."""
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
    _check_distances(path, projections)
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


def _check_distances(path: Path, projections: list[Projection]) -> None:
    """Refuse what no cone beam has."""
    if projections[0].SourceToDetectorDistance == 0:
        raise UnsupportedInput(
            f"{path}: SourceToDetectorDistance is 0, that is, the rays are parallel; expected a "
            "cone; write a geometry.json of the kind parallel"
        )
    for index, one in enumerate(projections):
        if not one.SourceToIsocenterDistance > 0:
            raise CorruptInput(
                f"{path}: SourceToIsocenterDistance of projection {index} is "
                f"{one.SourceToIsocenterDistance:g}, which puts the source on the axis or behind "
                "it; expected a positive number"
            )


def _cone(projections: list[Projection]) -> RtkFacts:
    held = {name: np.array([getattr(one, name) for one in projections]) for name in _FIXED}
    mean = {name: float(values.mean()) for name, values in held.items()}
    apart = {name: values - mean[name] for name, values in held.items() if np.ptp(values) > 1e-9}
    one = Projection(**mean)
    return RtkFacts(
        schema="diffusionblend-geometry/1",
        angles_deg=tuple(projection.GantryAngle for projection in projections),
        sod_mm=one.SourceToIsocenterDistance,
        sdd_mm=one.SourceToDetectorDistance,
        axis_mm=-one.SourceOffsetX,
        offset_mm=one.ProjectionOffsetX - one.SourceOffsetX,
        row_offset_mm=one.ProjectionOffsetY - one.SourceOffsetY,
        apart=tuple((name, tuple(values.tolist())) for name, values in apart.items()),
        tilted=any(
            abs(math.remainder(getattr(p, n), 360.0)) > SAME_DEG
            for p in projections
            for n in _TILTS
        ),
        poses=_poses(projections),
    )


def _poses(projections: list[Projection]) -> tuple[Pose, ...]:
    """Return where source and detector are; the middle of the sources is at height 0."""
    found = []
    for one in projections:
        source = (one.SourceOffsetX, one.SourceOffsetY, one.SourceToIsocenterDistance)
        depth = one.SourceToIsocenterDistance - one.SourceToDetectorDistance
        middle = (one.ProjectionOffsetX, one.ProjectionOffsetY, depth)
        found.append(np.array([source, middle, (1, 0, 0), (0, 1, 0)]) @ _rotation(one))
    places = np.array(found)[..., [0, 2, 1]] * (1, -1, 1)
    places[:, :2, 2] -= places[:, 0, 2].mean()
    back = -np.radians([one.GantryAngle for one in projections])
    each = np.stack([turning(back, places[:, part]) for part in range(4)], axis=1)
    return alike([Pose(*map(vector, parts)) for parts in each])


def _rotation(one: Projection) -> np.ndarray:
    """Return the rotation to the coordinates of the detector (3, 3)."""
    g, out, within = np.radians([one.GantryAngle, one.OutOfPlaneAngle, one.InPlaneAngle])
    (cg, sg), (co, so), (ci, si) = ((np.cos(a), np.sin(a)) for a in (-g, -out, -within))
    about_y = np.array([[cg, 0, sg], [0, 1, 0], [-sg, 0, cg]])
    about_x = np.array([[1, 0, 0], [0, co, -so], [0, so, co]])
    about_z = np.array([[ci, -si, 0], [si, ci, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


def to_rtk(geometry: Geometry) -> str:
    """Return `geometry`, a cone, as the XML that RTK's `ReadGeometry` reads.

    Raises:
        UnsupportedInput: It is not a cone, posed or not.
    """
    beam = geometry.beam
    if not (isinstance(beam, ConeBeam) or (isinstance(beam, PosedBeam) and beam.diverges)):
        raise UnsupportedInput(f"RTK's geometry is a cone; expected one, not {beam.kind}")
    views = _projections_of(as_posed(beam))
    lines = ['<?xml version="1.0"?>', "<!DOCTYPE RTKGEOMETRY>", f'<{ROOT} version="3">']
    alone = isinstance(beam, ConeBeam)
    if alone:
        lines += [f"  <{name}>{getattr(views[0], name):.15g}</{name}>" for name in _FIXED]
    names = ("GantryAngle",) if alone else Projection.__struct_fields__
    for view in views:
        rows = [" ".join(f"{value:.15g}" for value in row) for row in matrix_of(view)]
        lines += ["  <Projection>"]
        lines += [f"    <{name}>{getattr(view, name):.15g}</{name}>" for name in names]
        lines += ["    <Matrix>", *(f"      {row}" for row in rows), "    </Matrix>"]
        lines += ["  </Projection>"]
    return "\n".join([*lines, f"</{ROOT}>\n"])


def _projections_of(beam: PosedBeam) -> list[Projection]:
    """Return the nine numbers of each view of a posed beam."""
    source, middle, along, up = beam.vectors()
    middle = middle + beam.offset_mm * along + beam.row_offset_mm * up
    if np.abs((along * up).sum(axis=1)).max() > 1e-6:
        raise UnsupportedInput(
            "RTK's bins and rows are perpendicular, but those of this detector are not"
        )
    found = []
    for angle, *parts in zip(beam.angles_deg, source, middle, along, up, strict=True):
        s, m, a, u = (part[[0, 2, 1]] * (1, 1, -1) for part in parts)
        turn = np.stack([a, u, np.cross(a, u)])
        out = math.asin(float(np.clip(-turn[2, 1], -1, 1)))
        flat = abs(turn[0, 1]) < _TINY and abs(turn[2, 1]) < _TINY
        gantry = angle if flat else math.degrees(math.atan2(turn[2, 0], turn[2, 2]))
        within = 0.0 if flat else math.degrees(math.atan2(turn[0, 1], turn[1, 1]))
        (sx, sy, sod), (px, py, depth) = turn @ s, turn @ m
        found.append(
            Projection(
                SourceToIsocenterDistance=_tidy(sod),
                SourceToDetectorDistance=_tidy(sod - depth),
                GantryAngle=gantry % 360,
                ProjectionOffsetX=_tidy(px),
                ProjectionOffsetY=_tidy(py),
                SourceOffsetX=_tidy(sx),
                SourceOffsetY=_tidy(sy),
                OutOfPlaneAngle=0.0 if flat else math.degrees(out),
                InPlaneAngle=within,
            )
        )
    return found


def _tidy(value: float) -> float:
    return round(float(value), 10) + 0.0


def _posed(facts: RtkFacts, beam: Measured) -> Measured:
    same = {n: getattr(beam, n) for n in ("angles_deg", "bins", "bin_mm", "rows", "row_mm")}
    return dataclasses.replace(beam, model=PosedBeam(**same, poses=facts.poses))


def _bins_for_a_mm(name: str, beam: Measured) -> float:
    """Return by how many pixels a shadow moves, at most, if a number is 1 mm larger."""
    if name.endswith("Distance"):
        far = getattr(beam.model, "sdd_mm" if name == "SourceToDetectorDistance" else "sod_mm")
        return max(beam.bins, beam.rows) / 2 / far
    pixel = beam.bin_mm if name.endswith("X") else beam.row_mm
    return (1.0 if name.startswith("Projection") else beam.magnification - 1) / pixel


def _check_matrix(path: Path, one: Projection, text: str | None) -> None:
    """Refuse a projection whose matrix does not follow from its numbers."""
    if text is None:
        return
    try:
        matrix = np.array(text.split(), dtype=float).reshape(3, 4)
    except ValueError as error:
        raise CorruptInput(f"{path}: a Matrix does not have 12 numbers; copy it again") from error
    expected = matrix_of(one)
    tolerance = _MATRIX_TOLERANCE * max(1.0, float(np.abs(expected).max()) * 1e-3)
    if not np.allclose(matrix, expected, 0, tolerance):
        raise CorruptInput(
            f"{path}: the Matrix at GantryAngle {one.GantryAngle:g} does not match its "
            "parameters; write the geometry again"
        )


def matrix_of(one: Projection) -> np.ndarray:
    """Return the matrix (3, 4) from (x, y, z, 1) in mm to (u, v, 1), up to a factor.

    RTK's Matrix has the same factor, -(sod + p . d).
    """
    along, up, depth = np.pad(_rotation(one), ((0, 0), (0, 1)))
    depth = depth - (0, 0, 0, one.SourceToIsocenterDistance)
    last = np.array([0.0, 0.0, 0.0, 1.0])
    sdd, sx, sy = one.SourceToDetectorDistance, one.SourceOffsetX, one.SourceOffsetY
    return np.stack(
        [
            -sdd * (along - sx * last) + (sx - one.ProjectionOffsetX) * depth,
            -sdd * (up - sy * last) + (sy - one.ProjectionOffsetY) * depth,
            depth,
        ]
    )
