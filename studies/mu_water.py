"""How far the estimate of water's attenuation is off, and what it takes for a human body.

`python studies/mu_water.py --trunks VOLUME... --heads VOLUME... --scans SCAN...`. Volumes are of
bodies, in HU: slices in the middle of each are averaged to at most 256 pixels and scanned with 1e5
photons. Scans are of anything else, as `import` makes them. Micro-CT of the package qim3d, if it is
installed, objects of one to three materials, and bodies in wrong units are added. Prints Markdown
for docs/trust.md.
"""

import argparse
import dataclasses
import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

import diffusionblend as db
from diffusionblend.calibration.water import Calibration, estimate_mu_water
from diffusionblend.data.units import MU_WATER
from diffusionblend.experiments.volumes import find_volume, load_volume
from diffusionblend.geometry import Grid

VIEWS = (8, 20, 60)
SLICES, EVERY = 48, 4
PIXELS, PIXEL_MM = 128, 2.0  # of the objects: 256 mm, as bodies
MICRO_CT = ("bone", "cement", "fibers", "fly", "NT", "shell")
UNITS = {"metres": 1e-3, "micrometres": 1e3, "numbers times 1000": None}
CALLED = ("tissue", "tissue, unsure", "material")


def main() -> None:
    asked = parsed()
    groups = {"trunks": bodies(asked.trunks), "heads, necks": bodies(asked.heads)}
    found = {name: tuple(estimated(name, scans)) for name, scans in groups.items()}
    print("| | views | RMS / % | most / % | least overlap | called unsure |")
    print("|---" * 6 + "|")
    for name, some in found.items():
        for views in VIEWS:
            print(f"| {name} | {views} | {accuracy([c for v, c in some if v == views])} |")
    others = {
        "wrong units": wrong_units(asked.trunks[:1] + asked.heads[:1]),
        "measured, no bodies": ((0, db.read_scan(path)) for path in asked.scans),
        "micro-CT in pixels of 1.4 mm": micro_ct(),
        "round objects of 1 to 3 materials": objects(1.0),
        "long objects of 1 to 3 materials": objects(0.7),
    }
    found |= {name: tuple(estimated(name, scans)) for name, scans in others.items()}
    print(f"\n| scans of | views | {' | '.join(f'called {name}' for name in CALLED)} |")
    print("|---" * 5 + "|")
    for name, some in found.items():
        for views in sorted({v for v, _ in some}):
            counts = [sum(called(c) == kind for v, c in some if v == views) for kind in CALLED]
            print(f"| {name} | {views or 'as measured'} | {' | '.join(map(str, counts))} |")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for group in ("trunks", "heads", "scans"):
        parser.add_argument(f"--{group}", nargs="*", type=Path, default=[])
    return parser.parse_args()


def estimated(name: str, scans: Iterator[tuple[int, db.Scan]]) -> Iterator[tuple[int, Calibration]]:
    for number, (views, scan) in enumerate(scans):
        one = estimate_mu_water(scan)
        print(
            name, number, views, called(one), f"{one.mu_water:.4g} {one.overlap}", file=sys.stderr
        )
        yield views, one


def called(one: Calibration) -> str:
    return "tissue, unsure" if one.how == "tissue" and not one.sure else one.how


def accuracy(some: list[Calibration]) -> str:
    off = np.array([100 * (one.mu_water / MU_WATER - 1) for one in some])
    rms, worst = np.sqrt(np.mean(off**2)), np.abs(off).max()
    unsure = f"{sum(not one.sure for one in some)} of {len(some)}"
    return f"{rms:.1f} | {worst:.1f} | {min(one.overlap for one in some):.2f} | {unsure}"


def bodies(paths: list[Path]) -> Iterator[tuple[int, db.Scan]]:
    for path in paths:
        yield from scans_of(middle(db.read_volume(path)))


def scans_of(volume: db.Volume, **options: float) -> Iterator[tuple[int, db.Scan]]:
    size = max(volume.hu.shape[1:])
    for views in VIEWS:
        yield views, db.simulate(volume, db.sparse_view(views), size=size, photons=1e5, **options)


def middle(volume: db.Volume) -> db.Volume:
    """Return some slices of the middle, square, in pixels that whole numbers of old ones make."""
    first = max(0, (len(volume.hu) - SLICES) // 2)
    factor = math.ceil(max(volume.hu.shape[1:]) / 256)
    rows, columns = (n // factor * factor for n in volume.hu.shape[1:])
    hu = volume.hu[first : first + SLICES : EVERY, :rows, :columns]
    z, y, x = volume.grid.spacing_mm
    return db.Volume(hu, Grid.from_spacing(hu.shape, (EVERY * z, y, x))).binned(factor)


def wrong_units(paths: list[Path]) -> Iterator[tuple[int, db.Scan]]:
    for _, scan in bodies(paths):
        for factor in UNITS.values():
            if factor is None:
                yield 0, dataclasses.replace(scan, y=1000 * scan.y)
                continue
            g = scan.geometry
            spacing = [factor * mm for mm in g.grid.spacing_mm]
            grid = Grid.from_spacing(g.grid.shape, spacing)
            beam = msgspec.structs.replace(g.beam, bin_mm=factor * g.beam.bin_mm)
            yield 0, dataclasses.replace(scan, geometry=db.Geometry(grid, beam))


def micro_ct() -> Iterator[tuple[int, db.Scan]]:
    if importlib.util.find_spec("qim3d") is None:
        return
    for name in MICRO_CT:
        volume = load_volume(find_volume(f"microct-{name}", Path()))
        side = min(volume.hu.shape[1:]) // 2 * 2
        y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
        hu = np.where(
            np.hypot(x, y) < 0.98, volume.hu[:: len(volume.hu) // 12, :side, :side], -1000
        )
        yield from scans_of(
            db.Volume(hu.astype(np.float32), Grid.from_spacing(hu.shape, volume.grid.spacing_mm))
        )


def objects(height: float) -> Iterator[tuple[int, db.Scan]]:
    """Scan objects of the size and the attenuation of bodies, as high as wide times `height`."""
    for u in phantoms(height):
        hu = (1000 * (np.repeat(u[None], 4, axis=0) - 1)).astype(np.float32)
        volume = db.Volume(hu, Grid.from_spacing(hu.shape, (PIXEL_MM,) * 3))
        yield from scans_of(volume, mu_water=MU_WATER / max(1.0, u.max() / 2))


def phantoms(height: float) -> Iterator[np.ndarray]:
    """Yield slices in units of water: one material, two with blobs of a second, three."""
    y, x = (np.mgrid[:PIXELS, :PIXELS] + 0.5) / PIXELS * 2 - 1
    y = y / height
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    body = r < 0.85
    yield body * 1.0
    yield np.where(r > 0.6, body, 0) * 1.0
    for teeth in (12, 24):
        yield ((r < 0.6 + 0.12 * (np.cos(teeth * angle) > 0)) & (r > 0.2)) * 1.0
    yield ((np.sin(40 * x) * np.sin(40 * y) > 0) & body) * 1.0
    yield np.where(body, 1 + 0.25 * np.sin(50 * r), 0)
    yield np.where(np.hypot(x - 0.1, y - 0.1) < 0.2, 25.0, body)
    rng = np.random.default_rng(0)
    for count, largest in ((100, 0.15), (400, 0.08)):
        yield blobs(x, y, body, count, largest, (0.0,), rng)
    for ratio in (0.5, 0.85, 1.2, 1.5, 3.0):
        for count, largest in ((12, 0.25), (150, 0.08)):
            yield blobs(x, y, body, count, largest, (ratio,), rng)
    for pair in ((0.8, 1.5), (0.5, 2.0), (0.3, 1.4), (0.0, 1.3)):
        yield blobs(x, y, body, 40, 0.2, pair, rng)


def blobs(
    x: np.ndarray,
    y: np.ndarray,
    body: np.ndarray,
    count: int,
    largest: float,
    values: tuple[float, ...],
    rng: np.random.Generator,
) -> np.ndarray:
    u = body * 1.0
    for i in range(count):
        far, angle, radius = (
            0.75 * rng.random(),
            rng.uniform(0, 2 * np.pi),
            rng.uniform(0.02, largest),
        )
        inside = np.hypot(x - far * np.cos(angle), y - far * np.sin(angle)) < radius
        u[inside & body] = values[i % len(values)]
    return u


if __name__ == "__main__":
    main()
