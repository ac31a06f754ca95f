"""The loops of the projector of posed beams, compiled by numba.

A view is six vectors in voxels (row, column, slice): a point of the ray to pixel (0, 0), how far it
moves from bin to bin and from row to row, and the same of the ray's direction. A ray is taken plane
by plane along the axis of the volume that it crosses fastest. At plane k it crosses the other two
at first + k slope, whose slopes are 1 at most, and is interpolated between four voxels.

The volume has two more voxels at each end, which count for nothing, so that no neighbour needs a
question. Calls for different lines (or planes) never write to the same place: threads may share the
work, and each sum is taken in the same order whatever their number.
"""

import math

import numpy as np

from diffusionblend.projectors.compiled import compiled

PAD = 2
"""Voxels around the volume."""
Ray = tuple[int, int, int, float, float, float, float, float]


@compiled
def _axis(x: float, y: float, z: float) -> int:
    """Return along which axis a ray crosses most voxels."""
    x, y, z = abs(x), abs(y), abs(z)
    if x >= y and x >= z:
        return 0
    return 1 if y >= z else 2


@compiled
def _within(low: float, high: float, first: float, slope: float, count: int) -> tuple[float, float]:
    """Return the planes from `low` to `high` in which a ray is less than a voxel outside."""
    if slope == 0:
        return (low, high) if -1 < first < count else (1.0, 0.0)
    one, other = (-1 - first) / slope, (count - first) / slope
    return max(low, min(one, other)), min(high, max(one, other))


@compiled
def _ray(
    view: np.ndarray, b: int, r: int, counts: np.ndarray, sizes: np.ndarray, diverges: bool
) -> Ray:
    """Return the axis of a ray, its planes from one to before another, where it crosses them.

    Returns:
        Axis, begin, end, first and slope on the next axis and on the one after, and the length of
        a step in pixels.
    """
    q0 = view[3, 0] + b * view[4, 0] + r * view[5, 0]
    q1 = view[3, 1] + b * view[4, 1] + r * view[5, 1]
    q2 = view[3, 2] + b * view[4, 2] + r * view[5, 2]
    p0 = view[0, 0] + b * view[1, 0] + r * view[2, 0]
    p1 = view[0, 1] + b * view[1, 1] + r * view[2, 1]
    p2 = view[0, 2] + b * view[1, 2] + r * view[2, 2]
    axis = _axis(q0, q1, q2)
    length = math.sqrt((q0 * sizes[0]) ** 2 + (q1 * sizes[1]) ** 2 + (q2 * sizes[2]) ** 2)
    if axis == 0:
        major, i, j, at, at_i, at_j, ni, nj = q0, q1, q2, p0, p1, p2, counts[1], counts[2]
    elif axis == 1:
        major, i, j, at, at_i, at_j, ni, nj = q1, q0, q2, p1, p0, p2, counts[0], counts[2]
    else:
        major, i, j, at, at_i, at_j, ni, nj = q2, q0, q1, p2, p0, p1, counts[0], counts[1]
    slope_i, slope_j = i / major, j / major
    first_i, first_j = at_i - at * slope_i, at_j - at * slope_j
    low, high = 0.0, float(counts[axis])
    if diverges and major > 0:
        low = max(low, at)
    elif diverges:
        high = min(high, at)
    low, high = _within(low, high, first_i, slope_i, ni)
    low, high = _within(low, high, first_j, slope_j, nj)
    if not low < high:
        return axis, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0
    step = length / abs(major)
    return axis, math.ceil(low), math.ceil(high), first_i, slope_i, first_j, slope_j, step


@compiled
def _strides(counts: np.ndarray, axis: int) -> tuple[int, int, int]:
    """Return how far apart planes, and voxels of the other two axes, are in the padded volume."""
    column = counts[2] + 2 * PAD
    row = (counts[1] + 2 * PAD) * column
    if axis == 0:
        return row, column, 1
    return (column, row, 1) if axis == 1 else (1, row, column)


@compiled
def axes_of(
    views: np.ndarray, bins: int, rows: int, seen: np.ndarray, start: int, stop: int
) -> None:
    """Find along which axes the rays of some views run.

    Args:
        views: The views (views, 6, 3).
        bins: Number of bins.
        rows: Number of rows.
        seen: Is set to 1 where a ray runs along an axis (views, 3).
        start: The first view.
        stop: The view to stop before.
    """
    for v in range(start, stop):
        view = views[v]
        for b in range(bins):
            for r in range(rows):
                x = view[3, 0] + b * view[4, 0] + r * view[5, 0]
                y = view[3, 1] + b * view[4, 1] + r * view[5, 1]
                z = view[3, 2] + b * view[4, 2] + r * view[5, 2]
                seen[v, _axis(x, y, z)] = 1


@compiled
def project(
    volume: np.ndarray,
    counts: np.ndarray,
    views: np.ndarray,
    sizes: np.ndarray,
    diverges: bool,
    y: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Sum a volume along the rays of some lines, which are the bins of all views.

    Args:
        volume: Values, padded, flat.
        counts: Rows, columns and slices of the volume.
        views: The views (views, 6, 3).
        sizes: Of a voxel along each axis, in pixels.
        diverges: Whether a ray begins at its point, or has no end.
        y: Is filled (lines, detector rows).
        start: The first line to do.
        stop: The line to stop before.
    """
    real = volume.dtype.type
    bins = len(y) // len(views)
    for line in range(start, stop):
        view, b = views[line // bins], line % bins
        for r in range(y.shape[1]):
            axis, begin, end, i, di, j, dj, step = _ray(view, b, r, counts, sizes, diverges)
            by_plane, by_i, by_j = _strides(counts, axis)
            total = real(0)
            for k in range(begin, end):
                at_i, at_j = i + k * di, j + k * dj
                left, low = math.floor(at_i), math.floor(at_j)
                a, c = real(at_i - left), real(at_j - low)
                at = (k + PAD) * by_plane + (left + PAD) * by_i + (low + PAD) * by_j
                one = volume[at] + c * (volume[at + by_j] - volume[at])
                at += by_i
                other = volume[at] + c * (volume[at + by_j] - volume[at])
                total += one + a * (other - one)
            y[line, r] = total * real(step)


@compiled
def back_project(
    y: np.ndarray,
    counts: np.ndarray,
    views: np.ndarray,
    sizes: np.ndarray,
    diverges: bool,
    seen: np.ndarray,
    volume: np.ndarray,
    axis: int,
    start: int,
    stop: int,
) -> None:
    """Spread line integrals over some planes: the adjoint of `project`.

    Args:
        y: Line integrals (lines, detector rows).
        counts: Rows, columns and slices of the volume.
        views: The views (views, 6, 3).
        sizes: Of a voxel along each axis, in pixels.
        diverges: Whether a ray begins at its point, or has no end.
        seen: Whether a ray of a view runs along an axis (views, 3).
        volume: Is added to: values, padded, flat.
        axis: Of the volume, of which to take the planes, and the rays along it.
        start: The first plane to do.
        stop: The plane to stop before.
    """
    real = volume.dtype.type
    bins = len(y) // len(views)
    by_plane, by_i, by_j = _strides(counts, axis)
    for line in range(len(y)):
        v, b = line // bins, line % bins
        if not seen[v, axis]:
            continue
        for r in range(y.shape[1]):
            along, begin, end, i, di, j, dj, step = _ray(views[v], b, r, counts, sizes, diverges)
            if along != axis:
                continue
            value = y[line, r] * real(step)
            for k in range(max(begin, start), min(end, stop)):
                at_i, at_j = i + k * di, j + k * dj
                left, low = math.floor(at_i), math.floor(at_j)
                a, c = real(at_i - left), real(at_j - low)
                at = (k + PAD) * by_plane + (left + PAD) * by_i + (low + PAD) * by_j
                other = a * value
                one = value - other
                volume[at] += one - c * one
                volume[at + by_j] += c * one
                at += by_i
                volume[at] += other - c * other
                volume[at + by_j] += c * other
