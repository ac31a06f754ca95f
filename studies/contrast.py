"""How much of a small contrast is kept: soft balls in water, by number of views and method.

`python studies/contrast.py`. The body of `views_and_faults.py`, without faults, whose five balls
(7 mm wide there) are 9 mm wide and a little denser than water. Prints, as Markdown, by how many HU
their middles are denser in the picture, and the standard deviation of the water in brackets.
"""

import argparse
from itertools import product

import numpy as np
import views_and_faults as water

import diffusionblend as db

CONTRASTS_HU = (20.0, 40.0)
RADIUS = 4.5
INSIDE = 3.0
"""Where a ball is measured, away from its edge."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", nargs="+", type=int, default=[8, 20, 60, 180, 360])
    parser.add_argument("--method", nargs="+", default=list(water.METHODS))
    parser.add_argument("--clean", action="store_true", help="without noise")
    options = parser.parse_args()
    water.BALL_RADIUS = RADIUS
    print("| contrast / HU | views |", *(f"`{method}` |" for method in options.method))
    print("|---" * (2 + len(options.method)) + "|")
    for contrast, views in product(CONTRASTS_HU, options.views):
        water.BALL_HU = contrast
        water.body.cache_clear()
        water.projected.cache_clear()
        if options.clean:
            scan = water.projected("parallel", views)
        else:
            scan = water.measured(water.Cell("parallel", views, "none", "any"))
        kept = (found(scan, method) for method in options.method)
        cells = (f"{mean:.0f} ({noise:.1f}) |" for mean, noise in kept)
        print(f"| {contrast:g} | {views} |", *cells, flush=True)


def found(scan: db.Scan, method: str) -> tuple[float, float]:
    """Return the mean contrast of the balls, and the standard deviation of water, in HU."""
    hu = db.reconstruct(scan, method, classical=False).volume.hu
    around = hu[water.water_at(water.SIZE)]
    x, y, z = water.places(water.SIZE)
    inside = [water.apart(ball, x, y, z) < INSIDE for ball in water.BALLS]
    return float(np.mean([hu[at].mean() for at in inside]) - around.mean()), float(around.std())


if __name__ == "__main__":
    main()
