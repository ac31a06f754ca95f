"""Beams as vectors: where the source and the detector are in each view.

All geometries of other packages are stated as vectors first, by the formulas of their own
documentation, and one function makes a beam of them: a circle about the axis z with an upright
detector where that casts the shadows that they cast, to a tenth of a pixel, and else a posed beam.

Where rows run against z, the world is turned by half a turn about x, as a mirror image would be
another object: then y and z of the slices run against those of the other package.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import ConeBeam, FanBeam, Geometry, Grid, ParallelBeam, Pose, PosedBeam
from diffusionblend.geometry.beam import Beam
from diffusionblend.geometry.posed import turning
from diffusionblend.geometry.poses import MOST_DEG, as_posed, vector

SAME_PIXELS = 0.1
"""Pixels by which a shadow may be elsewhere."""
_SAME_SIZE, _SAME_MM = 1e-6, 1e-8
_MIRRORED = (
    "its projections are mirrored: by the directions of bins and rows the rays come out of the "
    "front of the detector; flip the bins of the projections and their direction in the "
    "geometry, or correct the sign of one of these directions"
)


@dataclass(frozen=True, eq=False)
class Vectors:
    """Source and detector in each view, in mm from a point on the axis, which is z.

    Attributes:
        source: Where the source is, or the direction of parallel rays (views, 3).
        middle: Where the middle of the detector is (views, 3).
        along: From a bin to the next (views, 3).
        up: From a row to the next (views, 3).
        diverges: Whether the rays come from a source.
    """

    source: np.ndarray
    middle: np.ndarray
    along: np.ndarray
    up: np.ndarray
    bins: int
    rows: int
    diverges: bool = True

    def turned_about_x(self) -> "Vectors":
        """Return the same in a world that is turned by half a turn about x."""
        turn = np.array([1.0, -1.0, -1.0])
        return dataclasses.replace(
            self,
            source=self.source * turn,
            middle=self.middle * turn,
            along=self.along * turn,
            up=self.up * turn,
        )

    def shadows(self, points: np.ndarray) -> np.ndarray:
        """Return the bin and the row on which points (n, 3) fall in each view (views, n, 2)."""
        start = points - self.source[:, None] if self.diverges else self.source[:, None]
        rays = np.broadcast_to(start, (len(self.source), *points.shape))
        across = [np.broadcast_to(v[:, None], rays.shape) for v in (self.along, self.up)]
        sides = np.stack([*across, -rays], axis=-1)
        found = np.linalg.solve(sides, (points - self.middle[:, None])[..., None])[..., 0]
        return found[..., :2] + np.array([self.bins - 1, self.rows - 1]) / 2


@dataclass(frozen=True)
class Taken:
    """What was taken over from another package.

    Attributes:
        grid: The grid of the volume, if it is stated and about the axis.
        order: What the axes of the other package's projections are.
    """

    beam: Beam
    rows: int
    row_mm: float
    grid: Grid | None = None
    order: tuple[str, ...] = ("view", "row", "bin")

    @property
    def geometry(self) -> Geometry:
        """The beam with its grid."""
        if self.grid is None:
            raise UnsupportedInput(
                "the geometry states no grid about the axis with square pixels; make one: "
                "Geometry(Grid.from_spacing(...), taken.beam)"
            )
        return Geometry(self.grid, self.beam)


def vectors_of(geometry: Geometry) -> Vectors:
    """Return a geometry as vectors, from the middle of its grid."""
    grid, beam = geometry
    if beam.curved:
        raise UnsupportedInput("a curved detector has no vectors; expected a flat one")
    beam = as_posed(beam, grid.shape[0], grid.spacing_mm[0])
    source, middle, along, up = beam.vectors()
    middle = middle + beam.offset_mm * along + beam.row_offset_mm * up
    sides = beam.bin_mm * along, beam.row_mm * up
    return Vectors(source, middle, *sides, beam.bins, beam.rows, beam.diverges)


def beam_of(vectors: Vectors, *, fan: bool = False) -> tuple[Beam, float]:
    """Return the beam whose source and detector are where vectors say, and the size of a row.

    Args:
        vectors: The vectors; their heights count from the middle of the slices, or for a source
            that turns elsewhere, from the plane of the source.
        fan: Whether each row is a fan in its own plane.
    """
    if vectors.up[:, 2].mean() < 0:
        vectors = vectors.turned_about_x()
    row_mm = float(_length(vectors.up).mean())
    circle, level = _circle(vectors, fan, row_mm)
    off = _pixels_off(vectors, circle, level, row_mm)
    if off.max() <= SAME_PIXELS:
        return circle, _round(row_mm)
    if fan:
        worst = int(off.argmax())
        raise UnsupportedInput(
            f"shadows are up to {off[worst]:.3g} pixels, in view {worst}, from those of a source "
            "on a circle with an upright detector; give it as a cone of one row"
        )
    return _posed(vectors, level), _round(row_mm)


def _circle(vectors: Vectors, fan: bool, row_mm: float) -> tuple[Beam, float]:
    """Return the nearest circle with an upright detector, and the height of its plane."""
    bin_mm = float(_length(vectors.along).mean())
    angle = _angles(vectors)
    along, ray = turning(angle, (1, 0, 0)), turning(angle, (0, 1, 0))
    common: dict[str, Any] = {
        "angles_deg": _degrees(angle),
        "bins": vectors.bins,
        "bin_mm": _round(bin_mm),
    }
    if not vectors.diverges:
        level = float(vectors.middle[:, 2].mean())
        return ParallelBeam(**common, offset_mm=_mean(vectors.middle, along)), level
    away = vectors.middle - vectors.source
    sod, sdd = -_mean(vectors.source, ray), _mean(away, ray)
    _check_distances(sod, sdd)
    common |= {
        "sod_mm": sod,
        "sdd_mm": sdd,
        "axis_mm": -_mean(vectors.source, along),
        "offset_mm": _mean(away, along),
    }
    level = float(vectors.source[:, 2].mean())
    if fan:
        return FanBeam(**common), level
    height = _round(float(away[:, 2].mean()))
    common |= {"rows": vectors.rows, "row_mm": _round(row_mm), "row_offset_mm": height}
    return ConeBeam(**common), level


def _angles(vectors: Vectors) -> np.ndarray:
    """Return the direction of each view in radians: that of its bins, seen along the axis."""
    return np.arctan2(vectors.along[:, 1], vectors.along[:, 0])


def _posed(vectors: Vectors, level: float) -> PosedBeam:
    """Return the posed beam of vectors, at the height of the origin where its rays see that."""
    sizes = [_length(v) for v in (vectors.along, vectors.up)]
    along, up = (v / n[:, None] for v, n in zip((vectors.along, vectors.up), sizes, strict=True))
    if np.abs(along[:, 2]).max() > math.sin(math.radians(MOST_DEG)):
        raise UnsupportedInput(
            "bins run along the axis of rotation rather than across it; swap rows and bins in "
            "the projections and in the geometry"
        )
    if max(float(np.ptp(n) / n.mean()) for n in sizes) > _SAME_SIZE:
        raise UnsupportedInput("the size of a pixel differs from view to view; expected one")
    ray = vectors.middle - vectors.source if vectors.diverges else vectors.source
    if (np.cross(up, along) * ray).sum(axis=1).mean() < 0:
        raise UnsupportedInput(_MIRRORED)
    seen = vectors.shadows(np.zeros((1, 3)))[:, 0]
    inside = (seen > -0.5) & (seen < np.array([vectors.bins, vectors.rows]) - 0.5)
    down = 0.0 if inside.all(axis=1).mean() > 0.5 else level
    move = np.array([0.0, 0.0, down])
    places = vectors.source - move * vectors.diverges, vectors.middle - move, along, up
    angles = _angles(vectors)
    parts = np.stack([turning(-angles, place) for place in places], axis=1)
    if np.ptp(parts, axis=0).max() < _SAME_MM:
        parts = parts.mean(axis=0, keepdims=True)
    return PosedBeam(
        angles_deg=_degrees(angles),
        bins=vectors.bins,
        bin_mm=_round(float(sizes[0].mean())),
        rows=vectors.rows,
        row_mm=_round(float(sizes[1].mean())),
        poses=tuple(Pose(*map(vector, part)) for part in parts),
        diverges=vectors.diverges,
    )


def _check_distances(sod: float, sdd: float) -> None:
    """Refuse a source that is not before the axis, and pictures that are mirrored."""
    if sod < 0 and sdd < 0:
        raise UnsupportedInput(_MIRRORED)
    if not 0 < sod <= sdd:
        raise UnsupportedInput(
            f"the source is {sod:g} mm before the axis and {sdd:g} mm before the detector; "
            "expected the axis between them"
        )


def _pixels_off(vectors: Vectors, beam: Beam, level: float, row_mm: float) -> np.ndarray:
    """Return by how many pixels shadows are from those that a beam casts, in each view (views,)."""
    radius = float(np.abs(beam.distances_mm()).max())
    radius = min(radius, 0.9 * beam.source_mm)
    half = 0.5 * vectors.rows * row_mm / beam.magnification
    sides = np.array([[x, y] for x in (-1, 1) for y in (-1, 1)]) * radius / math.sqrt(2)
    heights = (-half, half) if beam.kind != "fan" else (0.0,)
    points = np.array([[*side, z] for side in sides for z in heights])
    stated = vectors.shadows(points + np.array([0.0, 0.0, level]))
    x, y, z = points.T
    ours = np.stack([np.stack(beam.shadow(x, y, z, v), axis=-1) for v in range(len(stated))])
    low = np.array([beam.offset_mm, getattr(beam, "row_offset_mm", 0.0)])
    pixel = np.array([beam.bin_mm, row_mm])
    seen = (ours - low) / pixel + np.array([vectors.bins - 1, vectors.rows - 1]) / 2
    apart = np.abs(seen - stated)[..., : 1 if beam.kind == "fan" else 2]
    return np.asarray(apart.max(axis=(1, 2)))


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def _mean(vectors: np.ndarray, directions: np.ndarray) -> float:
    """Return the mean component of vectors along directions (views, 3)."""
    return _round(float((vectors * directions).sum(axis=-1).mean()))


def _degrees(angles: np.ndarray) -> tuple[float, ...]:
    """Return angles in radians as degrees that go on from view to view."""
    return tuple(_round(float(a)) for a in np.degrees(np.unwrap(angles)))


def _round(value: float) -> float:
    """Return a number without the last digits, which rotations leave; never a negative zero."""
    return float(f"{value:.12g}") + 0.0 if abs(value) > 1e-9 else 0.0
