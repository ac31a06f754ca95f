"""Whole numbers that electronics and files cut: of the wrong sign, and clipped."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.formats.stack import Stack
from diffusionblend.io.projections.notes import NOTHING, Notes, noted

DEEP = 1 / 32
"""Share of the range beside its end that no readout noise crosses."""
WRAPPED, FEW = 0.01, 1e-4
"""Shares of the values that are negative: deeper than noise reaches, and than half of the range."""
GAP = 0.75
"""Share of the range above which there are no counts, if those at its end were negative."""
CLIPPED = 0.005
"""Share of the values that has to be the largest: in noise, of thousands of counts, one is."""
LEAST_TOP = 100
"""A largest value below this is common without being clipped."""
ALTERNATING = -0.35
"""Mean product of the signs of two fourth differences beside each other.

In noise it is -0.6; in a body of 1e4 to 1e6 photons -0.57 to -0.43, without noise -0.27 to 0.2.
"""
LEAPLESS, SMOOTHER = 0.9, 0.5
"""Shares of the steps from bin to bin that another reading of a few or of all numbers has to leave.
"""
NO_PICTURE = 0.4
"""Mean step over the spread from which values hardly go on from bin to bin; of noise it is 1.1."""
_ONE = 0.6745 * 70**0.5  # median size of a fourth difference, of noise of one count
_SOME, _ROWS = 9, 64  # views and rows that are as good as all


def as_counted(
    data: Stack, white: Stack | None, dark: Stack | None
) -> tuple[Stack, Stack | None, Stack | None, Notes]:
    """Return counts and their fields as the detector counted them, and what was changed.

    Signed numbers that a program moved down by half of their range are left as they are: what
    differs from fields of the same kind by nothing is the same.
    """
    if _in_other_order(data):
        raise CorruptInput(
            f"the two bytes of each of its numbers ({data.dtype}) are in the other order; write "
            "them in this one, in NumPy by `values.byteswap()`, or name theirs in the header"
        )
    if _moved_down(data):
        return data, white, dark, NOTHING
    views = _as_counted(data)
    fields = [None if stack is None else _as_counted(stack) for stack in (white, dark)]
    if white is not None and white.dtype == data.dtype and views.dtype.kind == "u":
        fields[0] = _shifted(white, "u", 0.0)  # air may be just below the end of the range
    pairs = {"views": (data, views), "white": (white, fields[0]), "dark": (dark, fields[1])}
    notes = NOTHING
    for name, (before, after) in pairs.items():
        if (
            before is not None
            and after is not None
            and before.dtype.newbyteorder("=") != after.dtype.newbyteorder("=")
        ):
            notes += noted(f"{name} stored as {before.dtype} read as {after.dtype}")
    return views, fields[0], fields[1], notes


def _as_counted(stack: Stack) -> Stack:
    """Return a stack whose whole numbers have the sign that counts have.

    Signed ones far below zero were unsigned: above half of the range the sign's bit was set.
    Unsigned ones at the end of the range, with nothing between them and the others, were below
    zero: noise of a detector that subtracts its dark level itself.
    """
    kind, size = stack.dtype.kind, stack.dtype.itemsize
    if kind not in "iu" or size > 4:
        return stack
    whole, values = 2.0 ** (8 * size), _sample(stack)
    if kind == "i" and _wraps(values, whole):
        return _shifted(stack, "u", 0.0)
    if kind == "u" and _underflows(values, whole):
        return _shifted(stack, "i", -whole * DEEP)
    return stack


def _moved_down(stack: Stack) -> bool:
    """Return whether signed numbers cross zero without a leap, as those that wrapped do not."""
    if stack.dtype.kind != "i" or stack.dtype.itemsize > 4:
        return False
    whole, values = 2.0 ** (8 * stack.dtype.itemsize), _sample(stack)
    if not _wraps(values, whole):
        return False
    return _steps(values) < LEAPLESS * _steps(values % whole)


def _in_other_order(stack: Stack) -> bool:
    """Return whether numbers of two bytes only go on from bin to bin once these are exchanged."""
    if stack.dtype.kind not in "iu" or stack.dtype.itemsize != 2:
        return False
    values = _sample(stack)
    rough = _roughness(values)
    turned = values.astype(stack.dtype.newbyteorder("=")).byteswap().astype(np.float64)
    return rough > NO_PICTURE and _roughness(turned) < SMOOTHER * rough


def _steps(values: np.ndarray) -> float:
    """Return the mean step from bin to bin."""
    return float(np.abs(np.diff(values, axis=-1)).mean()) if values.shape[-1] > 1 else 0.0


def _roughness(values: np.ndarray) -> float:
    """Return the mean step from bin to bin over the spread of all values."""
    return _steps(values) / max(float(values.std()), 1e-9)


def _shifted(stack: Stack, kind: str, least: float) -> Stack:
    """Return a stack whose values are moved by the whole range until none is below the least."""
    whole = 2.0 ** (8 * stack.dtype.itemsize)

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        values = np.asarray(stack.reader(views, rows), dtype=np.float64)
        return (values - least) % whole + least

    return dataclasses.replace(stack, dtype=np.dtype(f"{kind}{stack.dtype.itemsize}"), reader=read)


def _sample(stack: Stack) -> np.ndarray:
    views = np.linspace(0, stack.shape[0] - 1, min(_SOME, stack.shape[0])).round().astype(int)
    rows = slice(None, None, max(1, stack.shape[1] // _ROWS))
    return np.asarray(stack.reader(np.unique(views).tolist(), rows), dtype=np.float64)


def _wraps(values: np.ndarray, whole: float) -> bool:
    deep, deeper = -DEEP * whole / 2, -whole / 4
    far = float((values < deep).mean()) > WRAPPED or float((values < deeper).mean()) > FEW
    return far or float(np.median(values)) < deep


def _underflows(values: np.ndarray, whole: float) -> bool:
    end = values >= whole * (1 - DEEP)
    clipped = float((values == whole - 1).mean())
    others = values[~end]
    if not (end.mean() > max(FEW, 2 * clipped) and others.size > values.size / 2):
        return False
    return float(others.max()) < GAP * whole


def clipped_at(counts: np.ndarray) -> float | None:
    """Return the largest of counts (views, rows, bins), if they were clipped there; else none.

    Where there is noise, hardly two are the largest; without any, all that see air are. Then only
    the end of a range, 2^n - 1, is reported. A pixel that is the largest and has neighbours that
    never are is hot.
    """
    top = float(np.max(counts, where=np.isfinite(counts), initial=0))
    largest = counts == top
    beside = np.pad(largest.any(axis=0), ((0, 0), (1, 1)))
    largest &= beside[:, :-2] | beside[:, 2:]
    if top < LEAST_TOP or float(largest.mean()) < CLIPPED:
        return None
    end_of_range = top + 1 in {2.0**bits for bits in (*range(8, 17), 32)} or top == 2.0**15 - 1
    return top if end_of_range or noisy(counts, top) else None


def noisy(counts: np.ndarray, top: float = np.inf) -> bool:
    """Return whether counts (views, rows, bins) below a top have noise of more than one.

    Fourth differences of noise change their sign from bin to bin, those of structure do not.
    """
    some = counts[:: max(1, len(counts) // _SOME)].astype(np.float64)
    if some.shape[2] < 6:
        return False
    held = np.lib.stride_tricks.sliding_window_view(some, 6, axis=2).max(axis=3) < top
    fourth = np.diff(some, 4, axis=2)
    before, after = fourth[..., :-1][held], fourth[..., 1:][held]
    if not before.size:
        return False
    alternate = float(np.mean(np.sign(before) * np.sign(after))) < ALTERNATING
    return alternate and float(np.median(np.abs(before))) > _ONE
