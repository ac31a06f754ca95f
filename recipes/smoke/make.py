"""Make the volumes of the smoke test: ellipsoids of tissue in a body, in HU.

`python recipes/smoke/make.py` writes the files that lie beside it, voxel for voxel.
"""

from pathlib import Path

import nibabel
import numpy as np

SHAPE, SPACING_MM = (24, 64, 64), (3.0, 5.0, 5.0)
TISSUES_HU = (-850, -90, 50, 300, 1000)


def phantom(seed: int) -> np.ndarray:
    """Return HU (slices, rows, columns), int16."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"), axis=-1)
    hu = np.where((grid[..., 1:] ** 2 / (0.6, 0.8)).sum(axis=-1) < 0.9, 0, -1000)
    for _ in range(24):
        centre, radii = rng.uniform(-0.6, 0.6, 3), rng.uniform(0.08, 0.4, 3)
        inside = (((grid - centre) / radii) ** 2).sum(axis=-1) < 1
        hu[inside & (hu > -1000)] = rng.choice(TISSUES_HU)
    return hu.astype(np.int16)


if __name__ == "__main__":
    here = Path(__file__).parent
    for seed, name in enumerate(["train/one", "train/two", "validation/three"]):
        image = nibabel.Nifti1Image(phantom(seed).T, np.diag([*reversed(SPACING_MM), 1.0]))
        nibabel.save(image, here / f"{name}.nii.gz")
