"""The grid of a volume: where voxels lie after it is reversed, and when two grids are the same."""

import numpy as np
import pytest

from diffusionblend.errors import InvalidValue
from diffusionblend.geometry import Grid

AFFINE = np.array([[0.7, 0, 0, 10], [0, -0.7, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
GRID = Grid.from_affine((6, 8, 5), AFFINE)


def centre(grid, voxel):
    """Return the centre of a voxel (z, y, x) in mm."""
    return (np.array(grid.affine) @ (*voxel[::-1], 1))[:3]


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_a_reversed_grid_counts_the_same_voxels_from_the_other_end(axes):
    other = GRID.reversed(axes)
    assert other.shape == GRID.shape
    assert other.spacing_mm == pytest.approx(GRID.spacing_mm)
    for voxel in ((0, 0, 0), (1, 2, 3), (5, 7, 4)):
        same = [n - 1 - i if a in axes else i for a, (i, n) in enumerate(zip(voxel, GRID.shape))]  # noqa: B905
        np.testing.assert_allclose(centre(other, same), centre(GRID, voxel), atol=1e-12)


def moved(mm, axis=0):
    affine = AFFINE.copy()
    affine[axis, 3] += mm
    return Grid.from_affine(GRID.shape, affine)


def test_grids_are_the_same_to_a_hundredth_of_their_smallest_voxel():
    assert GRID.close_to(GRID)
    for axis in range(3):
        for sign in (1, -1):
            assert GRID.close_to(moved(sign * 0.0069, axis))
            assert not GRID.close_to(moved(sign * 0.0071, axis))
    assert not GRID.close_to(Grid.from_affine((6, 8, 4), AFFINE))


def test_grids_whose_voxels_differ_in_size_drift_apart_over_the_volume():
    wider = AFFINE.copy()
    wider[2, 2] += 0.0071 / GRID.shape[0]  # at the far end of six slices
    assert not GRID.close_to(Grid.from_affine(GRID.shape, wider))
    wider[2, 2] = AFFINE[2, 2] + 0.0069 / GRID.shape[0]
    assert GRID.close_to(Grid.from_affine(GRID.shape, wider))


def test_pixels_are_square_to_a_thousandth():
    assert Grid.from_spacing((1, 4, 4), (1, 1.0009, 1)).pixel_mm == 1
    with pytest.raises(InvalidValue, match="square"):
        _ = Grid.from_spacing((1, 4, 4), (1, 1.0011, 1)).pixel_mm
    with pytest.raises(InvalidValue, match="spacing_mm"):
        Grid.from_spacing((1, 4, 4), (1, 0, 1))
