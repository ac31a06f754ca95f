"""Whether values are Hounsfield units (air -1000, water 0), judged by the histogram.

The lowest value alone says little: padding, or a single voxel, may have any value.
"""

import math

import numpy as np

from diffusionblend.data.arrays import in_parts
from diffusionblend.errors import CorruptInput, UnsupportedInput

HU_LIMITS = (-32768.0, 65535.0)
AIR, WATER = (-1200.0, -200.0), (-200.0, 300.0)
"""HU of air and lung, and of water and soft tissue, with the noise of both."""
DENSE = 800.0
"""HU from which there is bone or metal; muscle is there in values of HU + 1024."""
LEAST, FEW, MANY = 0.001, 0.005, 0.1
"""Shares of voxels that count as none, as few at most, and as many."""
WINDOWED = 0.01
"""Share of voxels at the lowest value from which a window has cut values off there."""
SINGLE = 10
"""Voxels: so few of one value may be so by chance, in a volume of some hundred."""
CUT_OFF = -850.0
"""HU above which a lowest value of many voxels is no air, and no lung either."""
BELOW_AIR, MOST_BELOW_AIR = -1500.0, 0.05
"""HU below which there is noise or padding alone, and the share of voxels from which it is neither.

Noise of 200 HU in air, and streaks of metal, leave 0.6 percent there.
"""


def check_finite(hu: np.ndarray) -> None:
    """Raise CorruptInput if a volume holds NaN or infinity."""
    # Both come through minimum and maximum, which need no memory as a mask of the volume would.
    ends = [end for part in in_parts(hu) for end in (part.min(), part.max())]
    if not np.isfinite(ends).all():
        raise CorruptInput("the volume holds NaN or infinity; expected finite HU; repair it")


def check_hu(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if values are not Hounsfield units of a scan with air."""
    low, high = float(hu.min()), float(hu.max())
    outside = low < HU_LIMITS[0] or high > HU_LIMITS[1] or high - low < 50
    no_air = _share(hu, -math.inf, AIR[1]) < LEAST
    if outside or no_air or _is_shifted(hu) or _is_cut_off(hu, low):
        raise _not_hu(name, hu)


def check_scale(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if a volume to simulate or to train on has a wrong scale.

    Two cases are found, which a reconstruction may show and is read with all the same: signed grey
    values far below air that are not padding, and a rescale that was applied twice, without water.
    """
    check_hu(name, hu)
    low = float(hu.min())
    deep = _share(hu, np.nextafter(low, math.inf, dtype=np.float32), BELOW_AIR)
    padding = _share(hu, -math.inf, AIR[0])
    if deep > MOST_BELOW_AIR or (padding > FEW and _share(hu, *WATER) < FEW):
        raise _not_hu(name, hu)


def _is_shifted(hu: np.ndarray) -> bool:
    """Return whether air and muscle are where HU + 1024 has them, above whatever padding."""
    measured = _share(hu, AIR[0], math.inf)
    none = _share(hu, *AIR) < LEAST * measured
    return none and _share(hu, DENSE, math.inf) > MANY * measured


def _is_cut_off(hu: np.ndarray, low: float) -> bool:
    """Return whether a window has cut values off above air: what was air is at the lowest one."""
    return CUT_OFF < low < 0 and bool((hu == low).sum() > max(WINDOWED * hu.size, SINGLE))


def _share(hu: np.ndarray, low: float, high: float) -> float:
    """Return the share of voxels in [low, high), slice by slice, to take no memory."""
    return sum(np.count_nonzero((part >= low) & (part < high)) for part in hu) / hu.size


def _not_hu(name: object, hu: np.ndarray) -> UnsupportedInput:
    low, high = float(hu.min()), float(hu.max())
    return UnsupportedInput(
        f"{name}: values from {low:g} to {high:g} are not Hounsfield units (air -1000, "
        f"water 0); {_way_to_hu(hu, low, high)}"
    )


def _way_to_hu(hu: np.ndarray, low: float, high: float) -> str:
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
    if _is_cut_off(hu, low):
        return (
            f"they were windowed, for many are the lowest, {low:g}; give the volume as it was "
            "before"
        )
    if low < AIR[0] and np.mean(hu == low) > WINDOWED:
        return (
            "without the padding at the lowest value they may be HU + 1024, or rescaled twice; "
            "give them with air at -1000 and water at 0"
        )
    return (
        "apply the rescale slope and intercept first; grey values, as of micro-CT, are to be "
        "scaled so that air is -1000 and water 0"
    )
