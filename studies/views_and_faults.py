"""Bias and spread of water by number of views, fault of the source, beam and method.

`python studies/views_and_faults.py RUNS.jsonl`. Runs that the file holds are not made again, so
that it can be stopped at any time; `--beam`, `--views`, `--fault` and `--method` choose some of
them, `--table` none. Prints Markdown for docs/trust.md, and says where the default method is not
what it is to be.

A body of water with five dense balls, 128 x 128 x 9 pixels of 1 mm, is projected from 256 x 256
pixels by the area-weighted projector. Of 2e4 photons per bin so many are counted as the source
gives at that view; the logarithm is taken as if it had never changed.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

import diffusionblend as db
from diffusionblend.io.projections.counts.flat import lifted
from diffusionblend.reconstruction.draw import DEFAULT_METHOD

PHOTONS = 2e4
SIZE, FINE, SLICES = 128, 2, 9
BODY_AT, RADIUS = (4.0, -3.0), 40.0
BALLS = ((22, 6, 0), (-14, 17, 2.2), (2, -30, -2.1), (-24, -8, 1.0), (10, 22, -1.2))
BALL_RADIUS, BALL_HU = 3.5, 1000.0
DISTANCES = {"sod_mm": 200.0, "sdd_mm": 300.0}
VIEWS = (8, 20, 60, 180, 360, 720)
BEAMS = {
    "parallel": (db.parallel_beam, 180.0),
    "fan": (partial(db.fan_beam, **DISTANCES), 360.0),
    "cone": (partial(db.cone_beam, **DISTANCES), 360.0),
}
METHODS = (DEFAULT_METHOD, "tv", "fbp")
MORE_BIAS_HU = 2.0
"""By how much the default method may be farther off than total variation."""

Flux = Callable[[int], np.ndarray]


def flickering(share: float) -> Flux:
    """Return a flux that differs from view to view by a standard deviation."""
    return lambda views: 1 + share * np.random.default_rng(2).standard_normal(views)


def drifting(share: float) -> Flux:
    """Return a flux that falls by a share over the scan."""
    return lambda views: np.linspace(1, 1 - share, views)


def closed(count: int) -> Flux:
    """Return a flux that is none in so many views, spread unevenly over the scan."""

    def flux(views: int) -> np.ndarray:
        at = (np.array([0.04, 0.51, 0.93]) * views).astype(int)[:count]
        return np.isin(np.arange(views), at, invert=True).astype(float)

    return flux


FAULTS: dict[str, Flux] = {
    "none": np.ones,
    "flicker 1 %": flickering(0.01),
    "flicker 3 %": flickering(0.03),
    "drift 2 %": drifting(0.02),
    "drift 5 %": drifting(0.05),
    "drift 20 %": drifting(0.2),
    "3 closed shutters": closed(3),
}


@dataclass(frozen=True)
class Cell:
    """What is run."""

    beam: str
    views: int
    fault: str
    method: str


@dataclass(frozen=True)
class Found:
    """What came of it: mean and standard deviation of water in HU, warnings, seconds."""

    bias: float
    spread: float
    warnings: list[str]
    seconds: float


Runs = dict[Cell, Found]


def main() -> None:
    options = arguments()
    runs = read(options.runs)
    for cell in () if options.table else chosen(options):
        if cell not in runs:
            runs[cell] = run(cell)
            with options.runs.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(cell) | asdict(runs[cell])) + "\n")
            print(cell, runs[cell], flush=True)
    print("\n".join(table(runs)))
    print("\n".join(shortcomings(runs)) or "\nNo shortcomings.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="where runs are kept, a line each")
    parser.add_argument("--beam", nargs="+", choices=BEAMS, default=list(BEAMS))
    parser.add_argument("--views", nargs="+", type=int, default=list(VIEWS))
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--method", nargs="+", default=list(METHODS))
    parser.add_argument("--table", action="store_true", help="run nothing")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> Iterator[Cell]:
    """Yield the cells in an order that projects each beam once."""
    parts = (options.beam, options.views, options.fault, options.method)
    yield from (Cell(*part) for part in product(*parts))


def read(path: Path) -> Runs:
    """Return the runs that are kept; a line that was cut off when it was written is run again."""
    runs = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            facts = json.loads(line)
        except json.JSONDecodeError:
            continue
        cell = Cell(*(facts.pop(name) for name in Cell.__dataclass_fields__))
        runs[cell] = Found(**facts)
    return runs


def run(cell: Cell) -> Found:
    scan = measured(cell)
    began = time.monotonic()
    made = db.reconstruct(scan, cell.method, classical=False)
    seconds = round(time.monotonic() - began, 1)
    water = made.volume.hu[water_at(SIZE)]
    codes = sorted({w.code for w in made.quality.warnings})
    return Found(round(float(water.mean()), 2), round(float(water.std()), 2), codes, seconds)


def measured(cell: Cell) -> db.Scan:
    """Count the photons of a scan whose source has a fault."""
    clean = projected(cell.beam, cell.views)
    flux = FAULTS[cell.fault](cell.views)[:, None]
    rng = np.random.default_rng(0)
    counts = rng.poisson(PHOTONS * flux * np.exp(-clean.y.astype(np.float64)))
    y = -np.log(lifted(counts.astype(np.float64), 1.0, 0.0) / PHOTONS)
    return db.Scan(y.astype(np.float32), clean.geometry, db.Noise(PHOTONS), clean.mu_water)


@functools.lru_cache(maxsize=1)
def projected(beam: str, views: int) -> db.Scan:
    place, arc = BEAMS[beam]
    return db.simulate(body(), db.sparse_view(views, arc), size=SIZE, beam=place)


@functools.lru_cache(maxsize=1)
def body() -> db.Volume:
    """Return the body on the fine grid, in HU."""
    x, y, z = places(FINE * SIZE)
    hu = np.where(np.hypot(x - BODY_AT[0], y - BODY_AT[1]) < RADIUS, 0.0, -1000.0) + 0 * z
    for ball in BALLS:
        hu[apart(ball, x, y, z) < BALL_RADIUS] = BALL_HU
    spacing = (1.0, 1 / FINE, 1 / FINE)
    return db.Volume(hu.astype(np.float32), db.Grid.from_spacing(hu.shape, spacing))


def water_at(size: int) -> np.ndarray:
    """Return where water is, away from balls and rim, in the middle slices."""
    x, y, z = places(size)
    water = (np.hypot(x - BODY_AT[0], y - BODY_AT[1]) < RADIUS - 6) & (np.abs(z) < 2)
    for ball in BALLS:
        water &= apart(ball, x, y, z) > BALL_RADIUS + 3
    return water


def places(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and z in mm of the pixels' middles, to be broadcast."""
    across = (np.arange(size) - (size - 1) / 2) * SIZE / size
    along = np.arange(SLICES) - (SLICES - 1) / 2
    return across[None, None, :], across[None, :, None], along[:, None, None]


def apart(ball: tuple[float, ...], x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.sqrt((x - ball[0]) ** 2 + (y - ball[1]) ** 2 + (z - ball[2]) ** 2)


def table(runs: Runs) -> Iterator[str]:
    """Yield the table: bias, +- and spread of each method, `!` where a warning of the data."""
    yield "\n| beam | fault | views | " + " | ".join(f"`{m}`" for m in METHODS) + " |"
    yield "|---" * (3 + len(METHODS)) + "|"
    for beam, fault, views in product(BEAMS, FAULTS, VIEWS):
        cells = [runs.get(Cell(beam, views, fault, method)) for method in METHODS]
        if any(cells):
            yield f"| {beam} | {fault} | {views} | " + " | ".join(map(in_words, cells)) + " |"


def in_words(found: Found | None) -> str:
    if found is None:
        return ""
    told = " !" if {"residual-high", "flux", "bad-views"} & set(found.warnings) else ""
    return f"{found.bias:+.1f} ± {found.spread:.1f}{told}"


def shortcomings(runs: Runs) -> Iterator[str]:
    """Yield where the default method is farther off than it may be, or more views are worse."""
    for cell, found in runs.items():
        other = runs.get(Cell(cell.beam, cell.views, cell.fault, "tv"))
        if cell.method != DEFAULT_METHOD:
            continue
        if other and abs(found.bias) > abs(other.bias) + MORE_BIAS_HU:
            yield f"- {cell}: {found.bias:+.1f} HU, tv {other.bias:+.1f}"
        fewer = max((v for v in VIEWS if v < cell.views), default=None)
        before = runs.get(Cell(cell.beam, fewer or 0, cell.fault, cell.method))
        if before and found.spread > before.spread:
            yield f"- {cell}: spread {found.spread:.1f} HU, {before.spread:.1f} from {fewer} views"


if __name__ == "__main__":
    main()
