"""Geometries of every kind, and noise to project."""

import torch

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import limited_angle, parallel_beam, sparse_view
from support.phantoms import beams, changed, placed

SQUARE = Grid.from_spacing((5, 32, 32), (2.5, 1.4, 1.4))


GEOMETRIES = {
    "8 views": placed(parallel_beam, SQUARE, sparse_view(8)),
    "one view": placed(parallel_beam, SQUARE, (33.0,)),
    "90 degrees": placed(parallel_beam, SQUARE, limited_angle(90)),
    "angles beyond a turn": placed(parallel_beam, SQUARE, (-400.0, 45.0, 90.0, 1000.0)),
    "wide slices": placed(parallel_beam, Grid.from_spacing((2, 20, 34)), sparse_view(7)),
    "few wide bins": changed(placed(parallel_beam, SQUARE, sparse_view(5)), bins=9, bin_mm=5.0),
    "many narrow bins": changed(
        placed(parallel_beam, SQUARE, sparse_view(5)), bins=150, bin_mm=0.3
    ),
} | {n: b for n, b in beams(Grid.from_spacing((3, 24, 34), (2, 1.4, 1.4))).items() if "fan" in n}


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def noise(shape, dtype=torch.float64, seed=0):
    """Zero-mean noise: positive vectors would hide a mismatch."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
