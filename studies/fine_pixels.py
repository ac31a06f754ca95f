"""Slices of 512 x 512 with a prior that was trained on pixels twice as large.

`python studies/fine_pixels.py [VOLUME FIRST:LAST] [--views 8 20 60] [--photons 1e5]`. Compares
total variation with `diffusionblend-fast` on the fine pixels all the way, with a network that sees
crops of 256 x 256 at random offsets, and begun on larger pixels, which is the default. Without a
volume it is the demonstration scan. Prints Markdown for docs/geometries.md.
"""

import argparse
import time
from pathlib import Path

import torch

import diffusionblend as db
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.prior import Prior
from diffusionblend.simulation.simulate import truth_on_grid

SIZE, CROP = 512, 256


class InCrops:
    """A prior that sees crops. They tile the slices, at another random offset each time."""

    def __init__(self, prior: Prior) -> None:
        self.prior, self.generator = prior, torch.Generator().manual_seed(0)

    def denoise(
        self, x: torch.Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> torch.Tensor:
        """Denoise groups (groups, slices, 512, 512); what leaves at a side enters opposite."""
        offset = torch.randint(CROP, (2,), generator=self.generator).tolist()
        x = x.roll(offset, (-2, -1))
        found = torch.empty_like(x)
        for rows in range(0, SIZE, CROP):
            for columns in range(0, SIZE, CROP):
                crop = (..., slice(rows, rows + CROP), slice(columns, columns + CROP))
                found[crop] = self.prior.denoise(x[crop].contiguous(), sigma, gap, plane, scale)
        return found.roll([-o for o in offset], (-2, -1))


def main() -> None:
    options = parsed()
    volume = db.read_volume(options.volume).slices(*map(int, options.slices.split(":")))
    truth = truth_on_grid(volume, SIZE)
    prior = db.from_pretrained("chest")
    ways = {
        "`tv`": {"method": "tv"},
        "fine pixels all the way": {"prior": prior, "coarse": False},
        "the same, network in crops": {"prior": InCrops(prior), "coarse": False},
        "started on larger pixels (default)": {"prior": prior},
    }
    print("| views | way | axial / dB | sagittal / dB | CPU s |")
    print("|---" * 5 + "|")
    for views in options.views:
        scan = db.simulate(volume, db.sparse_view(views), size=SIZE, photons=options.photons)
        for way, given in ways.items():
            began = time.process_time()
            made = db.reconstruct(scan, classical=False, **given)
            seconds = time.process_time() - began
            figures = db.evaluate(made, truth)
            psnr = " | ".join(f"{figures[p]['psnr']:.2f}" for p in ("axial", "sagittal"))
            print(f"| {views} | {way} | {psnr} | {seconds:.0f} |", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("volume", nargs="?", type=Path, default=demonstration_volume())
    parser.add_argument("slices", nargs="?", default="62:71")
    parser.add_argument("--views", type=int, nargs="+", default=[8, 20, 60])
    parser.add_argument("--photons", type=float, default=1e5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
