"""Tune SBTV on the validation volume: `python benchmarks/tune_sbtv.py VOLUME FIRST:LAST`.

Prints the mean axial PSNR in dB for each weight and rho, at 4 to 100 views and 90 degrees,
without noise and with 1e5 and 1e4 photons. The best weights are the defaults of `SBTV`.
"""

import itertools
import sys
from pathlib import Path

import diffusionblend as db
from diffusionblend.methods import SBTV
from diffusionblend.simulation import truth_on_grid

ACQUISITIONS = {
    **{f"{views} views": db.sparse_view(views) for views in (4, 6, 8, 20, 60, 100)},
    "90 degrees": db.limited_angle(90),
}
PHOTONS = (None, 1e5, 1e4)
WEIGHTS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
RHOS = (0.03, 0.1)


def main(path: str, slices: str) -> None:
    first, last = map(int, slices.split(":"))
    volume = db.read_volume(Path(path)).slices(first, last)
    truth = truth_on_grid(volume, 256)
    for (name, angles), photons in itertools.product(ACQUISITIONS.items(), PHOTONS):
        scan = db.simulate(volume, angles, protocol="paper", photons=photons)
        for rho in RHOS:
            row = []
            for weight in WEIGHTS:
                result = db.reconstruct(scan, SBTV(weight=weight, rho=rho))
                row.append(db.evaluate(result, truth)["axial"]["psnr"])
            print(f"{name:12}{photons or 0:8g} photons  rho {rho:<6}", *(f"{p:7.2f}" for p in row))
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
