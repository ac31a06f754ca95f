"""Whole numbers that a detector's electronics cut: unsigned ones stored as signed, and clipped."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from diffusionblend.projections.notes import NOTHING, Notes, noted
from diffusionblend.projections.stack import Stack

DEEP = 1 / 32
"""Share of the range of signed numbers below which no readout noise leads."""
WRAPPED = 0.01
"""Share of the values that has to lie there."""
CLIPPED = 0.005
"""Share of the values that has to be the largest: in noise, of thousands of counts, one is."""
LEAST_TOP = 100
"""A largest value below this is common without being clipped."""
ALTERNATING = -0.35
"""Mean product of the signs of two fourth differences beside each other.

In noise it is -0.6; in a body of 1e4 to 1e6 photons -0.57 to -0.43, without noise -0.27 to 0.2.
"""
_ONE = 0.6745 * 70**0.5  # median size of a fourth difference, of noise of one count
_SOME = 9  # views


def all_unsigned(
    data: Stack, white: Stack | None, dark: Stack | None
) -> tuple[Stack, Stack | None, Stack | None, Notes]:
    """Return counts and their fields, all as `unwrapped` reads them, and which were changed."""
    fields = [None if stack is None else unwrapped(stack) for stack in (white, dark)]
    read = unwrapped(data)
    pairs = {"views": (data, read), "white fields": (white, fields[0]), "dark": (dark, fields[1])}
    names = [name for name, (before, after) in pairs.items() if before is not after]
    said = f"{', '.join(names)} read as unsigned whole numbers: as signed ones they are negative"
    return read, fields[0], fields[1], noted(said) if names else NOTHING


def unwrapped(stack: Stack) -> Stack:
    """Return a stack whose signed whole numbers are read as the unsigned ones they were.

    Counts far below zero cannot be: above half of the range the sign's bit was set.
    """
    if stack.dtype.kind != "i" or stack.dtype.itemsize > 4 or not _wraps(stack):
        return stack
    size = 2.0 ** (8 * stack.dtype.itemsize)

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        values = np.asarray(stack.reader(views, rows), dtype=np.float64)
        return np.where(values < 0, values + size, values)

    return dataclasses.replace(stack, dtype=np.dtype(f"u{stack.dtype.itemsize}"), reader=read)


def clipped_at(counts: np.ndarray) -> float | None:
    """Return the largest of counts (views, rows, bins), if they were clipped there; else none.

    Where there is noise, hardly two are the largest; without any, all that see air are. Then only
    the end of a range, 2^n - 1, is told.
    """
    top = float(np.max(counts, where=np.isfinite(counts), initial=0))
    if top < LEAST_TOP or float((counts == top).mean()) < CLIPPED:
        return None
    return top if _is_range(top) or noisy(counts, top) else None


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


def _wraps(stack: Stack) -> bool:
    views = np.linspace(0, stack.shape[0] - 1, min(_SOME, stack.shape[0])).round().astype(int)
    values = stack.read(np.unique(views).tolist())
    deep = -DEEP * 2.0 ** (8 * stack.dtype.itemsize - 1)
    return float((values < deep).mean()) > WRAPPED or float(np.median(values)) < deep


def _is_range(top: float) -> bool:
    """Return whether a number is the largest of 8 to 16 bits, or of 32."""
    return top + 1 in {2.0**bits for bits in (*range(8, 17), 32)} or top == 2.0**15 - 1
