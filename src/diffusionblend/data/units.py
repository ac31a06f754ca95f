"""Units: the only place where Hounsfield units, x and attenuation are converted.

On disk a volume is in Hounsfield units (HU). Inside, x = HU / 1000, so that air is -1 and water
0, and nothing is clipped: bone and contrast agent must survive data consistency. The linear
attenuation that a scanner sees is mu = mu_water (1 + x), in 1/mm.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from diffusionblend.errors import DiffusionBlendError, UsageError

if TYPE_CHECKING:
    import torch

MU_WATER = 0.0193
"""Attenuation of water in 1/mm at 70 keV, the mean energy of a 120 kV beam (NIST XCOM)."""

HU_AIR = -1000.0

MU_WATER_RANGE = (1e-9, 1e8)
"""What can be taken for the attenuation of water, in 1/mm, whoever says it.

Far more than X-rays need: line integrals may be in any unit, as of electron tomography in
nanometres. What lies outside is a slip, and its arithmetic would leave 32 bits.
"""
WATER_PER_MM = {
    5: 4.26,
    10: 0.533,
    20: 0.0810,
    30: 0.0376,
    40: 0.0268,
    60: 0.0206,
    80: 0.0184,
    100: 0.0171,
    150: 0.0151,
    300: 0.0119,
    1000: 0.00707,
    2000: 0.00494,
    10_000: 0.00222,
}
"""Attenuation of water in 1/mm at energies in keV (NIST XCOM)."""

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def x_from_hu(hu: Array) -> Array:
    """Convert HU to x (air -1, water 0)."""
    return hu / 1000.0


def hu_from_x(x: Array) -> Array:
    """Convert x (air -1, water 0) to HU."""
    return x * 1000.0


def mu_from_x(x: Array, mu_water: float = MU_WATER) -> Array:
    """Convert x to linear attenuation in the unit of `mu_water` (1/mm)."""
    return mu_water * (1.0 + x)


def check_mu_water(value: float, name: str, error: type[DiffusionBlendError] = UsageError) -> None:
    """Raise an error if a number cannot be the attenuation of water.

    Args:
        value: In 1/mm.
        name: What to call it, with `{:g}` for the number.
        error: What to raise.
    """
    low, high = MU_WATER_RANGE
    if not low <= value <= high:  # NaN is outside, too
        raise error(
            f"{name.format(value)}: expected {low:g} to {high:g} (1/mm; water has 0.0193 at "
            "70 keV); give all lengths in mm"
        )


def energy_of_water(mu_water: float) -> float | None:
    """Return the energy in keV at which water has this attenuation; None if there is none.

    Args:
        mu_water: In 1/mm.
    """
    energies, falling = np.array(list(WATER_PER_MM.items()), float).T
    if not falling[-1] <= mu_water <= falling[0]:
        return None
    return float(np.exp(np.interp(-np.log(mu_water), -np.log(falling), np.log(energies))))
