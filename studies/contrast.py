"""How much of a small contrast is kept: soft balls in water or in a body, by views and method.

`python studies/contrast.py`: the body of `views_and_faults.py`, without faults, whose five balls
(7 mm wide there) are 9 mm wide and a little denser than water. Prints, as Markdown, by how many HU
their middles are denser in the picture, and the standard deviation of the water in brackets.

`python studies/contrast.py VOLUME FIRST:LAST`: twelve such balls in soft tissue of these slices.
Prints by how many HU their middles are denser than in a picture of the same slices without them,
and the standard deviation of the error of soft tissue in brackets.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import validate
import views_and_faults as water
from scipy.ndimage import binary_erosion

import diffusionblend as db

CONTRASTS_HU = (20.0, 40.0)
RADIUS = 4.5
INSIDE = 3.0
"""Where a ball is measured, away from its edge."""
BALLS, APART = 12, 4 * RADIUS
"""Balls in a body, and how far they are apart, in mm."""
SOFT_HU = (-30, 90)

Found = Callable[[db.Scan | None, db.Scan, str], tuple[float, float]]
"""Returns contrast and noise in HU, from scans without and with balls, and a method."""
Cases = Iterator[tuple[float, int, tuple[db.Scan | None, db.Scan], Found]]


def main() -> None:
    options = arguments()
    bodies = in_water if options.volume is None else in_a_body
    print("| contrast / HU | views |", *(f"`{method}` |" for method in options.method))
    print("|---" * (2 + len(options.method)) + "|")
    for contrast, views, scans, found in bodies(options):
        cells = (found(*scans, method) for method in options.method)
        kept = (f"{mean:.0f} ({noise:.1f}) |" for mean, noise in cells)
        print(f"| {contrast:g} | {views} |", *kept, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path, nargs="?")
    parser.add_argument("slices", nargs="?", help="FIRST:LAST")
    parser.add_argument("--contrast", nargs="+", type=float, default=list(CONTRASTS_HU))
    parser.add_argument("--views", nargs="+", type=int, default=[8, 20, 60, 180, 360])
    parser.add_argument("--beam", choices=water.BEAMS, default="parallel")
    parser.add_argument("--method", nargs="+", default=list(water.METHODS))
    parser.add_argument("--clean", action="store_true", help="without noise")
    return parser.parse_args()


def in_water(options: argparse.Namespace) -> Cases:
    """Yield contrast, views, scans and what is measured, of balls in water."""
    water.BALL_RADIUS = RADIUS
    for contrast, views in product(options.contrast, options.views):
        water.BALL_HU = contrast
        water.body.cache_clear()
        water.projected.cache_clear()
        if options.clean:
            scan = water.projected(options.beam, views)
        else:
            scan = water.measured(water.Cell(options.beam, views, "none", "any"))
        yield contrast, views, (None, scan), found_in_water


def found_in_water(_: db.Scan | None, scan: db.Scan, method: str) -> tuple[float, float]:
    """Return the mean contrast of the balls, and the standard deviation of water, in HU."""
    hu = db.reconstruct(scan, method, classical=False).volume.hu
    around = hu[water.water_at(water.SIZE)]
    x, y, z = water.places(water.SIZE)
    inside = [water.apart(ball, x, y, z) < INSIDE for ball in water.BALLS]
    return float(np.mean([hu[at].mean() for at in inside]) - around.mean()), float(around.std())


def in_a_body(options: argparse.Namespace) -> Cases:
    """Yield the same of balls in the soft tissue of a volume."""
    first, last = map(int, options.slices.split(":"))
    body = db.read_volume(options.volume).slices(first, last)
    away = distances(body)
    beam, turn = validate.BEAMS[options.beam]
    photons = None if options.clean else water.PHOTONS

    def found(without: db.Scan | None, scan: db.Scan, method: str) -> tuple[float, float]:
        before, after = (
            np.asarray(db.reconstruct(one, method, classical=False).volume.hu)
            for one in (without, scan)
        )
        middle = len(before) // 2
        error = (before - body.hu)[middle][soft(body.hu[middle])]
        inside = [(after - before)[at < INSIDE].mean() for at in away]
        return float(np.mean(inside)), float(error.std())

    for contrast, views in product(options.contrast, options.views):
        hu = body.hu + contrast * (np.min(away, axis=0) < RADIUS)
        balls = db.Volume(hu.astype(np.float32), body.grid)
        without, scan = (
            db.simulate(volume, db.sparse_view(views, turn), beam=beam, photons=photons)
            for volume in (body, balls)
        )
        yield contrast, views, (without, scan), found


def distances(body: db.Volume) -> list[np.ndarray]:
    """Return how far each voxel is from the middle of each ball, in mm."""
    spacing = body.grid.spacing_mm
    middle = len(body.hu) // 2
    room = binary_erosion(soft(body.hu[middle]), iterations=int(RADIUS / spacing[1]) + 3)
    places = np.argwhere(room)
    chosen: list[np.ndarray] = []
    for place in np.random.default_rng(0).permutation(places):
        if all(np.linalg.norm((place - other) * spacing[1]) > APART for other in chosen):
            chosen.append(place)
    z, y, x = np.indices(body.hu.shape) * np.reshape(spacing, (3, 1, 1, 1))
    return [
        np.sqrt(
            (z - middle * spacing[0]) ** 2
            + (y - row * spacing[1]) ** 2
            + (x - column * spacing[2]) ** 2
        )
        for row, column in chosen[:BALLS]
    ]


def soft(hu: np.ndarray) -> np.ndarray:
    return (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])


if __name__ == "__main__":
    main()
