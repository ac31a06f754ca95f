"""Where `diffusionblend benchmark htc` loses: geometry, hardening, pixels, threshold, or the prior.

`python studies/htc_diagnose.py FOLDER PRIOR [-o out/htc]` projects the challenge's segmentations by
strips and compares with what was measured. It prints for each scan: the residual, in line
integrals, once a free curve of their lengths is fitted, with the geometry as it is said to be and
with others; how far lengths by the scan's own curve are from the true ones; and for the slices that
the benchmark has kept the best threshold beside Otsu's. Then it simulates scans of the true
pictures. It sees the truth, and nothing that it finds goes into a reconstruction.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import htc_discs
import htc_tune
import msgspec
import numpy as np
from scipy.ndimage import shift

import diffusionblend as db
from diffusionblend.experiments.htc.acrylic import distances, find_curve, find_place, straightened
from diffusionblend.experiments.htc.discs import Disc, find_discs
from diffusionblend.experiments.htc.run import DISC_SAMPLES, DISC_STEPS, Way, make
from diffusionblend.experiments.htc.score import matthews, segmented
from diffusionblend.geometry import Beam, Grid
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.simulation.strip import strip_project

VIEWS = 12
AT_MM = np.array([15.0, 25, 35, 45, 55, 65])


def lengths(picture: np.ndarray, beam: Beam, larger: float = 1.0) -> np.ndarray:
    """Return lengths of acrylic in mm (views, bins), on pixels that are so many times larger."""
    side = larger * htc_discs.FIELD_MM / len(picture)
    grid = Grid.from_spacing((1, *picture.shape), (1.0, side, side))
    return strip_project(picture[None].astype(np.float32), grid, beam)[0].astype(float)


def free_curve(length: np.ndarray, y: np.ndarray) -> np.polynomial.Polynomial:
    """Fit line integrals as a polynomial of the lengths without a constant."""
    seen = length > 0.3
    powers = length[seen][:, None] ** np.arange(1, 6) / 70.0 ** np.arange(1, 6)
    parts = np.linalg.lstsq(powers, y[seen], rcond=None)[0]
    return np.polynomial.Polynomial([0.0, *(parts / 70.0 ** np.arange(1, 6))])


def residual(length: np.ndarray, y: np.ndarray) -> float:
    off = y - free_curve(length, y)(length)
    return float(np.sqrt(np.mean(off[length > 0.3] ** 2)))


def geometries(truth: np.ndarray, beam: Beam) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the lengths of a true picture, as the geometry is said to be and in others."""
    yield "as it is said", lengths(truth, beam)
    for off in (-0.1, -0.05, 0.05, 0.1):
        moved = msgspec.structs.replace(beam, offset_mm=beam.offset_mm + off)
        yield f"offset {off} mm", lengths(truth, moved)
    for turn in (-0.5, -0.25, 0.25, 0.5):
        angles = tuple(a + turn for a in beam.angles_deg)
        yield f"turned {turn}", lengths(truth, msgspec.structs.replace(beam, angles_deg=angles))
    for larger in (0.995, 0.998, 1.002, 1.005):
        yield f"pixels x {larger}", lengths(truth, beam, larger)
    for place in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        yield f"moved {place} pixels", lengths(shift(truth, place, order=1), beam)


def show_data(disc: Disc) -> None:
    """Print what the true picture leaves of the line integrals, and the error of the curve."""
    y, beam = disc.scan.y[0].astype(float), disc.scan.geometry.beam
    views = range(0, len(y), math.ceil(len(y) / VIEWS))
    true = disc.truth.astype(float)
    for number, (label, length) in enumerate(geometries(true, beam.views(views))):
        print(f"  {label:20} {residual(length, y[views]):.4f}", flush=True)
        if number == 0:
            curve = find_curve(y, distances(beam, find_place(y, beam)))
            off = curve.length(free_curve(length, y[views])(AT_MM)) - AT_MM
            print(f"  lengths of {AT_MM} mm are off by {off.round(1)}: {curve}")


def show_threshold(disc: Disc, way: Way, folder: Path) -> None:
    """Print the score by Otsu's threshold and by the best."""
    made = make(disc, way, folder)
    best = max(
        (matthews(segmented(made.hu, disc.truth.shape, level), disc.truth), level)
        for level in range(-800, -150, 50)
    )
    print(f"  {way.label:8} {made.score:.4f}, best threshold {best[0]:.4f} at {best[1]} HU")


def show_simulated(disc: Disc, degrees: int, prior: Prior) -> None:
    """Print scores of a simulated scan of the true picture."""
    truth, measured, _ = htc_tune.simulated(3, degrees, disc.truth.astype(np.float32))
    scan = straightened(measured)
    for way in (Way("tv"), Way("discs", prior, DISC_STEPS)):
        found = db.reconstruct(scan, way.method(scan), prior=way.prior, classical=False)
        score = matthews(segmented(found.volume.hu[0], truth.shape), truth)
        print(f"  {way.label:8} {score:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("prior")
    parser.add_argument("-o", type=Path, default=Path("out/htc"))
    parser.add_argument("--parts", nargs="+", default=["data", "threshold", "simulated"])
    parser.add_argument("--degrees", type=int, nargs="+", default=[30, 60, 90])
    asked = parser.parse_args()
    prior = from_pretrained(asked.prior)
    for disc in find_discs(asked.folder, asked.degrees):
        print(f"{disc.name}, {disc.degrees} degrees of {disc.file}")
        if "data" in asked.parts:
            show_data(disc)
        if "threshold" in asked.parts:
            show_threshold(disc, Way("tv"), asked.o)
            show_threshold(disc, Way("discs", prior, DISC_STEPS, DISC_SAMPLES), asked.o)
        if "simulated" in asked.parts:
            show_simulated(disc, disc.degrees, prior)


if __name__ == "__main__":
    main()
