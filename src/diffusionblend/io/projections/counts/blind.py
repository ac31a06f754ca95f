"""Bins that see no rays: behind the blades of a collimator, or beside a round scintillator.

The white fields show them. Their counts are readout noise, and a share of air is noise over noise,
which was taken for an object in the white fields, or for dark fields of another scan. Those at the
edges are left out, as if the detector ended there. Until then, and in the rows of a round field of
view that are shorter than others, they have what the nearest bin of their row shows that sees rays.
"""

import numpy as np

from diffusionblend.data.edges import BOTH, find_edges
from diffusionblend.io.projections.counts.padding import LEAST
from diffusionblend.io.projections.notes import NOTHING, Notes, noted, warned

BLIND = 0.02
"""Share of the counts of air, where it is bright, below which a pixel sees no rays."""
_BRIGHT = 0.9  # quantile of air
_AIR = 0.01
"""Share by which what comes through the bins beside them may differ from air, and be air."""


def lit_pixels(air: np.ndarray) -> np.ndarray:
    """Return which pixels see rays (rows, bins), by their counts of air."""
    return np.asarray(air >= BLIND * np.nanquantile(air, _BRIGHT))


def lit_bins(air: np.ndarray) -> slice:
    """Return the bins that some row sees rays in, without blind ones at the edges.

    Args:
        air: Counts of air above those without rays (rows, bins).
    """
    first, last = _ends(np.asarray(lit_pixels(air).any(axis=0, keepdims=True)))
    return slice(int(first[0]), int(last[0]) + 1)


def nearest_lit(air: np.ndarray) -> np.ndarray:
    """Return which bin of its row each pixel is given the counts of (rows, bins).

    That is itself, but of blind ones at an edge the first that sees rays. Rows that see none are
    left.

    Args:
        air: Counts of air above those without rays (rows, bins).
    """
    first, last = _ends(lit_pixels(air))
    return np.clip(np.arange(air.shape[1]), first[:, None], last[:, None])


def given(values: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Return values (..., rows, bins) in which blind bins have those of the nearest lit one."""
    if (nearest == np.arange(nearest.shape[1])).all():
        return values
    return np.take_along_axis(values, np.broadcast_to(nearest, values.shape), axis=-1)


def lit_in_all(nearest: np.ndarray) -> slice:
    """Return the bins that all rows see rays in; if there are hardly any, all bins."""
    lit = slice(int(nearest[:, 0].max()), int(nearest[:, -1].min()) + 1)
    return lit if lit.stop - lit.start >= LEAST else slice(0, nearest.shape[1])


def told(shares: np.ndarray, nearest: np.ndarray, taken: slice) -> Notes:
    """Say which bins are left out, and warn of rows that are shorter, unless air is beside them.

    Args:
        shares: What comes through (views, rows, bins).
        nearest: As of `nearest_lit`.
        taken: As of `lit_bins`.
    """
    first, last, _ = taken.indices(shares.shape[2])
    notes = NOTHING
    if last - first < shares.shape[2]:
        notes += noted(
            f"bins {first}:{last} of {shares.shape[2]} taken: the others see no rays, not even in "
            "the white fields"
        )
    lit = lit_in_all(nearest)
    fewer = nearest[:, 0].max() > first, nearest[:, -1].min() < last - 1
    shorter = [end for end in BOTH if fewer[end]]
    if all(_is_air(shares[:, :, lit], end) for end in shorter):
        return notes
    return notes + warned(
        "in some rows more bins see no rays than in others, as with a round field of view, and the "
        "object goes on there: what they hide is taken for what is beside it, which is wrong; take "
        "only rows that see all of the object, by `rows`"
    )


def _ends(lit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last bin of each row (rows,) that sees rays.

    Where no row has several blind ones at an end, they are dead pixels.
    """
    bins = lit.shape[1]
    lit = lit | ~lit.any(axis=1, keepdims=True)
    first, behind = lit.argmax(axis=1), lit[:, ::-1].argmax(axis=1)
    first, behind = (n if n.max() >= LEAST else np.zeros_like(n) for n in (first, behind))
    return first, bins - 1 - behind


def _is_air(shares: np.ndarray, end: int) -> bool:
    edge = find_edges(shares, (end,))
    return edge is not None and abs(edge.usual - 1) < _AIR
