"""The grey values of a volume, and what their histogram says of their scale."""

import functools
import itertools
import math

import numpy as np

from diffusionblend.data.units import HU_AIR

AIR, WATER = (-1200.0, -200.0), (-200.0, 300.0)
"""HU of air and lung, and of water and soft tissue, with the noise of both."""
AIR_EXACT = (-2024.0, -2048.0)
"""What a second rescale, by -1024, makes of air of -1000, and of the lowest number of 12 bits."""
AIR_TENFOLD, NONE_TENFOLD = (-12_000.0, -7000.0), (-7000.0, -2000.0)
"""Where HU times ten have air and lung, and hardly anything but edges: noise has more there."""
AIR_TENFOLD_EXACT = (-10_000.0, -10_240.0)
SOFT_TENFOLD = (WATER[1], 1000.0)
"""Where HU times ten have most of muscle, and HU have bone, which is less than muscle."""
TENTH, BODY_TENTH, SOFT_TENTH = (-110.0, -90.0), (-50.0, math.inf), (-15.0, 15.0)
"""HU divided by ten: what the lowest is, where a body is, and where most of it is."""
PEAK_WITHIN, PEAKED = range(-400, 501, 100), 0.4
"""Where soft tissue has most of its values within 200 HU, and the share of them from which it has.

Of 100 volumes of bodies 0.55 and more, and 0.45 with noise of 100 HU. A second rescale puts bone
there, which has no such peak, or one below water.
"""
MUSCLE_RAISED = (800.0, 1300.0)
"""Where HU + 1024 has muscle and fat."""
LEAST, FEW, MANY, MOST = 0.001, 0.005, 0.1, 0.5
"""Shares of voxels that count as none, as few at most, as many, and as most."""
WINDOWED = 0.01
"""Share of voxels at the lowest value from which a window has cut values off there."""
WRAPPED = 60_000.0
"""Numbers of 16 bits from here on are negative ones, if none are in between."""
TWO_BYTES = (-(2.0**15), 2.0**16 - 1)
STORED = (-3100, 4096)
"""What scanners store: HU with their padding, or 12 bits."""
SLICES_LOOKED_AT = 8
ROUGHER = 4
"""How many times rougher than HU the same voxels are with their bytes swapped, at least.

With noise it is 50 times and more; a phantom of three values is 8 times rougher.
"""
MOST_LABELS = 32
SINGLE = 10
"""Voxels: this few can have the same value by chance in a volume of some hundred."""
CUT_OFF = -850.0
"""A lowest value of many voxels above this, in HU, is neither air nor lung."""
ALL_AIR, NOT_AIR, NARROW = (-1200.0, -800.0), -1300.0, 400.0
"""HU of all air where there is little noise, below all of it, and how far half of the values of air
that another scale puts below it lie from each other at most: noise puts them anywhere."""
CLIPPED = 1500.0
"""HU that only a program cuts values off at; scanners do from 2976 on."""


class GreyValues:
    """The values of a volume, and what is asked of them: what was counted once is known."""

    def __init__(self, hu: np.ndarray) -> None:
        self.hu, self.low, self.high = hu, float(hu.min()), float(hu.max())
        self.shares = functools.cache(functools.partial(_shares, hu))

    @functools.cached_property
    def noisy(self) -> np.ndarray:
        """Which slices were measured: in phantoms most neighbours have the same value."""
        return np.array([_differ(part, part > part.min()) for part in self.hu], dtype=bool)

    @functools.cached_property
    def noisy_beside_zero(self) -> np.ndarray:
        """Which were measured where they are not exactly 0, which most of a slice may be."""
        return np.array(
            [_differ(part, (part > part.min()) & (part != 0)) for part in self.hu], dtype=bool
        )

    @functools.cached_property
    def air_below(self) -> float:
        """Where air is if it is alone, and far below -1000 HU; NaN if it is not."""
        if self.low >= NOT_AIR:
            return math.nan
        deep = self.shares(above(self.low), NOT_AIR).mean()
        if deep < MANY or self.shares(*ALL_AIR).mean() > MANY * deep:
            return math.nan
        some = self.hu[:: max(1, len(self.hu) // SLICES_LOOKED_AT)]
        below = some[(some > self.low) & (some < NOT_AIR)]
        first, median, last = np.percentile(below, (25, 50, 75)) if below.size else [math.nan] * 3
        return float(median) if last - first < NARROW else math.nan

    @property
    def clipped(self) -> bool:
        """Whether a program has cut values off at the highest: scanners do so further up."""
        few = max(LEAST * self.hu.size, SINGLE)
        return bool(
            WATER[0] < self.high < CLIPPED
            and (self.hu == self.high).sum() > few
            and self.noisy.mean() > MOST
        )

    def _scales(self) -> tuple[np.ndarray, ...]:
        """Return shares (slices,): of what was measured, of air, of water, and of raised muscle.

        The lowest value may be padding that looks like air, and counts as air in phantoms alone,
        where it is exactly that.
        """
        air = self.shares(max(AIR[0], above(self.low)), AIR[1])
        if self.low == HU_AIR:
            air = np.where(self.noisy, air, self.shares(*AIR))
        return self.shares(AIR[0], math.inf), air, self.shares(*WATER), self.shares(*MUSCLE_RAISED)

    @property
    def raised(self) -> bool:
        """Whether air and muscle are where HU + 1024 has them, whatever padding there is."""
        return bool(_raised(*(shares.mean() for shares in self._scales())))

    @property
    def raised_slices(self) -> np.ndarray:
        """Which slices are so (slices,)."""
        return _raised(*self._scales())

    @functools.cached_property
    def lowered(self) -> bool:
        """Whether air has exactly a value that a second rescale gives it, and is no padding.

        Beside padding there is a peak of soft tissue.
        """
        exact = sum(self.shares(value, above(value)).mean() for value in AIR_EXACT)
        if exact <= WINDOWED:
            return False
        each = np.array([self.shares(*ends).mean() for ends in itertools.pairwise(PEAK_WITHIN)])
        pairs = each[1:] + each[:-1]
        low = PEAK_WITHIN[int(pairs.argmax())]
        return not (pairs.max() > PEAKED * each.sum() and WATER[0] <= low < WATER[1] - 100)

    @property
    def tenfold(self) -> bool:
        """Whether air is where HU times ten have it. What is alone there may be padding."""
        if self.low > AIR_TENFOLD[1]:
            return False
        known = self.low in AIR_TENFOLD_EXACT and (
            self.shares(*SOFT_TENFOLD).mean() > self.shares(*WATER).mean()
        )
        lowest = AIR_TENFOLD[0] if known else max(AIR_TENFOLD[0], above(self.low))
        air = self.shares(lowest, AIR_TENFOLD[1]).mean()
        return bool(air > MANY and air > 2 * self.shares(*NONE_TENFOLD).mean())

    @property
    def tenth(self) -> bool:
        """Whether air and soft tissue are where HU divided by ten have them."""
        body = self.shares(*BODY_TENTH).mean()
        soft = self.shares(*SOFT_TENTH).mean()
        return bool(TENTH[0] <= self.low <= TENTH[1] and soft > MOST * body > 0)

    @property
    def cut_off(self) -> bool:
        """Whether a window has cut values off above air: what was air is at the lowest one."""
        few = max(WINDOWED * self.hu.size, SINGLE)
        return CUT_OFF < self.low < 0 and bool((self.hu == self.low).sum() > few)

    @property
    def high_alone(self) -> bool:
        """Whether the highest are where negative numbers of 16 bits are, and none lie below."""
        return self.high >= WRAPPED and self.shares(self.high / 4, WRAPPED).mean() < LEAST

    @property
    def mostly_high(self) -> bool:
        """Whether many are where air is that was read without its sign."""
        return self.high_alone and self.shares(WRAPPED, math.inf).mean() > MANY

    @functools.cached_property
    def wrapped(self) -> bool:
        """Whether the highest are negative numbers of 16 bits, read without their sign.

        A few noisy voxels of air may be. A single value up there may be padding.
        """
        if not self.high_alone:
            return False
        top = self.hu[self.hu >= WRAPPED]
        return bool(np.ptp(top) > 0 and (top == top.round()).all())

    @functools.cached_property
    def swapped(self) -> bool:
        """Whether they are numbers of two bytes in the other order, which are HU in this one."""
        if self.low < TWO_BYTES[0] or self.high > TWO_BYTES[1]:
            return False
        some = self.hu[:: max(1, len(self.hu) // SLICES_LOOKED_AT)]
        if not (some == some.round()).all():
            return False
        ours = some.astype(np.int32).astype(np.int16)  # numbers without a sign wrap around
        theirs = ours.byteswap()
        return bool(
            _as_stored(ours) < 1 - MANY < 1 - FEW < _as_stored(theirs)
            and _roughness(ours) > ROUGHER * _roughness(theirs)
        )

    @property
    def labels(self) -> bool:
        """Whether there are a few whole numbers, and no more."""
        some = np.unique(self.hu[:: max(1, len(self.hu) // MOST_LABELS)])
        return len(some) <= MOST_LABELS and bool((some == some.round()).all())


def above(value: float) -> float:
    """Return the next number."""
    return float(np.nextafter(np.float32(value), np.float32(math.inf)))


def _as_stored(values: np.ndarray) -> float:
    """Return the share of values that a scanner may have stored."""
    return float(np.mean((values >= STORED[0]) & (values <= STORED[1])))


def _roughness(values: np.ndarray) -> float:
    """Return the mean difference of neighbours along the rows."""
    return float(np.abs(np.diff(values.astype(np.int32), axis=-1)).mean())


def _differ(part: np.ndarray, inside: np.ndarray) -> bool:
    apart = np.diff(part, axis=1)[inside[:, 1:] & inside[:, :-1]]
    return bool(np.count_nonzero(apart) > apart.size / 2)


def _raised(
    measured: np.ndarray, air: np.ndarray, water: np.ndarray, muscle: np.ndarray
) -> np.ndarray:
    """Return where there is no air, something in its place, and muscle where bone should be."""
    air_is_water = (air < LEAST * measured) & (water > LEAST * measured)
    return air_is_water & (muscle > MANY * measured)


def _shares(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the share of voxels in [low, high) of each slice; one by one, to take no memory."""
    return np.array([np.count_nonzero((part >= low) & (part < high)) / part.size for part in hu])
