"""Means over blocks."""

import numpy as np
import pytest

from diffusionblend.data.arrays import block_means, to_numpy
from diffusionblend.errors import UnsupportedInput


@pytest.mark.parametrize("factors", [(1, 1, 1), (1, 2, 2), (2, 3, 4), (9, 1, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_block_has_its_mean_and_what_is_left_over_is_dropped(
    factors: tuple[int, int, int], dtype: type
) -> None:
    values = np.random.default_rng(0).normal(size=(5, 7, 12)).astype(dtype)
    means = block_means(values, *factors)
    sides = [min(pair) for pair in zip(values.shape, factors, strict=True)]
    assert means.dtype == dtype
    assert means.shape == tuple(n // side for n, side in zip(values.shape, sides, strict=True))
    for at in np.ndindex(means.shape):
        block = tuple(slice(i * side, (i + 1) * side) for i, side in zip(at, sides, strict=True))
        assert means[at] == pytest.approx(values[block].mean(dtype=np.float64), abs=1e-6)


def test_a_constant_stays_what_it_is() -> None:
    np.testing.assert_array_equal(
        block_means(np.full((4, 6), 0.1, np.float32), 2, 3), np.float32(0.1)
    )


def test_what_lies_under_a_mask_is_not_taken_for_a_value() -> None:
    values = np.ma.masked_less(np.array([-3000.0, 0.0, 40.0]), -1000)
    with pytest.raises(UnsupportedInput, match="some values are masked; fill them first"):
        to_numpy(values)
    np.testing.assert_array_equal(to_numpy(values.filled(-1000)), [-1000, 0, 40])
    np.testing.assert_array_equal(to_numpy(np.ma.masked_array([1.0, 2.0])), [1, 2])
