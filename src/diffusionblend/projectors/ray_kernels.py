"""The loops of the projector of rays in a slice, compiled by numba.

A ray is taken step by step, one pixel along the axis that it is more aligned with. At step k it
crosses the other axis at ray[FIRST] + k ray[SLOPE], in pixels from the first, and each step is
ray[LENGTH] pixels long. Steps from ray[BEGIN] to ray[END] are those that may be in the slice.

Pixels hold some slices each, that go through together: as many as there are `lanes`. All rays go
through some planes before any goes further, so that the cache holds their pixels. Calls for
different rays (or planes) never write to the same place: threads may share the work, and each sum
is taken in the same order whatever their number, and whatever that of the lanes.
"""

import math

import numpy as np

from diffusionblend.projectors.compiled import compiled
from diffusionblend.projectors.lanes import add_scaled

ALONG_ROWS, FIRST, SLOPE, LENGTH, BEGIN, END = range(6)
_TILE = 32  # planes; 16 and 64 take as long


@compiled
def _axes(shape: tuple[int, ...], along_rows: bool) -> tuple[int, int, int]:
    """Return the pixels across a ray, and how far apart those of its steps and these are."""
    rows, columns = shape[0], shape[1] - 1  # the last one is not of the slice
    return (columns, columns + 1, 1) if along_rows else (rows, 1, columns + 1)


@compiled
def _beside(ray: np.ndarray, k: int, across: int) -> tuple[int, int, float, float]:
    """Return the two pixels beside a ray at step k and their weights, 0 outside the slice."""
    crossing = ray[FIRST] + k * ray[SLOPE]
    left = math.floor(crossing)
    share = crossing - left
    left_weight = (1 - share) * ray[LENGTH] if 0 <= left < across else 0.0
    right_weight = share * ray[LENGTH] if -1 <= left < across - 1 else 0.0
    last = across - 1
    return min(max(left, 0), last), min(max(left + 1, 0), last), left_weight, right_weight


@compiled
def project(
    u: np.ndarray,
    rays: np.ndarray,
    y: np.ndarray,
    lanes: tuple[int, ...],
    start: int,
    stop: int,
) -> None:
    """Sum slices along some rays.

    Args:
        u: Values (rows, columns + 1, lanes), of which the last column counts for nothing.
        rays: What is known of each ray (rays, 6).
        y: Is added to (rays, lanes).
        lanes: `FEW` or `MANY`.
        start: The first ray to do.
        stop: The ray to stop before.
    """
    pixels, sums, n = u.reshape(-1), y.reshape(-1), len(lanes)
    real = u.dtype.type
    for first in range(0, max(u.shape[0], u.shape[1]), _TILE):
        for index in range(start, stop):
            ray = rays[index]
            across, by_step, by_pixel = _axes(u.shape, ray[ALONG_ROWS] > 0)
            for k in range(max(first, int(ray[BEGIN])), min(first + _TILE, int(ray[END]))):
                left, right, left_weight, right_weight = _beside(ray, k, across)
                low, high = k * by_step + left * by_pixel, k * by_step + right * by_pixel
                add_scaled(sums, index * n, pixels, low * n, real(left_weight), lanes)
                add_scaled(sums, index * n, pixels, high * n, real(right_weight), lanes)


@compiled
def back_project(
    y: np.ndarray,
    rays: np.ndarray,
    u: np.ndarray,
    lanes: tuple[int, ...],
    along_rows: bool,
    start: int,
    stop: int,
) -> None:
    """Spread line integrals over some planes: the adjoint of `project`.

    Args:
        y: Line integrals (rays, lanes).
        rays: What is known of each ray (rays, 6).
        u: Is added to (rows, columns + 1, lanes).
        lanes: `FEW` or `MANY`.
        along_rows: Whether to take the rays that step along rows or the others.
        start: The first plane to do: a row of the slices, or a column.
        stop: The plane to stop before.
    """
    pixels, lines, n = u.reshape(-1), y.reshape(-1), len(lanes)
    real = u.dtype.type
    across, by_step, by_pixel = _axes(u.shape, along_rows)
    for first in range(start, stop, _TILE):
        end = min(first + _TILE, stop)
        for index in range(len(rays)):
            ray = rays[index]
            if (ray[ALONG_ROWS] > 0) != along_rows:
                continue
            for k in range(max(first, int(ray[BEGIN])), min(end, int(ray[END]))):
                left, right, left_weight, right_weight = _beside(ray, k, across)
                low, high = k * by_step + left * by_pixel, k * by_step + right * by_pixel
                add_scaled(pixels, low * n, lines, index * n, real(left_weight), lanes)
                add_scaled(pixels, high * n, lines, index * n, real(right_weight), lanes)
