"""The loops of the cone beam's projector, compiled by numba.

All rays of a detector column lie above one line in the plane of the slices, so that what is
interpolated in the plane serves all of them. The line is taken step by step, one pixel along the
axis that it is more aligned with. At step k it is

    minor = line[MINOR] + k line[MINOR_STEP]     on the other axis, in pixels from the first
    depth = line[DEPTH] + k line[DEPTH_STEP]     from the source, along the central ray

and its ray to row r is at slice middle + (first + r row) depth. All steps count as 1 here: their
length, the same along a ray, is the caller's to multiply by.

Slices are last in memory. A column of them is padded by a zero below and two above, so that no
neighbour needs a question. Calls for different lines (or planes) never write to the same place:
threads may share the work, and each sum is taken in the same order whatever their number.
"""

import math
from typing import Any

import numpy as np

from diffusionblend.projectors.compiled import compiled

ALONG_ROWS, MINOR, MINOR_STEP, DEPTH, DEPTH_STEP = range(5)


@compiled
def _axes(shape: tuple[int, ...], along_rows: bool) -> tuple[int, int, int, int]:
    """Return the steps of a line, the pixels across, and how far apart each are in memory."""
    rows, columns = shape[0], shape[1]
    return (rows, columns, columns, 1) if along_rows else (columns, rows, 1, columns)


@compiled
def _beside(line: np.ndarray, k: int, across: int) -> tuple[int, int, float, float]:
    """Return the two pixels beside a line at step k and their shares, 0 outside the slice."""
    minor = line[MINOR] + k * line[MINOR_STEP]
    left = math.floor(minor)
    share = minor - left
    left_share = 1 - share if 0 <= left < across else 0.0
    right_share = share if -1 <= left < across - 1 else 0.0
    last = across - 1
    return min(max(left, 0), last), min(max(left + 1, 0), last), left_share, right_share


@compiled
def _met(column: np.ndarray, rows: np.ndarray, depth: float) -> tuple[int, int, Any, Any]:
    """Return which rows meet a padded column, where the first of them does, and the step on."""
    top = len(column) - 2
    z, step = rows[0] * depth + rows[2] + 1, rows[1] * depth
    first, end = max(0, math.ceil(-z / step)), math.ceil((top - z) / step)
    real = column.dtype.type  # only now: rows far away would lose their digits
    return first, end, real(z + first * step), real(step)


@compiled
def _sample(column: np.ndarray, rows: np.ndarray, depth: float, sums: np.ndarray) -> None:
    """Add a padded column, interpolated at each row's height, to the rows' sums."""
    first, end, start, step = _met(column, rows, depth)
    for r in range(first, min(end, len(sums))):
        z = start + column.dtype.type(r - first) * step
        i = np.uint32(z)
        share = z - column.dtype.type(i)
        sums[r] += column[i] + share * (column[i + np.uint32(1)] - column[i])


@compiled
def _spread(values: np.ndarray, rows: np.ndarray, depth: float, column: np.ndarray) -> None:
    """Make a padded column of what each row's value leaves: the adjoint of `_sample`."""
    first, end, start, step = _met(column, rows, depth)
    column[:] = 0
    for r in range(first, min(end, len(values))):
        z = start + column.dtype.type(r - first) * step
        i = np.uint32(z)
        upper = (z - column.dtype.type(i)) * values[r]
        column[i] += values[r] - upper
        column[i + np.uint32(1)] += upper


@compiled
def project(
    volume: np.ndarray, lines: np.ndarray, rows: np.ndarray, y: np.ndarray, start: int, stop: int
) -> None:
    """Sum a volume along the rays of some lines.

    Args:
        volume: Values (rows, columns, slices).
        lines: What is known of each line (lines, 5).
        rows: `first` and `row` of the detector's rows, and the `middle` of the slices.
        y: Is filled (lines, detector rows).
        start: The first line to do.
        stop: The line to stop before.
    """
    slices = volume.shape[2]
    pixels = volume.reshape(-1, slices)
    column = np.zeros(slices + 3, volume.dtype)
    for index in range(start, stop):
        line = lines[index]
        steps, across, by_step, by_pixel = _axes(volume.shape, line[ALONG_ROWS] > 0)
        y[index] = 0
        for k in range(steps):
            left, right, left_share, right_share = _beside(line, k, across)
            depth = line[DEPTH] + k * line[DEPTH_STEP]
            if left_share + right_share > 0 and depth > 0:
                a, b = column.dtype.type(left_share), column.dtype.type(right_share)
                low = pixels[k * by_step + left * by_pixel]
                high = pixels[k * by_step + right * by_pixel]
                for z in range(slices):
                    column[z + 1] = a * low[z] + b * high[z]
                _sample(column, rows, depth, y[index])


@compiled
def back_project(
    y: np.ndarray,
    lines: np.ndarray,
    rows: np.ndarray,
    volume: np.ndarray,
    along_rows: bool,
    start: int,
    stop: int,
) -> None:
    """Spread line integrals over some planes: the adjoint of `project`.

    Args:
        y: Line integrals (lines, detector rows).
        lines: What is known of each line (lines, 5).
        rows: `first` and `row` of the detector's rows, and the `middle` of the slices.
        volume: Is added to (rows, columns, slices).
        along_rows: Whether to take the lines that step along rows or the others.
        start: The first plane to do: a row of the volume, or a column.
        stop: The plane to stop before.
    """
    slices = volume.shape[2]
    pixels = volume.reshape(-1, slices)
    column = np.zeros(slices + 3, volume.dtype)
    _, across, by_step, by_pixel = _axes(volume.shape, along_rows)
    for k in range(start, stop):
        for index in range(len(lines)):
            line = lines[index]
            left, right, left_share, right_share = _beside(line, k, across)
            depth = line[DEPTH] + k * line[DEPTH_STEP]
            mine = (line[ALONG_ROWS] > 0) == along_rows
            if mine and left_share + right_share > 0 and depth > 0:
                _spread(y[index], rows, depth, column)
                a, b = column.dtype.type(left_share), column.dtype.type(right_share)
                low = pixels[k * by_step + left * by_pixel]
                high = pixels[k * by_step + right * by_pixel]
                for z in range(slices):
                    low[z] += a * column[z + 1]
                for z in range(slices):
                    high[z] += b * column[z + 1]
