"""Objects that are no bodies: the default method with both shipped priors, and total variation.

`python studies/other_objects.py [--chips qim3d.whl] [--views 8 20 60]` simulates nine slices of
drawn objects (`materials.py`, seeds that no recipe draws) and of crops of the wheel of qim3d 1.5.3
that `recipes/general.toml` leaves out, by the paper's protocol, and prints axial PSNR as Markdown.
"""

import argparse
from pathlib import Path

import materials
import nibabel
import numpy as np

import diffusionblend as db
from diffusionblend.training.validation import middle_of

DRAWN = (9001, 9002, 9003, 9004, 9005, 9006)
CROPS = ("fly_150x256x256", "NT_128x128x128")
SLICES = 9
PRIORS = ("chest", "general")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chips", type=Path)
    parser.add_argument("--views", nargs="+", type=int, default=[8, 20, 60])
    asked = parser.parse_args()
    images = {f"drawn, {seed}": materials.volume(seed) for seed in DRAWN}
    images |= materials.chips(asked.chips, CROPS) if asked.chips else {}
    names = ("`tv`", *(f"`{prior}`" for prior in PRIORS))
    print("| object | views |", " | ".join(names), "|")
    print("|---" * (2 + len(names)) + "|")
    for name, image in images.items():
        truth = middle_of(volume_of(image), SLICES)
        for views in asked.views:
            scan = db.simulate(
                truth, db.sparse_view(views), size=truth.hu.shape[-1], protocol="paper", seed=0
            )
            made = [db.reconstruct(scan, "tv", classical=False)]
            made += [db.reconstruct(scan, prior=prior, classical=False) for prior in PRIORS]
            psnrs = [db.evaluate(one, truth)["axial"]["psnr"] for one in made]
            print(f"| {name} | {views} |", " | ".join(f"{p:.2f}" for p in psnrs), "|", flush=True)


def volume_of(image: nibabel.Nifti1Image) -> db.Volume:
    hu = np.ascontiguousarray(image.dataobj.T, dtype=np.float32)
    spacing = float(image.header.get_zooms()[0])
    return db.Volume(hu, db.Grid.from_spacing(hu.shape, (spacing,) * 3))


if __name__ == "__main__":
    main()
