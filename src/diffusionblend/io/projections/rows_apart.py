"""A few rows that lie apart, to search and to check: a dead one is made of those beside it."""

from collections.abc import Sequence

import numpy as np

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.counts.pixels import with_rows_between
from diffusionblend.io.projections.lines import read_lines
from diffusionblend.io.projections.options import Options
from diffusionblend.io.projections.understand import Meaning


def read_rows(meaning: Meaning, views: Sequence[int], rows: range, options: Options) -> np.ndarray:
    """Read line integrals of some rows (rows, views, bins) as all rows together would have them.

    Raises:
        CorruptInput: None of them can be read, nor with those beside it.
    """
    try:
        lines = read_lines(meaning, views, rows, options)
    except CorruptInput:
        return _each_among_others(meaning, views, rows, options)
    for at in np.flatnonzero(lines.silent):
        lines.y[at] = _among_others(meaning, views, rows[at], options)
    return lines.y


def _each_among_others(
    meaning: Meaning, views: Sequence[int], rows: range, options: Options
) -> np.ndarray:
    """Read rows one by one; those that cannot be read show nothing, if others can."""
    shape = (len(rows), len(views), meaning.beam.bins)
    y, problems = np.zeros(shape, np.float32), []
    for at, row in enumerate(rows):
        try:
            y[at] = _among_others(meaning, views, row, options)
        except CorruptInput as problem:
            problems.append(problem)
    if len(problems) == len(rows):
        raise problems[0]
    return y


def _among_others(meaning: Meaning, views: Sequence[int], row: int, options: Options) -> np.ndarray:
    """Read a row (views, bins) together with those beside it.

    Line integrals that are all 0 may be a gap in the object, and are kept in a scan, but say
    nothing here.
    """
    wide = range(max(row - 1, 0), min(row + 2, meaning.data.shape[1]))
    lines = read_lines(meaning, views, wide, options)
    return with_rows_between(lines.y.swapaxes(0, 1), lines.silent)[:, row - wide.start]
