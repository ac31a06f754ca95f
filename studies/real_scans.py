"""A measured scan: all views by total variation as the reference, 20 of them as the test.

`python studies/real_scans.py SCAN PICTURE.png [--bin-mm 0.01] [--size 384] [--stripes median]`,
SCAN being whatever `import` takes. Prints Markdown for docs/real-scans.md. The attenuation of water
is estimated from the 20 views, and is taken for all of them, too: its scale is arbitrary.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import diffusionblend as db
from diffusionblend.calibration.water import calibrated
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.metrics import RANGE_HU, psnr

VIEWS = 20
METHODS = ("fbp", "tv", "diffusionblend++", "diffusionblend-fast")
REFERENCES = ("tv", "fbp")
SHOWN = (-1000.0, 1200.0)


def main() -> None:
    asked = parsed()
    options = Options(bin_mm=asked.bin_mm, size=asked.size, stripes=asked.stripes)
    few, _ = calibrated(import_scan(asked.scan, replace(options, views=VIEWS)))
    every, _ = calibrated(import_scan(asked.scan, options), few.mu_water)
    views = len(every.geometry.beam.angles_deg)
    references = {name: db.reconstruct(every, name).hu for name in REFERENCES}
    pictures = {f"{name}, {views} views": hu for name, hu in references.items()}
    against = (f"against `{name}` of {views} views / dB" for name in REFERENCES)
    print(f"| {VIEWS} views | {' | '.join(against)} | residual | s |")
    print("|---" * 5 + "|")
    for method in METHODS:
        steps = {"steps": 50} if method.endswith("++") else {}
        found = db.reconstruct(few, method, classical=False, **steps)
        seconds, hu, residual = found.seconds, found.volume.hu, found.quality.residual
        left = residual.normalised if few.noise.photons else residual.relative
        pictures[f"{method}, {VIEWS} views"] = hu
        figures = " | ".join(
            f"{psnr(hu.clip(*RANGE_HU), one.clip(*RANGE_HU)).mean():.2f}"
            for one in references.values()
        )
        print(f"| `{method}` | {figures} | {left:.2g} | {seconds:.1f} |", flush=True)
    drawn = [picture(title, hu[0]) for title, hu in pictures.items()]
    half = len(drawn) // 2
    rows = [np.hstack(drawn[:half]), np.hstack(drawn[half:])]
    Image.fromarray(np.vstack(rows)).save(asked.picture)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("scan", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--bin-mm", type=float)
    parser.add_argument("--size", type=int)
    parser.add_argument("--stripes", default="none")
    return parser.parse_args()


def picture(title: str, hu: np.ndarray) -> np.ndarray:
    low, high = SHOWN
    image = Image.fromarray((255 * ((hu - low) / (high - low)).clip(0, 1)).astype(np.uint8))
    ImageDraw.Draw(image).text((6, 4), title, fill=255)
    return np.asarray(image)


if __name__ == "__main__":
    main()
