"""Flat materials: how much of a picture's contrast three values leave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusionblend.quality.materials import left_by_three

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "left"),
    [
        (np.repeat([-1000.0, 0.0], [7, 3]), 0.0),
        (np.repeat([-1000.0, 300.0, 2000.0], [70, 29, 1]), 0.0),
        (np.linspace(-1, 1, 100_001), 1 / 9),  # three parts, each a third as wide
        (RNG.normal(size=1_000_000), 0.1902),  # Max, IRE Transactions on Information Theory 1960
        (np.zeros(9), 1.0),
    ],
    ids=["two", "three", "even", "normal", "nothing"],
)
def test_it_is_what_the_best_three_values_leave(values, left):
    assert left_by_three(values) == pytest.approx(left, abs=1e-3)


@given(scale=st.floats(0.01, 1e4), shift=st.floats(-1e4, 1e4))
def test_it_does_not_depend_on_the_unit(scale, shift):
    values = np.concatenate([np.zeros(500), RNG.uniform(0.8, 1.2, 300), RNG.uniform(2, 4, 100)])
    assert left_by_three(scale * values + shift) == pytest.approx(left_by_three(values), rel=0.02)
