"""Numbers as people read them, and round steps to count in."""

import math

MISSING, MINUS = "\u2013", "\u2212"


def number(value: float, decimals: int) -> str:
    """Return a number with this many decimals; a dash for NaN."""
    if math.isnan(value):
        return MISSING
    return f"{value:.{decimals}f}".replace("inf", "∞").replace("-", MINUS)


def significant(value: float) -> str:
    """Return a number with up to three digits that matter, all of whole ones."""
    rounded = float(f"{value:.3g}") if abs(value) < 1000 else round(value)
    return f"{rounded + 0.0:.12g}".replace("-", MINUS)


def percent(share: float) -> str:
    """Return a share in percent, to two digits or hundredths of a percent."""
    decimals = next(d for d, least in enumerate((0.0995, 0.00995, 0.0)) if share >= least)
    return f"{100 * share:.{decimals}f} %"


def step(extent: float) -> float:
    """Return a round distance of ticks, so that 5 or fewer reach over `extent`."""
    if extent <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(extent / 5))
    return next(m * power for m in (1, 2, 5, 10) if 5 * m * power >= extent * (1 - 1e-9))


def named(group: str, key: str) -> str:
    """Return what a key of a record is called on a page: `Scan: source SHA-256`."""
    return f"{group}: {key.replace('_', ' ').replace('sha256', 'SHA-256')}"
