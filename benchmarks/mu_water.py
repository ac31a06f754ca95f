"""How far the estimate of water's attenuation is off, on volumes in HU.

`python benchmarks/mu_water.py VOLUME...`. Slices in the middle of each are averaged to at most 256
pixels and scanned with 1e5 photons. Prints Markdown for docs/trust.md.
"""

import math
import sys
from pathlib import Path

import numpy as np

import diffusionblend as db
from diffusionblend.calibration import estimate_mu_water
from diffusionblend.units import MU_WATER

VIEWS = (8, 20, 60)
SLICES = 48


def main() -> None:
    found = {views: [] for views in VIEWS}
    for path in map(Path, sys.argv[1:]):
        volume = middle(db.read_volume(path))
        for views in VIEWS:
            scan = db.simulate(volume, db.sparse_view(views), size=volume.hu.shape[-1], photons=1e5)
            found[views].append(estimate_mu_water(scan))
        print(
            path.name, *(f"{percent(found[v][-1].mu_water):+.1f}" for v in VIEWS), file=sys.stderr
        )
    print("| views | RMS / % | most / % | least overlap | called unsure |")
    print("|---" * 5 + "|")
    for views, some in found.items():
        off = np.array([percent(one.mu_water) for one in some])
        worst, least = np.abs(off).max(), min(one.overlap for one in some)
        unsure = f"{sum(not one.sure for one in some)} of {len(some)}"
        print(f"| {views} | {rms(off):.1f} | {worst:.1f} | {least:.2f} | {unsure} |")


def middle(volume: db.Volume) -> db.Volume:
    """Return some slices of the middle, square, in pixels that whole numbers of old ones make."""
    first = max(0, (len(volume.hu) - SLICES) // 2)
    some = volume.slices(first, min(first + SLICES, len(volume.hu)))
    factor = math.ceil(max(some.hu.shape[1:]) / 256)
    whole = tuple(n // factor * factor for n in some.hu.shape[1:])
    shape = (len(some.hu), *whole)
    cut = db.Volume(some.hu[:, : whole[0], : whole[1]], some.grid.part((0, 0, 0), shape))
    return cut.binned(factor)


def percent(mu_water: float) -> float:
    return 100 * (mu_water / MU_WATER - 1)


def rms(off: np.ndarray) -> float:
    return float(np.sqrt(np.mean(off**2)))


if __name__ == "__main__":
    main()
