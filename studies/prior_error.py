"""How wrong the prior's estimate is where its neighbourhood is flat, and beside edges.

`python studies/prior_error.py VOLUME FIRST:LAST`: the RMS error of denoised slices in HU, inside
the body, by the standard deviation of 5 x 5 pixels of the estimate, for several levels of noise.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import uniform_filter

import diffusionblend as db
from diffusionblend.data.units import x_from_hu
from diffusionblend.io.stacks import WHOLE
from diffusionblend.prior.facing import FrontFirst, begins_at_back
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import adjacent

SIGMAS = (0.03, 0.05, 0.1, 0.2, 0.4, 1.0)
DEVIATIONS_HU = (0, 10, 20, 40, 80, 160, np.inf)
WINDOW = 5
HIGHEST = 2.0
"""What the volume is cut off at, in x."""
AIR = -0.9
"""The body is where nothing near is thinner than this, in x."""
LEAST = 50
"""Pixels, of which there is a mean."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("slices", help="FIRST:LAST")
    parser.add_argument("--prior", default="chest")
    options = parser.parse_args()
    first, last = map(int, options.slices.split(":"))
    volume = db.truth_on_grid(db.read_volume(options.volume).slices(first, last), 256)
    prior = db.from_pretrained(options.prior)
    prior = FrontFirst(prior) if begins_at_back(volume.grid) else prior
    x = x_from_hu(torch.from_numpy(np.asarray(volume.hu))).clamp(max=HIGHEST)
    names = (f"{low:g} to {high:g}" for low, high in pairwise(DEVIATIONS_HU))
    print("| sigma | all |", *(f"{name} |" for name in names))
    print("|---" * (1 + len(DEVIATIONS_HU)) + "|")
    for sigma in SIGMAS:
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        S = adjacent(len(x), 0)
        x0 = blend(lambda g, s=sigma: prior.denoise(g, s, 1), x + sigma * noise, S, 8, WHOLE)
        print(f"| {sigma} |", *(f"{error:.0f} |" for error in errors(x0.numpy(), x.numpy())))


def errors(x0: np.ndarray, x: np.ndarray) -> list[float]:
    """Return RMS errors in HU: of the body, and by how much its neighbourhood differs."""

    def around(values: np.ndarray, pixels: int = WINDOW) -> np.ndarray:
        return uniform_filter(values.astype(float), (0, pixels, pixels))

    deviation = 1000 * np.sqrt(np.maximum(around(x0**2) - around(x0) ** 2, 0))
    body = around(x > AIR, 9) > 1 - 1e-6
    bounds = pairwise(DEVIATIONS_HU)
    parts = [body & (deviation >= low) & (deviation < high) for low, high in bounds]
    squared = (1000 * (x0 - x)) ** 2
    return [rms(squared[part]) for part in (body, *parts)]


def rms(squared: np.ndarray) -> float:
    return float(np.sqrt(squared.mean())) if squared.size >= LEAST else float("nan")


if __name__ == "__main__":
    main()
