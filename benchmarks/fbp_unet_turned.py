"""How fbp-unet bears turned views: `python benchmarks/fbp_unet_turned.py VOLUME FIRST:LAST`.

Every third slice of the volume. Prints the mean axial PSNR in dB of FBP and of the network.
"""

import sys
from pathlib import Path

import torch

import diffusionblend as db
from diffusionblend.data.units import HU_AIR, hu_from_x, x_from_hu
from diffusionblend.methods.fbp_unet import load_fbp_unet
from diffusionblend.metrics import RANGE_HU, psnr
from diffusionblend.training.supervised import filtered


def main(path: str, slices: str) -> None:
    first, last = map(int, slices.split(":"))
    hu = db.read_volume(Path(path)).hu[first:last:3].clip(HU_AIR)
    grid = db.Grid.from_spacing((1, *hu.shape[1:]))
    clean, network = torch.from_numpy(x_from_hu(hu)), load_fbp_unet("fbp-unet")
    print("| acquisition | begins at / degrees | FBP | fbp-unet |\n|---|---|---|---|")
    for code, a in enumerate(network.config.acquisitions):
        for start in (0, a.arc_deg / a.views / 2 if a.arc_deg == 180 else 5, 45, 90):
            turned = tuple(angle + start for angle in a.angles_deg)
            fbp = filtered(clean, db.projector(grid, db.parallel_beam(grid, turned)))
            with torch.inference_mode():
                found = network.correct(fbp, code)
            cells = (f"{_psnr(x, hu):.2f}" for x in (fbp, found))
            print(f"| {a} | {start:g} |", " | ".join(cells), "|", flush=True)


def _psnr(x: torch.Tensor, hu) -> float:
    found = hu_from_x(x).double().numpy().clip(*RANGE_HU)
    return float(psnr(found, hu.astype(float).clip(*RANGE_HU)).mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
