"""The histogram of human tissue along ln(mu), and where it matches that of a volume.

A wrong scale of mu moves a histogram along ln(mu) and leaves its shape.
"""

import math
from dataclasses import dataclass

import numpy as np

Kind = tuple[float, float, float]
TRUNK: tuple[Kind, ...] = (
    (0.23, -240.0, 510.0),
    (0.18, -100.0, 14.0),
    (0.15, -47.0, 36.0),
    (0.28, 48.0, 28.0),
    (0.16, 121.0, 121.0),
)
"""Chests and abdomens: share of the mass, mean and standard deviation in HU, of five kinds.

They are lung and the like, fat, what is between, muscle and organs, bone; normal distributions
fitted to the mean histogram of the 22 whole volumes that the prior `chest` was trained on, in
pixels of 3 mm.
"""
HEAD: tuple[Kind, ...] = (
    (0.138, -1744.0, 1432.0),
    (0.224, -110.0, 26.0),
    (0.494, 7.0, 33.0),
    (0.182, 194.0, 296.0),
    (0.057, 1061.0, 296.0),
)
"""The same of heads, necks and shoulders, 24 volumes of OpenKBP in pixels of 4 mm.

By the histogram of trunks alone, brain was taken for fat in a third of the heads, 11 percent off.
"""
BODIES = {"trunk": TRUNK, "head": HEAD}

_STEP = 0.02  # of the histogram, in ln(mu): 2 percent
_SHIFTS = 60  # on both sides: a factor of 3.3
_SMOOTH = 0.02  # what a classical reconstruction blurs, in ln(mu)
_LOWEST = 0.05  # of the rough value: below is air
_NEAR = 0.15
_GAP, _BONE = (0.7, 0.85), (1.2, math.inf)


@dataclass(frozen=True)
class Match:
    """Where the histogram of tissue lies over that of a volume, and what it misses.

    Attributes:
        water: The attenuation of water by it, in 1/mm.
        overlap: Bhattacharyya's coefficient, 0 to 1.
        near: Share of the mass within 15 percent of water.
        gap: Share of the mass between lung and fat, where tissue has little.
        bone: Share of the mass denser than muscle and organs.
        main: The attenuation of the main material, where the histogram is highest, in 1/mm.
        near_main: Share of the mass within 15 percent of it.
    """

    water: float
    overlap: float
    near: float
    gap: float
    bone: float
    main: float
    near_main: float


def match_tissue(mu: np.ndarray) -> Match | None:
    """Lay the histogram of tissue over that of a volume.

    Args:
        mu: Attenuation, of any shape and unit.

    Returns:
        The best of the kinds of bodies; None if nothing attenuates.
    """
    mass = mu[mu > 0].astype(np.float64)
    typical = float((mass**3).sum() / (mass**2).sum()) if mass.size else 0.0
    if not typical > 0:
        return None
    log_u, shares = _histogram(mass / typical)
    at, overlap = max((_best(log_u, shares, body) for body in BODIES.values()), key=lambda b: b[1])
    peak = float(log_u[_smoothed(shares).argmax()])

    def share(around: float, low: float, high: float) -> float:
        u = np.exp(log_u - around)
        return float(shares[(u >= low) & (u < high)].sum())

    def near(around: float) -> float:
        return float(shares[np.abs(log_u - around) <= _NEAR].sum())

    return Match(
        water=typical * math.exp(at),
        overlap=overlap,
        near=near(at),
        gap=share(at, *_GAP),
        bone=share(at, *_BONE),
        main=typical * math.exp(peak),
        near_main=near(peak),
    )


def _histogram(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the histogram of ln(u), each value weighed by itself: air weighs nothing.

    Args:
        u: Positive numbers of order 1, of any shape.

    Returns:
        ln(u) in the middle of each bin, and the shares of the mass there: (bins,) each.
    """
    low = math.log(_LOWEST)
    edges = np.arange(low, -low, _STEP)
    shares, _ = np.histogram(np.log(u), edges, weights=u)
    return (edges[1:] + edges[:-1]) / 2, shares / max(shares.sum(), 1e-12)


def _best(log_u: np.ndarray, shares: np.ndarray, body: tuple[Kind, ...]) -> tuple[float, float]:
    """Return ln(u) of water where a histogram (bins,) overlaps most with a body's, and how much."""
    smooth = np.sqrt(_smoothed(shares))
    shifts = _STEP * np.arange(-_SHIFTS, _SHIFTS + 1)
    overlaps = np.array([(smooth * np.sqrt(_tissue(log_u - s, body))).sum() for s in shifts])
    best = int(overlaps.argmax())
    return float(shifts[best]) + _STEP * _vertex(overlaps, best), float(overlaps[best])


def _tissue(log_u: np.ndarray, body: tuple[Kind, ...]) -> np.ndarray:
    """Return the share of the mass of human tissue at ln(u), in steps of `_STEP`."""
    u = np.exp(log_u)
    shares = np.zeros_like(u)
    for share, hu, spread_hu in body:
        width = math.hypot(spread_hu / 1000, _SMOOTH)
        shares += share / width * np.exp(-0.5 * ((u - 1 - hu / 1000) / width) ** 2)
    return shares * u * _STEP / math.sqrt(2 * math.pi)


def _smoothed(shares: np.ndarray) -> np.ndarray:
    lags = _STEP * np.arange(-10, 11)
    kernel = np.exp(-0.5 * (lags / _SMOOTH) ** 2)
    return np.convolve(shares, kernel / kernel.sum(), "same")


def _vertex(values: np.ndarray, at: int) -> float:
    """Return where the parabola through a maximum and its neighbours has its top, in steps."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = values[at - 1 : at + 2]
    return float(0.5 * (left - right) / (left - 2 * middle + right))
