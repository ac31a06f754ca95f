"""How far seeds differ: `python studies/seeds.py FIRST:LAST VOLUME... --set noise=0.5`.

The default method; the paper's protocol, or projected independently where there is noise. Prints,
as Markdown, the PSNR of each plane and seed, and that of the worst and the best axial slice: there
it shows if some of the slices have settled on another guess than the rest.
"""

import argparse
from pathlib import Path

import diffusionblend as db
from diffusionblend.cli.terminal import parse_slices
from diffusionblend.metrics import psnr
from diffusionblend.simulation.simulate import truth_on_grid

PLANES = ("axial", "coronal", "sagittal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slices", type=parse_slices, help="FIRST:LAST")
    parser.add_argument("volumes", nargs="+", type=Path)
    parser.add_argument("--views", nargs="+", default=["8", "90deg"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--photons", type=float)
    parser.add_argument("--prior", default="chest")
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE")
    options = parser.parse_args()
    method = {name: float(value) for name, value in (pair.split("=") for pair in options.set)}
    print("| volume | views | seed | axial / coronal / sagittal | slices | seconds |")
    print("|---|---|---|---|---|---|")
    for path in options.volumes:
        volume = db.read_volume(path).slices(*options.slices)
        truth = truth_on_grid(volume, 256)
        for views in options.views:
            arc = views.removesuffix("deg")
            make = db.sparse_view if arc == views else db.limited_angle
            protocol = "independent" if options.photons else "paper"
            scan = db.simulate(volume, make(int(arc)), photons=options.photons, protocol=protocol)
            for seed in options.seeds:
                made = db.reconstruct(
                    scan, prior=options.prior, seed=seed, classical=False, **method
                )
                print(f"| {path.name} | {views} | {seed} | {_row(made, truth)} |", flush=True)


def _row(made: db.Reconstruction, truth: db.Volume) -> str:
    figures = db.evaluate(made, truth)
    slices = psnr(made.volume.hu, truth.hu)
    means = " / ".join(f"{figures[plane]['psnr']:.2f}" for plane in PLANES)
    return f"{means} | {slices.min():.1f} to {slices.max():.1f} | {made.seconds:.0f}"


if __name__ == "__main__":
    main()
