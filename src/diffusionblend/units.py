"""Units: the only place where Hounsfield units, x and attenuation are converted.

On disk a volume is in Hounsfield units (HU). Inside, x = HU / 1000, so that air is -1 and water
0, and nothing is clipped: bone and contrast agent must survive data consistency. The linear
attenuation that a scanner sees is mu = mu_water (1 + x), in 1/mm.
"""

from typing import TypeVar

import numpy as np
import torch

MU_WATER = 0.0193
"""Attenuation of water in 1/mm at 70 keV, the mean energy of a 120 kV beam (NIST XCOM)."""

HU_AIR = -1000.0

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def x_from_hu(hu: Array) -> Array:
    """Convert HU to x (air -1, water 0)."""
    return hu / 1000.0


def hu_from_x(x: Array) -> Array:
    """Convert x (air -1, water 0) to HU."""
    return x * 1000.0


def mu_from_x(x: Array, mu_water: float = MU_WATER) -> Array:
    """Convert x to linear attenuation in the unit of `mu_water` (1/mm)."""
    return mu_water * (1.0 + x)


def x_from_mu(mu: Array, mu_water: float = MU_WATER) -> Array:
    """Convert linear attenuation in the unit of `mu_water` (1/mm) to x."""
    return mu / mu_water - 1.0
