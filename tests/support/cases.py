"""Measured scans in small: a body of water with five dense balls, projected in closed form.

What a scanner and its user can do wrong, or a detector can, is done to these line integrals; the
volume that comes out is measured: where the balls are, and the level of the water.
"""

from dataclasses import dataclass

import numpy as np

from diffusionblend.data.scan import NO_NOISE, Noise, Scan
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from support.measured import write_geometry
from support.phantoms import Ellipsoid, placed

MU = 0.02
"""Attenuation of water in 1/mm; a ball adds as much again: 1000 HU."""
BODY_AT, RADIUS = (4.0, -3.0), 40.0
BALLS = ((22, 6, 0), (-14, 17, 2.2), (2, -30, -2.1), (-24, -8, 1.0), (10, 22, -1.2))
BALL_RADIUS = 3.5
DISTANCES = {"sod_mm": 200.0, "sdd_mm": 300.0}


def cylinder(x, y, radius):
    """Return an endless cylinder along the axis, at (x, y) mm."""
    return Ellipsoid((x, y, 0.0), (radius, radius, np.inf), 0.0)


def ball(x, y, z, radius):
    return Ellipsoid((x, y, z), (radius, radius, radius), 0.0)


def phantom(radius=RADIUS, balls=BALLS, mu=MU):
    """Return the body and its balls: objects and what each adds to the attenuation, in 1/mm."""
    return [(cylinder(*BODY_AT, radius), mu), *((ball(*b, BALL_RADIUS), mu) for b in balls)]


def beam(kind="parallel", views=60, *, size=128, slices=9, angles=None):
    """Return a beam of a kind with `size` bins, for slices of as many pixels of 1 mm."""
    grid = Grid.from_spacing((slices, size, size))
    if angles is None:
        angles = sparse_view(views, 180 if kind == "parallel" else 360)
    if kind == "parallel":
        return placed(parallel_beam, grid, angles)
    if kind == "fan":
        return placed(fan_beam, grid, angles, **DISTANCES)
    return placed(cone_beam, grid, angles, **DISTANCES)


def project(objects, geometry, *, oversampling=3):
    """Return line integrals as a scanner gives them (views, rows, bins), means over each bin."""
    y = sum(mu * thing.mean_chords(geometry, oversampling) for thing, mu in objects)
    return y.transpose(1, 0, 2)


def counts(y, photons=2e4, *, flux=1.0, dark=0.0, seed=0):
    """Return counts (views, rows, bins) of a source whose views have so much flux each."""
    flux = np.broadcast_to(flux, len(y))[:, None, None]
    return np.random.default_rng(seed).poisson(np.exp(-y) * photons * flux + dark)


def fields(geometry, photons=2e4, *, number=10, dark=0.0, seed=1):
    """Return fields of air, or with photons=0 of no rays (number, rows, bins)."""
    rows, _, bins = geometry.sinogram_shape
    return np.random.default_rng(seed).poisson(photons + dark, (number, rows, bins))


def write_case(folder, values, geometry, *, name="case", **data):
    """Write projections (views, rows, bins) as a .npy and its geometry.json, which is returned."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", values)
    data = {"file": f"{name}.npy", "order": ["view", "row", "bin"]} | data
    return write_geometry(folder, geometry, name=f"{name}.json", **data)


def scan_of(geometry, *, objects=None, photons=2e4, flux=1.0, seed=0):
    """Return the scan of a source whose views have so much flux each, and believed to have 1."""
    y = project(phantom() if objects is None else objects, geometry)
    if photons is None:
        y, noise = y - np.log(np.broadcast_to(flux, len(y)))[:, None, None], NO_NOISE
    else:
        seen, noise = counts(y, photons, flux=flux, seed=seed), Noise(photons, 0.0)
        y = -np.log(np.maximum(seen, 1) / photons)
    return Scan(np.ascontiguousarray(y.transpose(1, 0, 2), np.float32), geometry, noise, MU)


def coarse_beam(kind="parallel", views=60, *, slices=9):
    """Return a beam for slices of 64 x 64 pixels of 2 mm."""
    grid = Grid.from_spacing((slices, 64, 64), (2.0, 2.0, 2.0))
    angles = sparse_view(views, 180 if kind == "parallel" else 360)
    if kind == "parallel":
        return placed(parallel_beam, grid, angles)
    return placed(fan_beam if kind == "fan" else cone_beam, grid, angles, **DISTANCES)


@dataclass(frozen=True)
class Found:
    """What a volume shows of the body and its balls.

    Attributes:
        water, spread: Mean and standard deviation in HU inside the body, away from the balls; both
            are 0 in the truth.
        balls: By how many voxels each ball is off, along the axis where it is worst.
    """

    water: float
    spread: float
    balls: tuple[float, ...]


def measure(volume, balls=BALLS, *, unit_mm=1.0, endless=False):
    """Measure the phantom in a volume whose middle is the axis.

    Args:
        volume: The volume, in HU.
        balls: Where they are, in units.
        unit_mm: Millimetres in a unit of the phantom.
        endless: Whether the balls are discs in all slices.
    """
    hu, spacing = volume.hu.astype(np.float64), np.array(volume.grid.spacing_mm)
    places = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(hu.shape, spacing, strict=True)]
    at = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)[..., ::-1] / unit_mm  # x, y, z
    across, depth = at[..., :2], at[..., 2]
    away = np.ones(hu.shape, bool)
    for b in balls:
        distance = across - b[:2] if endless else at - b
        away &= np.linalg.norm(distance, axis=-1) > BALL_RADIUS + 3
    middle = np.abs(depth) < 0.3 * np.ptp(depth) + 1e-6 if len(hu) > 3 else True
    body = away & (np.linalg.norm(across - BODY_AT, axis=-1) < RADIUS - 6) & middle
    errors = []
    for b in balls:
        near = np.linalg.norm(across - b[:2], axis=-1) < BALL_RADIUS + 3
        if not endless:
            near &= np.abs(depth - b[2]) < BALL_RADIUS + 2.5
        dense = np.where(near, np.clip(hu - 250, 0, None), 0)
        if not dense.any():
            errors.append(np.inf)
            continue
        centre = (dense[..., None] * at).sum((0, 1, 2)) / dense.sum()
        off = np.abs(centre - b)[::-1] * unit_mm / spacing  # z, y, x
        errors.append(float(off[1:].max() if endless else off.max()))
    return Found(float(hu[body].mean()), float(hu[body].std()), tuple(errors))
