"""Whether values are Hounsfield units (air -1000, water 0), judged by the histogram.

The lowest value alone says little: padding, or a single voxel, may have any value.
"""

import logging
import math

import numpy as np

from diffusionblend.data.arrays import in_parts
from diffusionblend.data.grey_values import (
    AIR,
    ALL_AIR,
    FEW,
    LEAST,
    MANY,
    MOST,
    SLICES_LOOKED_AT,
    WATER,
    GreyValues,
    above,
)
from diffusionblend.data.units import HU_AIR
from diffusionblend.errors import CorruptInput, UnsupportedInput

log = logging.getLogger(__name__)

HU_LIMITS = (-65536.0, 65535.0)
"""What 16 bits hold; below, once more, for padding to which an intercept was added."""
AIR_TWICE = (-2300.0, -1200.0)
"""Where a rescale that was applied twice puts air."""
DENSE = 800.0
"""HU from which there is bone or metal."""
SWAP_BACK = (
    "their two bytes are in the other order: state the byte order in the header (`endian` of "
    "NRRD, `ElementByteOrderMSB` of MetaImage), or write the volume again"
)
BELOW_AIR, MOST_BELOW_AIR = -1500.0, 0.05
"""HU below which there is only noise or padding, and the share of voxels from which it is neither.

Noise of 200 HU in air, and streaks of metal, leave 0.6 percent there.
"""


def check_finite(hu: np.ndarray) -> None:
    """Raise CorruptInput if a volume holds NaN or infinity."""
    # Both come through minimum and maximum, which need no memory as a mask of the volume would.
    ends = [end for part in in_parts(hu) for end in (part.min(), part.max())]
    if not np.isfinite(ends).all():
        raise CorruptInput(
            "the volume holds NaN or infinity; expected finite HU; set padding to air, -1000, and "
            "repair the rest"
        )


def check_hu(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if values are not Hounsfield units of a scan with air."""
    _check_hu(name, GreyValues(hu))


def _check_hu(name: object, values: GreyValues) -> None:
    low, high = values.low, values.high
    outside = low < HU_LIMITS[0] or high > HU_LIMITS[1] or high - low < 50
    no_air = values.shares(-math.inf, AIR[1]).mean() < LEAST
    scale = (values.raised, values.lowered, values.tenfold, values.cut_off)
    faults = (*scale, values.wrapped, values.swapped)
    if outside or no_air or any(faults):
        raise _not_hu(name, values)


def check_scale(name: object, hu: np.ndarray) -> None:
    """Raise UnsupportedInput if a volume to simulate or to train on has a wrong scale.

    These cases are found, which a reconstruction may show and is read with all the same: signed
    grey values far below air that are not padding, a rescale that was applied twice, without water,
    slices with a scale of their own, and what lies outside of the scanned field as dense as a body.
    """
    values = GreyValues(hu)
    _check_hu(name, values)
    deep = values.shares(above(values.low), BELOW_AIR)
    padding = values.shares(-math.inf, AIR[0]).mean()
    if deep.mean() > MOST_BELOW_AIR or (padding > FEW and values.shares(*WATER).mean() < FEW):
        raise _not_hu(name, values)
    for index in np.flatnonzero(values.raised_slices | (deep > MANY))[:1]:
        raise _not_hu(f"{name}: slice {index}", GreyValues(hu[index : index + 1]))
    if fault := _in_corners(values):
        raise UnsupportedInput(f"{name}: {fault}")
    if values.noisy.mean() > MOST and values.shares(WATER[0], math.inf).mean() < FEW:
        log.warning(
            "%s: hardly any of its voxels are as dense as water (0 HU), and most are from %.0f "
            "to %.0f HU; if it is a body, its values are not in HU: give them in HU",
            name,
            *np.percentile(hu[:: max(1, len(hu) // SLICES_LOOKED_AT)], (10, 90)),
        )
    if values.clipped:
        share = 100 * float(np.mean(values.hu == values.high))
        log.warning(
            "%s: %.2g %% of its voxels have the highest value, %g HU: denser values were cut off "
            "there; give the volume as it was before that",
            name,
            share,
            values.high,
        )


def tell_of_scale(name: object, hu: np.ndarray) -> None:
    """Warn of a scale that `check_scale` refuses, of a volume that is compared or looked at.

    Only of what no reconstruction shows, not even one of noise: there a dense object may fill the
    corners.
    """
    values = GreyValues(hu)
    inverted = values.shares(*ALL_AIR).mean() < LEAST
    if not math.isnan(values.air_below):
        log.warning(
            "%s: what looks like air is at about %.0f HU; expected air at -1000 and water at 0; "
            "if the values were multiplied, or rescaled twice, undo that",
            name,
            values.air_below,
        )
    elif fault := _in_corners(values, dense_too=inverted):
        log.warning("%s: %s", name, fault)


def _in_corners(values: GreyValues, *, dense_too: bool = True) -> str:
    """Say what is wrong if slices continue outside what was scanned, where there is no noise.

    Programs that resample, or take the body out, fill with 0, which is water; padding may be the
    largest number there is. Empty if nothing is wrong.
    """
    corners = values.hu[:, [0, 0, -1, -1], [0, -1, -1, 0]]  # once around
    zero, dense = corners == 0, (corners >= DENSE).all(axis=1) & dense_too
    # At both ends of a side; a phantom may be of water up to there.
    water = (zero & np.roll(zero, 1, axis=1)).any(axis=1)
    water &= values.noisy_beside_zero if water.any() else False
    filled = water | dense
    if water.mean() <= MANY and dense.mean() <= MOST:
        return ""
    value = float(corners[filled].max())
    return (
        f"the corners of {filled.sum()} slices are {value:g} HU, as dense as a body; expected "
        "air; set what is outside the scanned field to -1000, and if the values are inverted, "
        "invert them back"
    )


def _not_hu(name: object, values: GreyValues) -> UnsupportedInput:
    return UnsupportedInput(
        f"{name}: values from {values.low:g} to {values.high:g} are not Hounsfield units (air "
        f"-1000, water 0); {_way_to_hu(values)}"
    )


def _way_to_hu(values: GreyValues) -> str:
    """Return what the values probably are, and what to do: the first that fits."""
    low, high, below = values.low, values.high, _way_from_below(values)
    ways = (
        (values.swapped, SWAP_BACK),
        (
            low == 0 and high <= 255 and values.labels,
            "they may be the labels of a mask; give the volume that it was drawn on",
        ),
        (
            low > -0.5 and high <= 5,
            "they may be attenuation, mu, in 1/mm or 1/cm: store 1000 (mu / mu_water - 1); "
            "mu_water is 0.0193 per mm at 70 keV",
        ),
        (
            low >= -5 and high <= 5,
            "they were scaled, as for a network; give the HU that they were made from",
        ),
        (
            values.wrapped or values.mostly_high,
            "negative numbers were read as unsigned: subtract 65536 from those, or, in DICOM, "
            "set PixelRepresentation to 1",
        ),
        (
            low >= 0 and high in (*range(1, 256), 65535),
            "they may be grey values: apply the rescale slope and intercept if there are any, or "
            "give the volume in HU",
        ),
        (low < HU_LIMITS[0], "the lowest value may be padding; set it to air, -1000"),
        (
            values.raised,
            "they may be HU + 1024: apply the rescale slope and intercept, and set padding to "
            "air, -1000",
        ),
        (values.tenfold, "they may be HU times ten: divide them by ten"),
        (values.tenth, "they may be HU divided by ten: multiply them by ten"),
        (
            values.cut_off,
            f"many have the lowest value, {low:g}: they were windowed; give the volume as it was "
            "before",
        ),
        (bool(below), below),
        (
            True,
            "apply the rescale slope and intercept first; scale grey values, as of micro-CT, so "
            "that air is -1000 and water 0",
        ),
    )
    return next(way for fits, way in ways if fits)


def _way_from_below(values: GreyValues) -> str:
    """Say why air is far below -1000 HU, and what to do; empty if it is not there."""
    if not math.isnan(values.air_below) and values.shares(*WATER).mean() > FEW:
        return (
            f"air is at about {values.air_below:.0f}: they may be HU times "
            f"{values.air_below / HU_AIR:.2g}: divide them by that"
        )
    if values.lowered or values.shares(*AIR_TWICE).mean() > MANY:
        return (
            "many are below air: they may have been rescaled twice; give them with air at -1000 "
            "and water at 0"
        )
    return ""
