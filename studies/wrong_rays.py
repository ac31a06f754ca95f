"""What rays that are wrong do to `diffusionblend-fast`, and what its Huber loss does about them.

`python studies/wrong_rays.py VOLUME FIRST:LAST`. Of the rays 0.3 % are dead, by half of them
dark and half bright. Prints Markdown for docs/speed.md.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

import diffusionblend as db
from diffusionblend.simulation.simulate import truth_on_grid

ACQUISITIONS = {
    "6 views, no noise": (db.sparse_view(6), None),
    "8 views, 1e4 photons": (db.sparse_view(8), 1e4),
    "20 views, no noise": (db.sparse_view(20), None),
    "20 views, 1e5 photons": (db.sparse_view(20), 1e5),
    "60 views, 1e5 photons": (db.sparse_view(60), 1e5),
    "90 degrees, 1e4 photons": (db.limited_angle(90), 1e4),
}
LOSSES = (0.0, 2.0, 3.0, 5.0)
SHARE = 0.003
VALUES = (0.0, 9.0)  # line integrals


def main() -> None:
    path, slices = sys.argv[1:]
    volume = db.read_volume(Path(path)).slices(*map(int, slices.split(":")))
    truth = truth_on_grid(volume, 256)
    print("| scan | rays | " + " | ".join(f"huber {loss:g}" for loss in LOSSES) + " |")
    print("|---" * (2 + len(LOSSES)) + "|")
    for name, (angles, photons) in ACQUISITIONS.items():
        scan = db.simulate(volume, angles, photons=photons)
        for rays, one in (("as measured", scan), ("0.3 % dead", with_dead_rays(scan))):
            made = (db.reconstruct(one, classical=False, huber=loss) for loss in LOSSES)
            figures = [db.evaluate(each, truth) for each in made]
            cells = [f"{f['axial']['psnr']:.2f} / {f['sagittal']['psnr']:.2f}" for f in figures]
            print(f"| {name} | {rays} | {' | '.join(cells)} |", flush=True)


def with_dead_rays(scan: db.Scan) -> db.Scan:
    """Return a scan some of whose rays are dark or bright."""
    rng = np.random.default_rng(1)
    dead = rng.random(scan.y.shape) < SHARE
    return dataclasses.replace(scan, y=np.where(dead, rng.choice(VALUES, dead.shape), scan.y))


if __name__ == "__main__":
    main()
