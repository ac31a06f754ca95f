"""Measured scans: all views by total variation and by filtered back-projection are the references.

`python studies/real_scans.py SCAN PICTURE.png bin_mm=0.01 size=384 --views 8 20 60`, SCAN and the
options being whatever `import` takes, as TOML. Prints Markdown for docs/real-scans.md, the default
method with each of `--priors`. The attenuation of water is estimated from 20 views, and is taken
for all: its scale is arbitrary.
"""

import argparse
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import diffusionblend as db
from diffusionblend.calibration.water import calibrated
from diffusionblend.metrics import RANGE_HU, psnr

CLASSICAL, DEFAULT = ("fbp", "tv"), "diffusionblend-fast"
REFERENCES = ("tv", "fbp")
SHOWN = (-1000.0, 1200.0)


def main() -> None:
    asked = parsed()
    options = tomllib.loads("\n".join(asked.options))
    mu_water = calibrated(db.import_scan(asked.scan, **options, views=asked.calibrate))[0].mu_water
    every = db.import_scan(asked.scan, **options)
    references = [of(every, name, mu_water).volume.hu for name in REFERENCES]
    against = " | ".join(f"against `{name}` / dB" for name in REFERENCES)
    print(f"| views | method | {against} | residual | warnings |")
    print("|---" * 6 + "|")
    methods: list[tuple[str, str | None]] = [(name, None) for name in CLASSICAL]
    methods += [(DEFAULT, prior) for prior in asked.priors]
    named = zip(REFERENCES, references, strict=True)
    rows = [[picture(f"{name}, all views", hu[0]) for name, hu in named]]
    for views in asked.views:
        few, drawn = db.import_scan(asked.scan, **options, views=views), []
        for method, prior in methods:
            found = of(few, method, mu_water, prior)
            label = f"`{method}`" + (f", `{prior}`" if prior else "")
            hu, residual = found.volume.hu, found.quality.residual
            left = residual.normalised if few.noise.photons else residual.relative
            psnrs = (psnr(hu.clip(*RANGE_HU), one.clip(*RANGE_HU)).mean() for one in references)
            figures = " | ".join(f"{decibels:.2f}" for decibels in psnrs)
            warned = ", ".join(warning.code for warning in found.quality.warnings)
            print(f"| {views} | {label} | {figures} | {left:.2g} | {warned} |", flush=True)
            drawn.append(picture(f"{prior or method}, {views} views", hu[0]))
        rows.append(drawn)
    rows[0] += [np.zeros_like(rows[0][0])] * (len(methods) - len(rows[0]))
    Image.fromarray(np.vstack([np.hstack(row) for row in rows])).save(asked.picture)


def of(scan: db.Scan, method: str, mu_water: float, prior: str | None = None) -> db.Reconstruction:
    known = {} if prior is None else {"prior": prior}
    return db.reconstruct(scan, method, **known, mu_water=mu_water, classical=False)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--priors", nargs="+", default=["chest", "general"])
    parser.add_argument("--views", nargs="+", type=int, default=[8, 20, 60])
    parser.add_argument("--calibrate", type=int, default=20, help="from so many views")
    return parser.parse_args()


def picture(title: str, hu: np.ndarray) -> np.ndarray:
    low, high = SHOWN
    image = Image.fromarray((255 * ((hu - low) / (high - low)).clip(0, 1)).astype(np.uint8))
    ImageDraw.Draw(image).text((6, 4), title, fill=255)
    return np.asarray(image)


if __name__ == "__main__":
    main()
