"""Whether values are Hounsfield units: air -1000, water 0."""

import math

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput

HU_LIMITS = (-32768.0, 65535.0)
BELOW_AIR, MOST_BELOW_AIR = -1500.0, 0.05
"""HU below which there is noise or padding alone, and the share of voxels from which it is neither.

Noise of 200 HU in air, and streaks of metal, leave 0.6 percent there.
"""


def check_finite(hu: np.ndarray) -> None:
    """Raise CorruptInput if a volume holds NaN or infinity."""
    # Both come through minimum and maximum, which need no memory as a mask of the volume would.
    if not (math.isfinite(hu.min()) and math.isfinite(hu.max())):
        raise CorruptInput("the volume holds NaN or infinity; expected finite HU; repair it")


def check_hu(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if values are no Hounsfield units of a scan with air."""
    low, high = float(hu.min()), float(hu.max())
    if low < HU_LIMITS[0] or high > HU_LIMITS[1] or high - low < 50 or low > -200:
        raise _not_hu(name, low, high)


def check_air(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if many values are none that air has: grey values with a sign.

    Padding is one value, the lowest, and does not count. A reconstruction may have such values, and
    is read; what is to be scanned may not.
    """
    if float(((hu < BELOW_AIR) & (hu > hu.min())).mean()) > MOST_BELOW_AIR:
        raise _not_hu(name, float(hu.min()), float(hu.max()))


def _not_hu(name: object, low: float, high: float) -> UnsupportedInput:
    return UnsupportedInput(
        f"{name}: values from {low:g} to {high:g} are not Hounsfield units (air -1000, "
        f"water 0); {_way_to_hu(low, high)}"
    )


def _way_to_hu(low: float, high: float) -> str:
    if low >= 0 and high <= 5:
        return (
            "they may be attenuation in 1/mm, mu: store 1000 (mu / mu_water - 1), where water has "
            "0.0193 at 70 keV"
        )
    if low >= 0 and high in (*range(1, 256), 65535):
        return (
            "they may be grey values: apply the rescale slope and intercept if there are any, or "
            "give the volume in HU"
        )
    return (
        "apply the rescale slope and intercept first; grey values, as of micro-CT, are to be "
        "scaled so that air is -1000 and water 0"
    )
