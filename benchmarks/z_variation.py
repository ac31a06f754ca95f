"""What binds slices: the prior of triples, or z total variation? On the validation volume.

`python benchmarks/z_variation.py VOLUME FIRST:LAST [VIEWS ...]`. Prints Markdown: DDS-2D (neither),
DiffusionBlend++ (triples), DDS (z total variation), and triples with DDS's z total variation.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import diffusionblend as db
from diffusionblend.methods import DDS, DDS2D, DiffusionBlendPlusPlus
from diffusionblend.metrics import total_variation_z
from diffusionblend.sampling.partition import draw_partition
from diffusionblend.simulation.simulate import truth_on_grid

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Both(DDS):
    """Partitions of ++, and DDS's z total variation in place of plain CG; slices by nines."""

    def partition(self, slices, k, generator):
        return draw_partition(slices, k, 2, generator)


def main(path: str, slices: str, *views: str) -> None:
    first, last = map(int, slices.split(":"))
    volume = db.read_volume(Path(path)).slices(first, last)
    truth = truth_on_grid(volume, 256)
    methods = {
        "++": DiffusionBlendPlusPlus(steps=50),
        "++ and z-TV": Both(steps=50),
        "DDS-2D": DDS2D(steps=50),
        "DDS": DDS(steps=50),
    }
    print("| views | method |", *(f"{p} PSNR | SSIM |" for p in PLANES), "z-TV, of the truth's |")
    print("|---|---|" + "---|---|" * len(PLANES) + "---|")
    for number in views or ("8",):
        scan = db.simulate(volume, db.sparse_view(int(number)), protocol="paper")
        for name, method in methods.items():
            found = db.reconstruct(scan, method)
            figures = db.evaluate(found, truth)
            cells = (f"{figures[p]['psnr']:.2f} | {figures[p]['ssim']:.3f} |" for p in PLANES)
            share = total_variation_z(found.hu) / total_variation_z(truth.hu)
            print(f"| {number} | {name} |", *cells, f"{share:.2f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
