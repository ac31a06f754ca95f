"""The slices that costly figures are computed on, where each is projected by itself."""

import math

import torch
from torch import Tensor

from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.geometry import Geometry

MOST, LEAST = 12, 3
"""How many slices: figures hardly differ from one to the next, and 12 take a fraction of the time
of 500."""
CROSSINGS = MOST * 60 * 512**2
"""Pixels times views of all of them, beyond which there are fewer: of 2048 x 2048 pixels and 180
views the record took ten times as long as filtered back-projection."""


def subset_size(geometry: Geometry, slices: int) -> int:
    """Return how many slices of a stack are used."""
    each = math.prod(geometry.grid.shape[1:]) * len(geometry.beam.angles_deg)
    return min(slices, MOST, max(LEAST, CROSSINGS // each))


def subset_indices(geometry: Geometry, slices: int) -> Tensor:
    """Return their indices, evenly spaced; a few leave out the ends, which may be empty."""
    count = subset_size(geometry, slices)
    inside = count < min(slices, MOST)
    even = evenly_spaced(slices, count + 2)[1:-1] if inside else evenly_spaced(slices, count)
    return torch.from_numpy(even)
