"""Measure methods on the validation volume: `python studies/validate.py VOLUME FIRST:LAST`.

The paper's protocol, or that with a fan or a cone and views of a full turn. Prints PSNR and SSIM
of each method and plane, and seconds, as Markdown.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import diffusionblend as db
from diffusionblend.reconstruction.draw import DEFAULT_METHOD

VIEWS = ("4", "8", "20", "60", "180", "90deg")
DISTANCES = {"sod_mm": 600.0, "sdd_mm": 1000.0}
BEAMS = {
    "parallel": (db.parallel_beam, 180.0),
    "fan": (partial(db.fan_beam, **DISTANCES), 360.0),
    "cone": (partial(db.cone_beam, **DISTANCES), 360.0),
}
PLANES = ("axial", "coronal", "sagittal")


def main() -> None:
    options = arguments()
    first, last = map(int, options.slices.split(":"))
    volume = db.read_volume(options.volume).slices(first, last)
    truth = db.truth_on_grid(volume, 256)
    beam, turn = BEAMS[options.beam]
    print("| views | seed | method |", *(f"{p} PSNR | SSIM |" for p in PLANES), "seconds |")
    print("|---|---|---|" + "---|---|" * len(PLANES) + "---|")
    for views in options.views:
        scan = db.simulate(
            volume,
            db.limited_angle(90) if views == "90deg" else db.sparse_view(int(views), turn),
            beam=beam,
            photons=options.photons,
            protocol=options.protocol,
        )
        for method in options.method:
            for seed in options.seeds:
                made = db.reconstruct(scan, method, prior=options.prior, seed=seed, classical=False)
                figures = db.evaluate(made, truth)
                cells = (f"{figures[p]['psnr']:.2f} | {figures[p]['ssim']:.3f} |" for p in PLANES)
                print(f"| {views} | {seed} | {method} |", *cells, f"{made.seconds:.0f} |")
                sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("slices", help="FIRST:LAST")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=["8", "20"])
    parser.add_argument("--method", nargs="+", default=["fbp", "tv", DEFAULT_METHOD])
    parser.add_argument("--beam", choices=BEAMS, default="parallel")
    parser.add_argument("--photons", type=float, help="per bin; default: no noise")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--prior", default="chest")
    parser.add_argument("--protocol", default="paper")
    return parser.parse_args()


if __name__ == "__main__":
    main()
