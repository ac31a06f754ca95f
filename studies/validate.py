"""Measure methods on the validation volume: `python studies/validate.py VOLUME FIRST:LAST`.

The paper's protocol. Prints PSNR and SSIM of each method and plane, and seconds, as Markdown.
"""

import argparse
import sys
from pathlib import Path

import diffusionblend as db
from diffusionblend.methods.options import make_method
from diffusionblend.simulation.simulate import truth_on_grid

ACQUISITIONS = {
    "8": db.sparse_view(8),
    "20": db.sparse_view(20),
    "60": db.sparse_view(60),
    "90deg": db.limited_angle(90),
}
PLANES = ("axial", "coronal", "sagittal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("slices", help="FIRST:LAST")
    parser.add_argument("--views", nargs="+", choices=ACQUISITIONS, default=["8", "20"])
    parser.add_argument("--steps", nargs="+", type=int, default=[50])
    parser.add_argument("--prior", default="chest")
    parser.add_argument("--protocol", default="paper")
    options = parser.parse_args()
    first, last = map(int, options.slices.split(":"))
    volume = db.read_volume(options.volume).slices(first, last)
    truth = truth_on_grid(volume, 256)
    methods = {name: make_method(name) for name in ("fbp", "sbtv", "tv")}
    for steps in options.steps:
        methods[f"diffusionblend++, {steps}"] = make_method("diffusionblend++", steps=steps)
    print("| views | method |", *(f"{p} PSNR | SSIM |" for p in PLANES), "seconds |")
    print("|---|---|" + "---|---|" * len(PLANES) + "---|")
    for views in options.views:
        scan = db.simulate(volume, ACQUISITIONS[views], protocol=options.protocol)
        for name, method in methods.items():
            result = db.reconstruct(scan, method, prior=options.prior, classical=False)
            figures = db.evaluate(result, truth)
            cells = (f"{figures[p]['psnr']:.2f} | {figures[p]['ssim']:.3f} |" for p in PLANES)
            print(f"| {views} | {name} |", *cells, f"{result.seconds:.0f} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
