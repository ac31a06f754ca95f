"""Beams of every kind, and objects whose line integrals are known in closed form.

Rays are made from the formulas in the docstring of `geometry`, by none of its functions.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from diffusionblend.geometry import ConeBeam, Geometry, ParallelBeam, PosedBeam
from diffusionblend.geometry.acquisitions import (
    cone_beam,
    fan_beam,
    limited_angle,
    parallel_beam,
    sparse_view,
)

PLACE = {"sod_mm": 150.0, "sdd_mm": 260.0}
VIEWS = (*sparse_view(5, 360), 1000.0)


def placed(make, grid, *arguments, **options):
    """Return a grid, and the beam that is made for it."""
    return Geometry(grid, make(grid, *arguments, **options))


def changed(geometry, *, grid=None, **changes):
    """Return a geometry with another grid, or with changes of its beam."""
    return Geometry(grid or geometry.grid, msgspec.structs.replace(geometry.beam, **changes))


def beams(grid, angles=VIEWS):
    """Return a beam of every kind for a grid, with detectors and axes in place and not."""
    flat, curved = (placed(fan_beam, grid, angles, detector=d, **PLACE) for d in ("flat", "curved"))
    cone = placed(cone_beam, grid, angles, **PLACE)
    return {
        "parallel": placed(parallel_beam, grid, angles),
        "parallel, offset": changed(placed(parallel_beam, grid, angles), offset_mm=5.3),
        "flat fan": flat,
        "flat fan, offset": changed(flat, offset_mm=7.7),
        "flat fan, axis shifted": changed(flat, axis_mm=-4.1),
        "flat fan, short scan": changed(flat, angles_deg=limited_angle(230)[::46]),
        "curved fan": curved,
        "curved fan, both shifted": changed(curved, offset_mm=-6.0, axis_mm=4.1),
        "cone": cone,
        "cone, both offsets": changed(cone, offset_mm=7.7, row_offset_mm=-5.0),
        "cone, axis shifted": changed(cone, axis_mm=-4.1, angles_deg=limited_angle(230)[::46]),
    }


def finer(geometry, factor):
    """Return the beam with each bin, and each row of a cone's, cut into `factor`."""
    beam = geometry.beam
    cut = {"bins": beam.bins * factor, "bin_mm": beam.bin_mm / factor}
    if isinstance(beam, ConeBeam | PosedBeam):
        cut |= {"rows": beam.rows * factor, "row_mm": beam.row_mm / factor}
    return changed(geometry, **cut)


def rays(geometry):
    """Return a point and the direction, of length 1, of each ray (rows, views, bins, 3) in mm."""
    (rows, _, bins), (grid, beam) = geometry.sinogram_shape, geometry
    if isinstance(beam, PosedBeam):
        return _rays_of_poses(beam)
    angle = np.radians(beam.angles_deg)[:, None]
    z = np.array([0.0, 0.0, 1.0])
    e = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    d = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=-1)
    s = ((np.arange(bins) - (bins - 1) / 2) * beam.bin_mm + beam.offset_mm)[:, None]
    row = (np.arange(rows) - (rows - 1) / 2)[:, None, None, None]
    level = row * grid.spacing_mm[0] * z
    if isinstance(beam, ParallelBeam):
        return np.broadcast_arrays(s * e + level, d)
    point = level - beam.sod_mm * d - beam.axis_mm * e
    if isinstance(beam, ConeBeam):
        height = row * beam.row_mm + beam.row_offset_mm
        point, direction = point - level, beam.sdd_mm * d + s * e + height * z
    elif beam.detector == "flat":
        direction = beam.sdd_mm * d + s * e
    else:
        direction = np.cos(s / beam.sdd_mm) * d + np.sin(s / beam.sdd_mm) * e
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    return np.broadcast_arrays(point, direction / length)


def _rays_of_poses(beam):
    s = (np.arange(beam.bins) - (beam.bins - 1) / 2) * beam.bin_mm + beam.offset_mm
    t = (np.arange(beam.rows) - (beam.rows - 1) / 2) * beam.row_mm + beam.row_offset_mm
    points, directions = [], []
    for view, angle in enumerate(np.radians(beam.angles_deg)):
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        pose = beam.poses[view % len(beam.poses)]
        source, middle, along, up = (
            turn @ np.array(part) for part in (pose.source, pose.middle, pose.along, pose.up)
        )
        pixels = middle + s[:, None] * along + t[:, None, None] * up
        rays = pixels - source if beam.diverges else source + 0 * pixels
        points.append(source + 0 * pixels if beam.diverges else pixels)
        directions.append(rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    return np.stack(points, axis=1), np.stack(directions, axis=1)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid of density 1; without an extent along z it is an endless cylinder.

    Attributes:
        centre: x, y, z in mm.
        axes: Half axes in mm.
        turn: By which it is turned about z, in radians.
    """

    centre: tuple[float, float, float] = (6.0, -9.0, 0.0)
    axes: tuple[float, float, float] = (17.0, 10.0, np.inf)
    turn: float = 0.5

    def _seen(self, vectors):
        """Return vectors in the coordinates where it is the unit ball."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        turned = vectors @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        return turned / np.array(self.axes)

    def chords(self, geometry):
        """Return the length of each ray in it (rows, views, bins), in mm."""
        point, direction = rays(geometry)
        p, q = self._seen(point - np.array(self.centre)), self._seen(direction)
        pq, qq, pp = (p * q).sum(-1), (q * q).sum(-1), (p * p).sum(-1)
        return 2 * np.sqrt(np.clip(pq**2 - qq * (pp - 1), 0, None)) / qq

    def mean_chords(self, geometry, oversampling=4):
        """Return the mean of the chords over each bin."""
        y, k = self.chords(finer(geometry, oversampling)), oversampling
        y = y.reshape(*y.shape[:2], -1, k).mean(-1)
        if isinstance(geometry.beam, ConeBeam | PosedBeam):
            y = y.reshape(-1, k, *y.shape[1:]).mean(1)
        return y

    def image(self, grid, oversampling=5):
        """Draw it, anti-aliased (slices, rows, columns), float32."""
        n = np.array(grid.shape)
        image = np.zeros(grid.shape, np.float32)
        shifts = (np.arange(oversampling) + 0.5) / oversampling - 0.5
        for dz in shifts if np.isfinite(self.axes[2]) else [0.0]:
            for dy in shifts:
                for dx in shifts:
                    at = [
                        (np.arange(k) - (k - 1) / 2 + shift) * mm
                        for k, shift, mm in zip(n, (dz, dy, dx), grid.spacing_mm, strict=True)
                    ]
                    z, y, x = np.meshgrid(*at, indexing="ij")
                    p = self._seen(np.stack([x, y, z], axis=-1) - np.array(self.centre))
                    image += (p * p).sum(-1) <= 1
        return image / np.float32(oversampling ** (3 if np.isfinite(self.axes[2]) else 2))


def blob(grid, centre, sigma=1.0):
    """Return a small Gaussian at `centre` (x, y, z) in mm; sigma in pixels, and in slices."""
    at = [
        ((np.arange(n) - (n - 1) / 2) * mm - c) / mm
        for n, mm, c in zip(grid.shape, grid.spacing_mm, centre[::-1], strict=True)
    ]
    z, y, x = np.meshgrid(*at, indexing="ij")
    return np.exp(-(x**2 + y**2 + z**2) / (2 * sigma**2)).astype(np.float32)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)
