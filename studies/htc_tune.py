"""Tune what `diffusionblend benchmark htc` fixes, on discs that are drawn: none of the challenge's.

`python studies/htc_tune.py PRIOR [--discs 4] [--degrees 30 90]` simulates the challenge's fan: the
disc in 512 x 512 pixels by strips, a spectrum of 45 kV behind molybdenum and aluminium (its filter
and lines differ from disc to disc), up to 12 percent of scattered rays, noise of 30,000 to
100,000 photons per bin, and an axis that is off by 0.05 mm. It prints a score for each disc and
setting.
"""

import argparse
import itertools
import math
from collections.abc import Iterator

import htc_discs
import msgspec
import numpy as np
import torch

import diffusionblend as db
from diffusionblend.data.scan import Scan
from diffusionblend.experiments.htc.acrylic import straightened
from diffusionblend.experiments.htc.run import TV_ITERATIONS
from diffusionblend.experiments.htc.score import matthews, segmented
from diffusionblend.geometry import FanBeam, Geometry, Grid
from diffusionblend.io.projections.counts import noise
from diffusionblend.methods import Method
from diffusionblend.methods.diffusion_blend_fast import DiffusionBlendFast
from diffusionblend.methods.tv import TV, tuned_weight
from diffusionblend.reconstruction.task import make_problem
from diffusionblend.simulation.strip import strip_project

KEV = np.arange(8, 45.01, 0.5)
ACRYLIC = {8: 0.772, 10: 0.3995, 15: 0.1310, 20: 0.0680, 30: 0.0361, 40: 0.0280, 50: 0.0247}
ALUMINIUM = {8: 13.58, 10: 7.079, 15: 2.147, 20: 0.9287, 30: 0.3044, 40: 0.1534, 50: 0.0993}
"""Attenuation in 1/mm at energies in keV (NIST)."""
LINES_KEV = {17.5: 1.0, 19.6: 0.25}


def attenuation(table: dict[int, float]) -> np.ndarray:
    return np.exp(np.interp(np.log(KEV), np.log(list(table)), np.log(list(table.values()))))


def spectrum(filter_mm: float, lines: float) -> np.ndarray:
    """Return the share of the signal at each energy, of a detector that integrates energy."""
    shares = (45 - KEV).clip(0)
    for keV, size in LINES_KEV.items():
        shares = shares + 17.5 * lines * size * np.exp(-(((KEV - keV) / 0.4) ** 2))
    shares = shares * np.exp(-attenuation(ALUMINIUM) * filter_mm)
    return shares / shares.sum()


def simulated(
    seed: int, degrees: int, share: np.ndarray | None = None
) -> tuple[np.ndarray, Scan, np.ndarray]:
    """Return a truth (512, 512), its scan on 256 x 256 pixels, and the lengths of acrylic.

    Args:
        seed: Of the disc, its spectrum, scatter and noise.
        degrees: The arc.
        share: Acrylic in each pixel (512, 512), if it is not to be drawn.
    """
    rng = np.random.default_rng((77, seed))
    share = htc_discs.disc(rng, 512) if share is None else share
    angles = rng.integers(0, 360) + np.arange(0, degrees + 0.1, 0.5)
    beam = FanBeam(
        angles_deg=tuple(angles.tolist()), bins=560, bin_mm=0.2, sod_mm=410.66, sdd_mm=553.74
    )
    off = msgspec.structs.replace(beam, offset_mm=rng.normal(0, 0.05))
    length = strip_project(share[None], grid(512), off).astype(float)
    parts = spectrum(rng.uniform(0.5, 4.0), rng.uniform(0.3, 3))
    passed = (parts * np.exp(-attenuation(ACRYLIC) * length[..., None])).sum(axis=-1)
    photons, scattered = rng.uniform(3e4, 1e5), rng.uniform(0, 0.12)
    passed = (1 - scattered) * passed + scattered
    y = -np.log(rng.poisson(photons * passed).clip(1) / photons).astype(np.float32)
    scan = Scan(y, Geometry(grid(256), beam), noise.from_lines(y), mu_water=None)
    return share > 0.5, scan, length[0]


def grid(pixels: int) -> Grid:
    side = htc_discs.FIELD_MM / pixels
    return Grid.from_spacing((1, pixels, pixels), (1.0, side, side))


def settings(scan: Scan, asked: argparse.Namespace) -> Iterator[tuple[str, Method]]:
    variance = make_problem(scan, None, torch.device("cpu")).ray_variance()
    usual = tuned_weight(scan.geometry, variance)
    for weight in asked.weights:
        method = TV(weight=weight * usual, most=1.0, iterations=TV_ITERATIONS)
        yield f"tv, {weight:g} of {usual:.3g}", method
    for steps, sigma, error in itertools.product(asked.steps, asked.sigmas, asked.errors):
        label = f"prior, {steps} steps from {sigma:g}, error {error:g}"
        yield label, DiffusionBlendFast(steps=steps, sigma_max=sigma, error=error)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prior")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--degrees", type=int, nargs="+", default=[30, 90])
    parser.add_argument("--steps", type=int, nargs="*", default=[35, 70])
    parser.add_argument("--sigmas", type=float, nargs="*", default=[2.0])
    parser.add_argument("--errors", type=float, nargs="*", default=[0.25])
    parser.add_argument("--weights", type=float, nargs="*", default=[0.3, 1.0, 3.0])
    parser.add_argument("--samples", type=int, default=1)
    asked = parser.parse_args()
    for degrees in asked.degrees:
        for seed in asked.seeds:
            truth, measured, length = simulated(seed, degrees)
            scan = straightened(measured)
            joined = length[:: math.ceil(len(length) / 100)].reshape(-1, 280, 2).mean(axis=2)
            off = (scan.y[0] / scan.mu_water - joined)[joined > 40]
            print(f"{degrees} degrees, {seed}: {truth.mean():.3f}, off {np.median(off):.2f} mm")
            for label, method in settings(scan, asked):
                samples = asked.samples if method.random else 1
                found = db.reconstruct(
                    scan, method, prior=asked.prior, samples=samples, classical=False
                )
                score = matthews(segmented(found.volume.hu[0], truth.shape), truth)
                print(f"  {label:42} {score:.4f} {found.seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
