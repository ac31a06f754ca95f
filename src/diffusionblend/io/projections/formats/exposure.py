"""How strongly each frame was exposed: by its time, by a monitor of the beam, or as the user says.

A white field that was exposed half as long as the views counts half as much of the same air. If the
detector sees air beside the object, that shows; if the object is cut off, only what is stated can
say it. A monitor is used only if the frames follow it, since it may belong to another place, or be
dead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffusionblend.data.edges import find_edges
from diffusionblend.io.projections.notes import Notes, noted, warned

SAME = 1e-4
"""Share by which exposures have to differ to matter: a tenth of a HU in a body."""
ROUGHER = 2.0
"""Times as much as before may views flicker once they are divided by their exposures."""
QUIET = 0.002
"""Flicker that does not speak against exposures: that of the photons of a few rows of pixels."""
FURTHER = 0.01
"""Share of air by which it may be further from that of the fields once exposures are used."""


@dataclass(frozen=True, eq=False)
class Exposures:
    """Exposures, in units of that of the usual view.

    Attributes:
        views: Of each view that was measured (views,).
        white: Of each white field (fields,).
        said: Who says so.
        sure: Whether it is not asked if the frames follow it.
    """

    views: np.ndarray
    white: np.ndarray
    said: str
    sure: bool = False

    @property
    def words(self) -> str:
        """What they are."""
        flicker = f", views differ by {np.ptp(self.views):.3g} of it" if np.ptp(self.views) else ""
        usual = float(np.median(self.white))
        return f"white fields have {usual:.4g} of a view's exposure{flicker} ({self.said})"


def exposures(views: np.ndarray, white: np.ndarray, said: str) -> Exposures | None:
    """Return exposures in any unit as shares of the usual view's; None if all are the same."""
    usual = float(np.median(views))
    found = Exposures(views / usual, white / usual, said)
    every = np.concatenate([found.views, found.white])
    return found if np.ptp(every) > SAME else None


def evenly_exposed(white: np.ndarray, dark: np.ndarray, found: Exposures | None) -> np.ndarray:
    """Return white fields (fields, rows, bins) as they are with the exposure of the usual view."""
    if found is None:
        return white
    return np.asarray((white - dark) / found.white[:, None, None] + dark)


def judged(
    counts: np.ndarray,
    white: np.ndarray,
    dark: np.ndarray,
    numbers: Sequence[int],
    found: Exposures,
) -> tuple[Exposures | None, Notes]:
    """Return exposures if the frames follow them, and what is to be said of them.

    Args:
        counts: Some rows of the views (views, rows, bins).
        white: White fields (fields, rows, bins).
        dark: Counts without rays (rows, bins).
        numbers: Which of the measured views they are.
        found: The exposures.
    """
    if found.sure:
        return found, noted(found.words)
    views = found.views[list(numbers)]
    against = _against(counts - dark, white - dark, views, found.white)
    if against is None:
        return found, noted(found.words)
    return None, warned(
        f"the {found.said} says that {found.words.split(' (')[0]}, but {against}: it was ignored; "
        "if white fields had another exposure than the views, give `white_exposure=SHARE`"
    )


def _against(
    counts: np.ndarray, white: np.ndarray, views: np.ndarray, fields: np.ndarray
) -> str | None:
    """Return what in frames above dark speaks against their exposures, if anything does."""
    levels = counts.mean(axis=(1, 2), dtype=np.float64)
    before, after = _flicker(levels), _flicker(levels / views)
    if after > ROUGHER * before + QUIET:
        return f"views divided by it flicker by {after:.2g} instead of {before:.2g}"
    bright = white.mean(axis=(1, 2), dtype=np.float64)
    before, after = _spread(bright), _spread(bright / fields)
    if after > ROUGHER * before + QUIET:
        return f"white fields divided by it differ by {after:.2g} instead of {before:.2g}"
    return _beside_air(counts / np.maximum(white.mean(axis=0), 1e-9), views / np.median(fields))


def _flicker(levels: np.ndarray) -> float:
    """Return by what share levels (views,) change from view to view, apart from a steady drift."""
    if len(levels) < 4 or not (levels > 0).all():
        return 0.0
    return float(np.median(np.abs(np.diff(np.log(levels), 2))))


def _spread(levels: np.ndarray) -> float:
    """Return the spread of levels (fields,) as a share of their mean."""
    mean = float(levels.mean())
    return float(levels.std()) / mean if mean > 0 else 0.0


def _beside_air(shares: np.ndarray, times: np.ndarray) -> str | None:
    """Say if the edges of views (views, rows, bins) are no longer air when they are divided."""
    before, after = find_edges(shares), find_edges(shares / times[:, None, None])
    if before is None or after is None:
        return None
    if abs(after.usual - 1) <= abs(before.usual - 1) + FURTHER:
        return None
    return f"air has {after.usual:.4g} of the white fields by it, and {before.usual:.4g} without"
