"""Which slices the quality record looks at closely."""

import pytest

from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.quality.subset import subset_indices, subset_size


def geometry(size, views):
    grid = Grid.from_spacing((1, size, size))
    return Geometry(grid, parallel_beam(grid, sparse_view(views)))


@pytest.mark.parametrize(
    ("size", "views", "slices", "count"),
    [
        (256, 8, 500, 12),
        (512, 60, 500, 12),
        (512, 180, 500, 4),
        (2048, 180, 500, 3),
        (2048, 180, 2, 2),
        (256, 8, 9, 9),
    ],
)
def test_as_many_as_take_little_of_the_time(size, views, slices, count):
    assert subset_size(geometry(size, views), slices) == count
    at = subset_indices(geometry(size, views), slices).tolist()
    assert len(set(at)) == count
    assert 0 <= min(at) <= max(at) < slices


def test_of_a_few_none_is_at_the_ends():
    at = subset_indices(geometry(2048, 180), 500).tolist()
    assert at == [125, 250, 374]
    assert subset_indices(geometry(256, 8), 500).tolist()[::11] == [0, 499]
