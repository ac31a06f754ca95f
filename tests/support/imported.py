"""What an imported scan has to be."""

import numpy as np
import pytest

from diffusionblend.io.projections.options import Options
from support.measured import (
    PARALLEL,
    lines,
)


def assert_is(scan, geometry=PARALLEL, atol=1e-5):
    """The scan holds the line integrals, and rays lie where they were measured."""
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines(geometry), atol=atol)
    assert type(scan.geometry.beam) is type(geometry.beam)
    assert scan.geometry.beam.angles_deg == pytest.approx(geometry.beam.angles_deg)
    found, expected = (g.beam.positions_mm() for g in (scan.geometry, geometry))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def stated(**more):
    """Return options for a source that says nothing of its place but by them."""
    middle = (PARALLEL.beam.bins - 1) / 2 - PARALLEL.beam.offset_mm / PARALLEL.beam.bin_mm
    return Options(**{"bin_mm": 1.0, "row_mm": 1.5, "centre": str(middle)} | more)
