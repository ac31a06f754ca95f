"""Beams whose source and flat detector may be anywhere in each view: the general form of others.

A pose says where they stand before the view turns them: x runs along the bins of an upright
detector, y along its central ray, z along the axis. A view at theta sees them turned by theta about
the axis, x to e and y to d (see the package). Pixel (r, b) of the detector is at

    middle + s along + t up,    s and t as in a cone

so that a pose that is the same in all views is a circle, with whatever detector; one that rises
with the angle is a helix; one whose rays come from below is laminography.
"""

import math
from collections.abc import Sequence
from typing import Any, Self

import msgspec
import numpy as np

from diffusionblend.arguments import check_fields
from diffusionblend.errors import InvalidValue
from diffusionblend.geometry.beam import Beam, Pair, ParallelBeam, Points
from diffusionblend.geometry.grid import Grid
from diffusionblend.geometry.point import ConeBeam, Panel

Vector = tuple[float, float, float]
Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Source, middle, along and up, each (views, 3)."""
_LEAST_MM = 1e-6
_LEAST_SINE = 1e-3
"""Sine of the least angle between bins, rows and the ray to the middle."""
_UNIT = 1e-6
"""By how much the length of a direction may differ from 1."""


class Pose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where source and detector stand in a view before its turn, in mm.

    Attributes:
        source: Where the source is, or the direction of parallel rays.
        middle: The point of the detector from which s and t count.
        along: Direction from a bin to the next, of length 1.
        up: Direction from a row to the next, of length 1.
    """

    source: Vector
    middle: Vector
    along: Vector = (1.0, 0.0, 0.0)
    up: Vector = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        check_fields(self)


class PosedBeam(Panel, Beam, frozen=True, kw_only=True, tag="posed"):
    """A beam whose source and detector stand anywhere, in each view.

    Attributes:
        poses: Where they stand in each view before its turn; one holds for all views.
        rows: Number of detector rows.
        row_mm: Size of a row.
        row_offset_mm: Where the middle of the detector lies along t.
        diverges: Whether rays come from a source, or are parallel.
    """

    poses: tuple[Pose, ...]
    rows: int
    row_mm: float
    row_offset_mm: float = 0.0
    diverges: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_rows()
        if len(self.poses) not in (1, len(self.angles_deg)):
            raise InvalidValue(
                f"{len(self.poses)} poses for {len(self.angles_deg)} views; expected one for each, "
                "or one for all"
            )
        self._check_poses()

    def _check_poses(self) -> None:
        source, middle, along, up = _columns(self.poses)
        ray = middle - source if self.diverges else source
        for view in range(len(self.poses)):
            sizes = np.linalg.norm([along[view], up[view]], axis=1)
            if not np.isfinite([source[view], middle[view]]).all():
                raise InvalidValue(f"pose {view} has NaN or infinity; expected finite numbers")
            if not (np.abs(sizes - 1) <= _UNIT).all():
                raise InvalidValue(
                    f"along and up of pose {view} have lengths {sizes[0]:g} and {sizes[1]:g}; "
                    "expected 1"
                )
            far = np.linalg.norm(ray[view])
            volume = abs(np.linalg.det([along[view], up[view], ray[view]]))
            if not volume > _LEAST_SINE * far:
                raise InvalidValue(
                    f"pose {view}: bins, rows and the ray to the middle are in one plane; "
                    "expected three independent directions"
                )

    @property
    def source_mm(self) -> float:
        """Least distance from the source to the axis: infinite where rays are parallel."""
        return float(self._sources_mm().min()) if self.diverges else math.inf

    def _sources_mm(self) -> np.ndarray:
        return np.array([math.hypot(*pose.source[:2]) for pose in self.poses])

    def source_in(self, grid: Grid) -> bool:
        """Return whether the source is in a cylinder that the slices fill, in some view."""
        heights = np.array([abs(pose.source[2]) for pose in self.poses])
        inside = self._sources_mm() <= grid.radius_mm
        return self.diverges and bool((inside & (heights <= grid.height_mm / 2)).any())

    # Where all is, in mm from the middle of the slices

    def vectors(self) -> Columns:
        """Return source, middle, along and up of each view, as it is turned: each (views, 3)."""
        angles, parts = np.array(self.angles), _columns(self.poses)
        source, middle, along, up = (turning(angles, part) for part in parts)
        return source, middle, along, up

    def rays(self, view: int, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a point of each ray to some rows of a view, and its direction, of any length.

        Returns:
            Both (rows, bins, 3).
        """
        source, middle, along, up = (part[0] for part in self.views([view]).vectors())
        t = self.row_positions_mm()[np.asarray(rows)][:, None, None]
        pixels = middle + self.positions_mm()[:, None] * along + t * up
        if self.diverges:
            return np.broadcast_to(source, pixels.shape), pixels - source
        return pixels, np.broadcast_to(source, pixels.shape)

    def lines(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return phi and s in mm of the rays to the middle row, seen along the axis (bins,)."""
        phi, s = seen_along_the_axis(*self.rays(view, [self.rows // 2]))
        return phi[0], s[0]

    def shadow(self, x: Points, y: Points, z: Points, view: int) -> Pair:
        """Return where points fall on the detector in a view, in mm: s and t."""
        angle = math.radians(self.angles_deg[view])
        cos, sin = math.cos(angle), math.sin(angle)
        point = (x * cos + y * sin, y * cos - x * sin, z)
        one = self.poses[view if len(self.poses) > 1 else 0]
        middle, along, up = np.array(one.middle), np.array(one.along), np.array(one.up)
        normal = np.cross(along, up)
        begin = one.source if self.diverges else point
        ray = [p - b for p, b in zip(point, begin, strict=True)] if self.diverges else one.source
        far = _dot(normal, middle) - _dot(normal, begin)
        far = far / _dot(normal, ray)
        hit = [b + far * r - m for b, r, m in zip(begin, ray, middle, strict=True)]
        area = float(normal @ normal)
        return _dot(np.cross(up, normal) / area, hit), _dot(np.cross(normal, along) / area, hit)

    # The upright beam on a circle that is nearest to it, which tells what rays cover

    @property
    def nearest(self) -> ConeBeam | ParallelBeam:
        """The cone on a circle, or the parallel beam, whose detector is upright and nearest."""
        source, middle, along, up = (part.mean(axis=0) for part in _columns(self.poses))
        middle = middle + self.offset_mm * along + self.row_offset_mm * up
        common: dict[str, Any] = {
            "angles_deg": self.angles_deg,
            "bins": self.bins,
            "bin_mm": self.bin_mm,
        }
        if not self.diverges:
            return ParallelBeam(**common, offset_mm=float(middle[0]))
        away = middle - source
        sod_mm = max(-float(source[1]), _LEAST_MM)
        return ConeBeam(
            **common,
            offset_mm=float(away[0]),
            sod_mm=sod_mm,
            sdd_mm=max(float(away[1]), sod_mm),
            axis_mm=-float(source[0]),
            rows=self.rows,
            row_mm=self.row_mm,
            row_offset_mm=float(away[2]),
        )

    @property
    def magnification(self) -> float:
        """Size of a shadow on the detector over that of the object at the axis."""
        return self.nearest.magnification

    @property
    def fan_angles(self) -> np.ndarray:
        """Angle of each bin's ray from the central ray, in radians (bins,)."""
        return self.nearest.fan_angles

    def distances_mm(self) -> np.ndarray:
        """Return how far each bin's ray passes from the axis, with the sign of s (bins,)."""
        return self.nearest.distances_mm()

    @property
    def axis_pixel(self) -> Pair:
        """Row and bin, counted from 0, on which the axis casts its shadow, level with the source.

        The mean of all views; of parallel rays that of the middle of the slices.
        """
        at = [
            self.shadow(0.0, 0.0, pose.source[2] if self.diverges else 0.0, view)
            for view, pose in enumerate(self.poses)
        ]
        s, t = np.mean(at, axis=0)
        row = (t - self.row_positions_mm()[0]) / self.row_mm
        return float(row), float((s - self.positions_mm()[0]) / self.bin_mm)

    @property
    def axis_bin(self) -> float:
        """Bin, counted from 0, on which the axis casts its shadow."""
        return float(self.axis_pixel[1])

    @property
    def farther_bins(self) -> int:
        """How many bins farther the detector reaches beyond the axis than before it."""
        return self.nearest.farther_bins

    # Other detectors and views

    def views(self, chosen: Sequence[int]) -> Self:
        """Return the beam of some views, by their numbers, in that order."""
        several = len(self.poses) > 1
        poses = tuple(self.poses[view] for view in chosen) if several else self.poses
        angles = tuple(self.angles_deg[view] for view in chosen)
        return msgspec.structs.replace(self, angles_deg=angles, poses=poses)

    def binned(self, bins: int, rows: int = 1) -> Self:
        """Return the beam of a coarser detector; what is left over at its ends is dropped."""
        return msgspec.structs.replace(super().binned(bins), **self.joined_rows(rows))


def turning(angles: np.ndarray, vector: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return a vector (3,), or one for each view, turned about z by angles in radians (views, 3).

    From x towards y.
    """
    x, y, z = np.broadcast_to(vector, (len(angles), 3)).T
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)


def seen_along_the_axis(points: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return phi and s in mm of the lines x cos(phi) + y sin(phi) = s that rays run above (...).

    Args:
        points: A point of each ray (..., 3).
        rays: Its direction (..., 3).
    """
    phi = np.arctan2(-rays[..., 0], rays[..., 1])
    return phi, points[..., 0] * np.cos(phi) + points[..., 1] * np.sin(phi)


def _columns(poses: Sequence[Pose]) -> Columns:
    """Return source, middle, along and up of poses: each (poses, 3)."""
    source, middle, along, up = np.array(
        [[pose.source, pose.middle, pose.along, pose.up] for pose in poses], dtype=float
    ).transpose(1, 0, 2)
    return source, middle, along, up


def _dot(a: Sequence[Points] | np.ndarray, b: Sequence[Points] | np.ndarray) -> Points:
    """Return the product of two vectors whose parts are numbers, arrays or tensors."""
    return sum(float(p) * q for p, q in zip(a, b, strict=True))
