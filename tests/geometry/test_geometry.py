"""Units, grids and beams: round trips, and voxels that stay where they are."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusionblend.data.units import MU_WATER, hu_from_x, mu_from_x, x_from_hu
from diffusionblend.errors import CorruptInput, InvalidValue, UnsupportedInput
from diffusionblend.geometry import Geometry, Grid, ParallelBeam, geometry_from_json
from diffusionblend.geometry.acquisitions import limited_angle, parallel_beam, sparse_view
from diffusionblend.projectors import projector
from support.phantoms import beams, placed

GRID = Grid.from_spacing((4, 12, 16), (2.5, 1.4, 1.4))
finite = st.floats(-1e4, 1e4, allow_nan=False)


def test_units_have_air_and_water_where_they_belong():
    assert x_from_hu(np.array([-1000.0, 0.0, 3071.0])).tolist() == [-1.0, 0.0, 3.071]
    assert mu_from_x(np.array([-1.0, 0.0])).tolist() == [0.0, MU_WATER]


@pytest.mark.parametrize("mm", [0.0, -1.0, math.nan, math.inf])
def test_a_voxel_without_a_size_is_refused(mm):
    with pytest.raises(InvalidValue, match=r"spacing_mm is .*; expected positive numbers of mm"):
        Grid.from_spacing((2, 4, 4), (mm, 1.0, 1.0))


def test_voxels_are_as_small_and_as_large_as_the_message_says():
    for mm, beyond in ((1e-9, 0.9e-9), (1e9, 1.1e9)):
        assert placed(parallel_beam, Grid.from_spacing((2, 4, 4), (mm, mm, mm)), (0.0,))
        with pytest.raises(InvalidValue, match=r"expected each within 1e-09 to 1e\+09"):
            placed(parallel_beam, Grid.from_spacing((2, 4, 4), (mm, beyond, beyond)), (0.0,))


def test_what_is_no_beam_has_no_projector():
    with pytest.raises(UnsupportedInput, match="object is not a known kind of beam"):
        projector(GRID, object())


@given(st.floats(-1024, 30000))
def test_units_round_trip_without_a_clip(hu):
    value = np.array(hu)
    assert hu_from_x(x_from_hu(value)) == pytest.approx(hu, abs=1e-9)
    assert hu_from_x(mu_from_x(x_from_hu(value)) / MU_WATER - 1) == pytest.approx(hu, abs=1e-6)


@given(st.lists(finite, min_size=1, max_size=9), st.integers(1, 999), st.floats(0.01, 10))
def test_geometry_survives_json(angles, bins, bin_mm):
    geometry = Geometry(GRID, ParallelBeam(angles_deg=tuple(angles), bins=bins, bin_mm=bin_mm))
    assert geometry_from_json(geometry.to_json()) == geometry
    assert hash(geometry_from_json(geometry.to_json())) == hash(geometry)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"bins":20', '"bins":0'),
        ('"bins":20', '"bins":"many"'),
        ('"bins":20', '"bins":20,"colour":"red"'),
        ('"kind":"parallel"', '"kind":"cone"'),
        ("geometry/1", "geometry/9"),
        ('"bin_mm":1.4', '"bin_mm":-1.4'),
        ('"bin_mm":1.4', '"bin_mm":0'),
        ('"angles_deg":[0.0]', '"angles_deg":[]'),
        ("{", ""),
    ],
)
def test_geometry_refuses_what_cannot_be(old, new):
    text = placed(parallel_beam, GRID, (0.0,)).to_json()
    assert old in text
    with pytest.raises(CorruptInput, match="geometry cannot be used"):
        geometry_from_json(text.replace(old, new, 1))


@pytest.mark.parametrize("name", ["parallel", "flat fan", "cone"])
def test_no_beam_can_be_made_wrong_or_become_so(name):
    beam = beams(GRID)[name].beam
    for wrong in ({"bins": 0}, {"bin_mm": 0.0}, {"offset_mm": math.nan}, {"angles_deg": ()}):
        with pytest.raises(InvalidValue):
            msgspec.structs.replace(beam, **wrong)
    with pytest.raises(AttributeError, match="immutable"):
        beam.bins = 3
    with pytest.raises(TypeError, match="positional"):
        type(beam)(beam.angles_deg, beam.bins, beam.bin_mm)


def test_bins_are_joined_and_not_rows_if_only_they_are_named():
    beam = beams(GRID)["cone"].beam
    assert beam.binned(2).rows == beam.rows
    assert beam.binned(2).bins == beam.bins // 2


def test_angles_are_exactly_those_asked_for():
    assert sparse_view(8) == (0.0, 22.5, 45.0, 67.5, 90.0, 112.5, 135.0, 157.5)
    assert limited_angle(90) == tuple(map(float, range(90)))
    assert parallel_beam(GRID, (0.0, 90.0)).angles == (0.0, math.pi / 2)


def test_the_papers_detector_has_363_bins():
    assert parallel_beam(Grid.from_spacing((1, 256, 256)), (0.0,)).bins == 363


def test_pixels_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match="square"):
        parallel_beam(Grid.from_spacing((1, 8, 8), (1, 1, 2)), (0.0,))


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_parts_and_bins_of_a_grid_stay_in_place(signs):
    """The centre of a block, by the coarse grid, is the mean of its voxels' centres."""
    affine = np.diag([*(np.array(signs) * (0.7, 0.7, 2.5)), 1.0])
    affine[:3, 3] = (10, 20, 30)
    grid = Grid.from_affine((6, 8, 8), affine)

    def centre(g, z, y, x):
        return (np.array(g.affine) @ (x, y, z, 1))[:3]

    coarse = grid.part((2, 0, 4), (4, 8, 4)).binned(2)
    assert coarse.shape == (4, 4, 2)
    assert coarse.spacing_mm == pytest.approx((2.5, 1.4, 1.4))
    block = [centre(grid, 3, y, x) for y in (2, 3) for x in (6, 7)]
    np.testing.assert_allclose(centre(coarse, 1, 1, 1), np.mean(block, axis=0), atol=1e-12)
