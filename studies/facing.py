"""A body whose rows begin at the back: seen by the prior as it is stored, and with its front first.

`python studies/facing.py VOLUME --slices 121 130 --views 8 20` prints a table of axial PSNR in dB:
the volume with its front first, and its mirror image, once as the methods show it to the prior and
once upside down. `--arc 90` adds rows of that arc in steps of a degree.
"""

import argparse
from pathlib import Path
from unittest import mock

import numpy as np

import diffusionblend as db
from diffusionblend.metrics import RANGE_HU, psnr
from diffusionblend.prior.facing import front_first

FACING = "diffusionblend.methods.problem.begins_at_back"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--slices", nargs=2, type=int, default=[121, 130])
    parser.add_argument("--views", nargs="*", type=int, default=[8, 20])
    parser.add_argument("--arc", nargs="+", type=int, default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    asked = parser.parse_args()
    whole = front_first(db.read_volume(asked.volume))
    front = whole.slices(*asked.slices)
    back = db.Volume(np.ascontiguousarray(front.hu[:, ::-1]), front.grid.reversed((1,)))
    ways = "front first | back first, shown front first | back first, as stored"
    print(f"| acquisition | seed | {ways} |")
    print("|---" * 5 + "|")
    rows = [(f"{n} views", db.sparse_view(n)) for n in asked.views]
    rows += [(f"{n} degrees", db.limited_angle(n)) for n in asked.arc]
    for name, angles in rows:
        for seed in asked.seeds:
            found = [decibels(front, angles, seed), decibels(back, angles, seed)]
            with mock.patch(FACING, return_value=False):
                found.append(decibels(back, angles, seed))
            print(f"| {name} | {seed} | {' | '.join(f'{x:.2f}' for x in found)} |", flush=True)


def decibels(volume: db.Volume, angles: tuple[float, ...], seed: int) -> float:
    scan = db.simulate(volume, angles, size=volume.hu.shape[2], protocol="paper")
    made = db.reconstruct(scan, seed=seed, classical=False).volume
    return float(psnr(made.hu.clip(*RANGE_HU), volume.hu.clip(*RANGE_HU)).mean())


if __name__ == "__main__":
    main()
