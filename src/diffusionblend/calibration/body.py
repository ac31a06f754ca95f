"""Whether the object can be a human body, for which the estimate of water was tested.

A histogram alone does not prove that something is tissue: a foam, a gear or a walnut can have a
similar one. So everything known is checked: the attenuation, the size, the outline, and what the
histogram has and tissue does not. Some findings exclude a body; others only make the estimate
uncertain. The numbers come from the scans of docs/trust.md: 23 chests and abdomens and 24 heads and
necks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffusionblend.calibration.tissue import Match
from diffusionblend.data.scan import Scan
from diffusionblend.data.units import WATER_PER_MM, energy_of_water

TISSUE = 0.8
"""Overlap of histograms below which it is not tissue: from 8 views on, bodies have 0.86."""
LIKE_TISSUE = 0.89
"""Overlap from which a histogram is tissue's: from 20 views on, bodies have 0.905."""
CLEAR = 0.43
"""Share of the mass within 15 percent of the scale found from which an estimate is sure.

Scans of tissue had 0.43 to 0.78, and the lowest were those that the estimate was most wrong for;
material whose attenuation is spread evenly from 0.3 to 1.7 has 0.4.
"""
GAP = 0.09
"""Most of the mass that lies between lung and fat; bodies have 0.02 to 0.08, foams 0.1."""
BONE = (0.015, 0.3)
"""Share of the mass that is denser than organs; bodies have 0.018 to 0.26, one material has 0."""
BODY_PER_MM = (0.005, 0.03)
"""Attenuation of water at energies that bodies are scanned with: 2 MeV to 36 keV."""
LEAST_MM = 140.0
"""How far it is across: the slices of heads have 156 mm or more, as circles of their area."""
LONG = 1.12
"""Ratio of the axes of the outline; bodies have 1.2 to 2.4, what is turned on a lathe 1."""
FEWEST = 20
"""With fewer views histograms are too blurred to tell tissue from other materials."""
COARSEST_MM = 5.5
"""Pixels from which an estimate is too low: by 11 percent on a chest in pixels of 5.6 mm."""
MISSING_DEG = 5.0
_EDGE, _CUT = 0.1, 0.02  # of the largest line integral; of the projections
_OBJECT = 0.3  # of water


@dataclass(frozen=True)
class Doubt:
    """A finding against a body, in words; and whether it excludes one."""

    words: str
    excludes: bool


@dataclass(frozen=True)
class Outline:
    """The outline of an object in its slices.

    Attributes:
        across_mm: Diameter of the circle of its area.
        long: Ratio of the axes of the ellipse of its moments.
    """

    across_mm: float
    long: float


def find_outline(mu: np.ndarray, level: float, pixel_mm: float) -> Outline:
    """Return the mean outline of the half of the slices that hold most of an object.

    Args:
        mu: Attenuation (slices, rows, columns).
        level: Of the attenuation at the outline.
        pixel_mm: Size of a pixel.
    """
    filled = [_largest(slice_ > level) for slice_ in mu]
    filled.sort(key=np.sum)
    found = [_outline(one, pixel_mm) for one in filled[len(filled) // 2 :]]
    return Outline(*np.mean(found, axis=0).tolist())


def doubts(match: Match, mu: np.ndarray, scan: Scan, pixel_mm: float) -> tuple[Doubt, ...]:
    """Return all that speaks against a human body.

    Args:
        match: The histogram of tissue over that of `mu`.
        mu: Attenuation (slices, rows, columns) of a quick reconstruction, in 1/mm.
        scan: The scan.
        pixel_mm: Size of a pixel of `mu`.
    """
    outline = find_outline(mu, _OBJECT * match.water, pixel_mm)
    return (
        *_of_histogram(match),
        *_of_attenuation(match.main),
        *_of_outline(outline, cut=_is_cut(scan.y)),
        *_of_scan(scan, pixel_mm),
    )


def _of_histogram(match: Match) -> Iterator[Doubt]:
    if match.overlap < TISSUE:
        yield Doubt("its histogram is not that of human tissue", True)
        return
    if match.near < CLEAR:
        yield Doubt("no peak of its histogram is clear", False)
    between = match.gap <= GAP and BONE[0] <= match.bone <= BONE[1]
    if match.overlap < LIKE_TISSUE or not between:
        yield Doubt("its histogram fits tissue, but also other materials", False)


def _of_attenuation(mu: float) -> Iterator[Doubt]:
    energy = energy_of_water(mu)
    if energy is None:
        least, most = min(WATER_PER_MM.values()), max(WATER_PER_MM.values())
        yield Doubt(
            f"water attenuates X-rays of 5 keV to 10 MeV by {least:g} to {most:g} per mm, so the "
            "lengths are not in mm, the numbers are not line integrals of X-rays, or the "
            "material is very dense",
            True,
        )
    elif not BODY_PER_MM[0] <= mu <= BODY_PER_MM[1]:
        yield Doubt(
            f"that is water at {energy:.2g} keV, an energy at which no body is scanned "
            f"({BODY_PER_MM[0]:g} to {BODY_PER_MM[1]:g} per mm): it is another object, or the "
            "lengths are not in mm",
            True,
        )


def _of_outline(outline: Outline, *, cut: bool) -> Iterator[Doubt]:
    if cut:
        yield Doubt("the detector cuts it off", False)
    elif outline.across_mm < LEAST_MM:
        yield Doubt(
            f"it is {outline.across_mm:.2g} mm across, but even a head has {LEAST_MM:g} or more",
            True,
        )
    elif outline.long < LONG:
        yield Doubt("it is round, which no section of a body is", True)


def _of_scan(scan: Scan, pixel_mm: float) -> Iterator[Doubt]:
    views = len(scan.geometry.beam.angles_deg)
    if views < FEWEST:
        yield Doubt(f"{views} views are too few to tell tissue from other materials", False)
    if scan.geometry.arc.missing_deg > MISSING_DEG:
        yield Doubt("directions are missing", False)
    if pixel_mm > COARSEST_MM:
        yield Doubt(f"pixels of {pixel_mm:.2g} mm blur tissues into each other", False)


def _is_cut(y: np.ndarray) -> bool:
    """Return whether line integrals (rows, views, bins) do not fall to nothing at the edges."""
    edges = y[..., [0, -1]].max(axis=-1) > _EDGE * np.quantile(y, 0.99)
    return float(edges.mean()) > _CUT


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask (rows, columns), without its holes."""
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(parts == sizes.argmax()), dtype=bool)


def _outline(mask: np.ndarray, pixel_mm: float) -> tuple[float, float]:
    """Return the diameter in mm of a mask's area, and the ratio of its axes."""
    places = np.argwhere(mask)
    if len(places) < 3:
        return 0.0, 1.0
    small, large = np.linalg.eigvalsh(np.cov(places.T))
    across = pixel_mm * math.sqrt(4 * len(places) / math.pi)
    return across, math.sqrt(large / max(small, 1e-6))
