"""Estimate the attenuation of water in a scan, if it is not known.

A measured scan gives attenuation in 1/mm; a prior needs it relative to water. The factor is one
number, mu_water. It is estimated from a quick classical reconstruction: the histogram of ln(mu),
each voxel weighted by its mu, is matched with that of human tissue. A wrong scale shifts it along
ln(mu) without changing its shape; air has no weight. The scale is where the two overlap most
(Bhattacharyya coefficient). A single peak is not enough: in half of the training scans there is
more fat (-100 HU) than muscle (+50 HU), and confusing the two is an error of 17 percent.

An object that cannot be a human body (`body`: a tooth, a casting) is scaled so that its main
material becomes water, in the range of a prior of tissue; its values are then not HU.
"""

import dataclasses
import math
from typing import Literal

import msgspec
import numpy as np
from torch import Tensor

from diffusionblend.calibration.body import CLEAR, Doubt, doubts
from diffusionblend.calibration.coarse import Coarse, coarse_scan
from diffusionblend.calibration.tissue import Match, match_tissue
from diffusionblend.data.scan import Scan
from diffusionblend.data.units import check_mu_water, energy_of_water
from diffusionblend.errors import UsageError
from diffusionblend.io.stacks import WHOLE, Slabs, Stack, of_slices, total

SCALE_RANGE = (1e-6, 1e6)
"""Factors on the attenuation; one outside is a mistake."""
MEASURED = (
    "on known scans of bodies with 20 views or more, the error was 3 percent RMS and at most 9"
)
"""By how much sure estimates were off; docs/trust.md has the table."""
_CLOSE = 1.5  # factor by which the values may be off for total variation

How = Literal["stated", "given", "tissue", "material"]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Where the scale of the values comes from.

    Attributes:
        mu_water: Attenuation that is used for water, in 1/mm.
        how: `stated` by the scan, `given` by the user, or estimated from `tissue` or from the main
            `material`.
        sure: Whether an estimate can be relied on within a few percent.
        overlap: With the histogram of tissue, 0 to 1; None if nothing was estimated.
        scale: Factor that the user put on the values besides; it is in `mu_water` already.
        words: The same for people.
    """

    mu_water: float
    how: How
    sure: bool = True
    overlap: float | None = None
    scale: float = 1.0
    words: str = ""


def calibrated(
    scan: Scan, mu_water: float | None = None, scale: float | None = None
) -> tuple[Scan, Calibration]:
    """Return a scan with mu_water, and where that number comes from.

    Args:
        scan: The scan.
        mu_water: In 1/mm; None uses that of the scan or, if it has none, estimates it.
        scale: Factor on the attenuation that a prior is given; it divides mu_water.
    """
    if mu_water is not None:
        check_mu_water(mu_water, "`mu_water={:g}`")
        found = _stated(mu_water, "given")
    elif scan.mu_water is None:
        found = estimate_mu_water(scan)
    else:
        found = _stated(scan.mu_water, "stated")
    if scale is not None:
        if not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]:  # NaN is outside, too
            raise UsageError(
                f"`scale={scale:g}`: expected {SCALE_RANGE[0]:g} to {SCALE_RANGE[1]:g}"
            )
        found = _scaled(found, scale)
        check_mu_water(found.mu_water, "mu_water / scale {:g}")
    return dataclasses.replace(scan, mu_water=found.mu_water), found


def estimate_mu_water(scan: Scan) -> Calibration:
    """Estimate mu_water from the histogram of a quick classical reconstruction.

    What `scan.mu_water` says is not looked at. Total variation on pixels twice as large and a few
    slices, up to 60 views: a second or two.

    Returns:
        The estimate. On 23 chests and abdomens and 24 heads and necks, from 1e5 photons, it was off
        by 2.2 percent RMS and 9 at most from 20 and 60 views, 4.5 and 11 from 8, which it calls
        unsure (studies/mu_water.py).
    """
    coarse = coarse_scan(scan)
    typical = coarse.typical()
    found = _quick(coarse, typical)
    if found is not None and abs(math.log(found[0].water / typical)) > math.log(_CLOSE):
        found = _quick(coarse, found[0].water)
    if found is None:
        return _no_object()
    match, mu = found
    check_mu_water(match.main, "the attenuation of water, estimated at {:g}")
    against = doubts(match, mu, scan, coarse.pixel_mm)
    tell = _from_material if any(doubt.excludes for doubt in against) else _from_tissue
    return tell(match, against)


def typical_attenuation(u: Stack, slabs: Slabs = WHOLE) -> float:
    """Return the mean attenuation of the mass, sum u^2 / sum u: air weighs nothing."""

    def summed(u: Tensor) -> tuple[Tensor, Tensor]:
        mass = u.clamp(min=0)
        return of_slices(mass), of_slices(mass.square())

    mass, squares = map(total, slabs.each(summed, u))
    return squares / mass if mass > 0 else 0.0


def _quick(coarse: Coarse, typical: float) -> tuple[Match, np.ndarray] | None:
    """Return a quick reconstruction, and tissue's histogram over its; none of an empty scan."""
    mu = coarse.reconstruct(typical) if typical > 0 else np.zeros(0)
    match = match_tissue(mu)
    return None if match is None else (match, mu)


def _stated(mu_water: float, how: How) -> Calibration:
    by = {"stated": "The scan states", "given": "The user gave"}[how]
    possible = energy_of_water(mu_water) is not None
    doubt = (
        "" if possible else ", which water does not have at any X-ray energy from 5 keV to 10 MeV"
    )
    return Calibration(
        mu_water=mu_water,
        how=how,
        sure=possible,
        words=f"{by} the attenuation of water, {mu_water:.4g} per mm{doubt}.",
    )


def _from_tissue(match: Match, against: tuple[Doubt, ...]) -> Calibration:
    confidence = (
        f"this is uncertain ({_listed(against)}) and may be off by 10 percent or more; give "
        "`mu_water` if it is known"
        if against
        else MEASURED
    )
    return Calibration(
        mu_water=match.water,
        how="tissue",
        sure=not against,
        overlap=round(match.overlap, 3),
        words=f"The scan does not state the attenuation of water: {match.water:.4g} per mm was "
        "estimated by matching the histogram of a quick reconstruction with that of human tissue "
        f"(overlap {match.overlap:.2f} of 1); {confidence}.",
    )


def _from_material(match: Match, against: tuple[Doubt, ...]) -> Calibration:
    clear = match.near_main >= CLEAR
    peak = "its peak is clear" if clear else "its peak is not clear, so this is uncertain"
    excluding = tuple(doubt for doubt in against if doubt.excludes)
    return Calibration(
        mu_water=match.main,
        how="material",
        sure=False,
        overlap=round(match.overlap, 3),
        words=f"The scan does not state the attenuation of water: {match.main:.4g} per mm, that of "
        f"the main material ({peak}), was used instead, and the values are HU only if it is "
        f"water. It does not look like a human body: {_listed(excluding)}. Give `mu_water` or "
        "`scale` if you know better.",
    )


def _listed(against: tuple[Doubt, ...]) -> str:
    return "; ".join(doubt.words for doubt in against)


def _no_object() -> Calibration:
    return Calibration(
        mu_water=1.0,
        how="material",
        sure=False,
        overlap=0.0,
        words="The scan does not state the attenuation of water, and nothing in it attenuates: 1 "
        "per mm was used; check that it contains line integrals.",
    )


def _scaled(found: Calibration, scale: float) -> Calibration:
    return msgspec.structs.replace(
        found,
        mu_water=found.mu_water / scale,
        scale=scale,
        words=f"{found.words} The user multiplied the values by {scale:g}.",
    )
