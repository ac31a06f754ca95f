"""Posed beams: adjoints, the cone that they are when upright, line integrals in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionblend.errors import InvalidValue, UnsupportedInput
from diffusionblend.geometry import Geometry, Grid, Pose, PosedBeam, geometry_from_json
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam
from diffusionblend.geometry.poses import (
    as_posed,
    helix,
    laminography,
    pose_in_words,
    posed,
    turns_deg,
)
from diffusionblend.machine.device import threads
from diffusionblend.projectors import projector
from support.adjoints import TOLERANCE, mismatch
from support.phantoms import Ellipsoid, blob, changed, placed, relative
from support.posed import POSED, jittered
from support.projected import noise

GRID = Grid.from_spacing((7, 20, 26), (2.2, 1.4, 1.4))
VIEWS = (0.0, 45.0, 100.0, 215.0)
CONE = changed(
    placed(cone_beam, GRID, VIEWS, sod_mm=60, sdd_mm=100),
    offset_mm=3.0, row_offset_mm=-4.0, axis_mm=2.0,
)  # fmt: skip
PARALLEL = changed(placed(parallel_beam, GRID, VIEWS), offset_mm=3.0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", POSED)
def test_adjoint(name, dtype):
    A = projector(GRID, POSED[name](CONE.beam), dtype=dtype)
    assert mismatch(A, dtype) < TOLERANCE[dtype]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_adjoint_of_any_pose(data):
    def draw(low, high):
        return data.draw(st.floats(low, high))

    shape = data.draw(st.tuples(*3 * [st.integers(1, 9)]))
    grid = Grid.from_spacing(shape, (draw(0.3, 4), 1.0, 1.0))
    sod = np.hypot(*shape[1:]) / 2 + draw(1e-3, 50)
    cone = placed(cone_beam, grid, (draw(-720, 720), 0.0), sod_mm=sod, sdd_mm=sod + draw(0, 50))
    turned = posed(
        changed(cone, rows=data.draw(st.integers(1, 20)), bins=9, bin_mm=draw(0.5, 3)).beam,
        roll_deg=draw(-45, 45),
        tilt_deg=draw(-45, 45),
        slant_deg=draw(-45, 45),
        detector_shifts_mm=[[draw(-5, 5), draw(-5, 5)] for _ in "ab"],
    )
    A = projector(grid, helix(turned, draw(-90, 90)), dtype=torch.float64)
    x, y = noise(A.volume_shape), noise(A.sinogram_shape, seed=1)
    assert float(abs((A(x) * y).sum() - (x * A.T(y)).sum())) < 1e-9


def test_an_upright_one_is_the_cone():
    x = noise(GRID.shape)
    ours = projector(GRID, as_posed(CONE.beam), dtype=torch.float64)
    cone = projector(*CONE, dtype=torch.float64)
    torch.testing.assert_close(ours(x), cone(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.T(cone(x)), cone.T(cone(x)), rtol=0, atol=1e-11)


def test_an_upright_one_of_parallel_rays_is_the_parallel_beam():
    """Its rows lie on the slices, so that each sees one."""
    x = noise(GRID.shape)
    beam = as_posed(PARALLEL.beam, rows=GRID.shape[0], row_mm=GRID.spacing_mm[0])
    ours = projector(GRID, beam, dtype=torch.float64)(x)
    torch.testing.assert_close(
        ours, projector(*PARALLEL, dtype=torch.float64)(x), rtol=0, atol=1e-12
    )


def test_an_upright_fan_is_a_fan_of_one_row():
    grid = Grid.from_spacing((1, 20, 26), (2.2, 1.4, 1.4))
    fan = changed(placed(fan_beam, grid, VIEWS, sod_mm=60, sdd_mm=100), offset_mm=3.0, axis_mm=2.0)
    x = noise(grid.shape)
    ours = projector(grid, as_posed(fan.beam), dtype=torch.float64)(x)
    torch.testing.assert_close(ours, projector(*fan, dtype=torch.float64)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", POSED)
def test_line_integrals_of_an_ellipsoid_are_its_chords(name):
    """Whose rays are made here from the pose of each view, turned by its angle."""
    grid = Grid.from_spacing((40, 48, 44), (1.0, 1.0, 1.0))
    ball = Ellipsoid((3.0, -4.0, 2.0), (11.0, 9.0, 10.0))
    cone = cone_beam(grid, VIEWS, sod_mm=100, sdd_mm=150)
    beam = POSED[name](cone)
    expected = ball.chords(Geometry(grid, beam))
    y = np.asarray(projector(grid, beam)(torch.from_numpy(ball.image(grid)))) * grid.pixel_mm
    inside = expected > 8  # away from its edge, which voxels blur
    assert inside.any((0, 2)).all()
    assert relative(y[inside], expected[inside]) < 0.015
    assert not y[expected == 0].max() > 4


@pytest.mark.parametrize("name", POSED)
def test_a_point_falls_where_its_shadow_is_said_to_fall(name):
    grid = Grid.from_spacing((20, 32, 36), (2.2, 1.4, 1.4))
    beam = POSED[name](cone_beam(grid, VIEWS, sod_mm=150, sdd_mm=260))
    point = (6.0, -5.0, 4.0)
    y = np.asarray(projector(grid, beam)(torch.from_numpy(blob(grid, point))))
    for view in range(len(VIEWS)):
        seen = y[:, view] / y[:, view].sum()
        s, t = beam.shadow(*point, view)
        assert seen.sum(0) @ beam.positions_mm() == pytest.approx(s, abs=0.1 * beam.bin_mm)
        assert seen.sum(1) @ beam.row_positions_mm() == pytest.approx(t, abs=0.1 * beam.row_mm)
        shadows = beam.shadow(torch.tensor([point[0]]), torch.tensor([point[1]]), 4.0, view)
        assert float(shadows[0]) == pytest.approx(s, rel=1e-4)


def test_rays_that_rise_steeply_go_slice_by_slice():
    """A layer that rays cross at 75 degrees is as thick in them as its height over their sine."""
    grid = Grid.from_spacing((30, 30, 30))
    beam = laminography(parallel_beam(grid, (0.0, 70.0)), 75, rows=1, row_mm=1.0)
    layer = torch.zeros(grid.shape)
    layer[10:20] = 1
    y = projector(grid, beam)(layer)
    middle = beam.bins // 2
    assert float(y[0, 0, middle]) == pytest.approx(10 / np.sin(np.radians(75)), rel=1e-5)


def test_any_number_of_threads_gives_the_same_bytes():
    A = projector(GRID, POSED["turned"](CONE.beam))
    x, y = noise(A.volume_shape, torch.float32), noise(A.sinogram_shape, torch.float32)
    ax, aty = A(x), A.T(y)
    assert torch.equal(A(x.permute(1, 2, 0).contiguous().permute(2, 0, 1)), ax)
    for number in (1, 3, 40):
        with threads(number):
            assert torch.equal(A(x), ax)
            assert torch.equal(A.T(y), aty)


@pytest.mark.parametrize("far", [1e6, -1e9, 1e18, -1e30])
@pytest.mark.parametrize("name", ["offset_mm", "row_offset_mm"])
def test_what_is_far_beside_the_volume_sees_nothing_of_it(name, far):
    A = projector(*changed(Geometry(GRID, POSED["turned"](CONE.beam)), **{name: far}))
    assert not A(torch.ones(A.volume_shape)).any()
    assert not A.T(torch.ones(A.sinogram_shape)).any()


@pytest.mark.filterwarnings("ignore:Importing from 'diffct:DeprecationWarning")
@pytest.mark.parametrize("name", POSED)
def test_diffct_agrees_with_our_own(name):
    """On what is smooth: Siddon's voxels have edges, Joseph's have none."""
    pytest.importorskip("diffct")
    from diffusionblend.projectors.diffct import DiffctProjector

    grid = Grid.from_spacing((20, 32, 36), (2.2, 1.4, 1.4))
    geometry = Geometry(
        grid, POSED[name](cone_beam(grid, (0.0, 33.0, 200.0), sod_mm=60, sdd_mm=100))
    )
    x = torch.from_numpy(blob(grid, (4.0, -5.0, 1.0), sigma=3))
    assert relative(DiffctProjector(geometry, device="cpu")(x), projector(*geometry)(x)) < 0.08


# Poses


def test_angles_of_the_detector_are_those_that_were_given():
    beam = posed(CONE.beam, roll_deg=3, tilt_deg=-5, slant_deg=(1, 2, 3, 4))
    np.testing.assert_allclose(turns_deg(beam), [(3, -5, s) for s in (1, 2, 3, 4)], atol=1e-9)
    assert "roll 3 degrees, tilt -5 degrees, slant 1 to 4 degrees" in pose_in_words(beam)
    assert pose_in_words(as_posed(CONE.beam)) == "upright"
    assert "rises" not in pose_in_words(as_posed(CONE.beam))
    assert pose_in_words(laminography(CONE.beam, 30)) == "rays rise by 30 degrees"
    assert "moves along the axis by 11.94 mm" in pose_in_words(helix(CONE.beam, 20))


def test_what_turns_mean():
    """As the page has it: bins rise, rows lean back, the last bin is farther away."""
    roll, tilt, slant = (
        posed(CONE.beam, **{f"{name}_deg": 10}).poses[0] for name in ("roll", "tilt", "slant")
    )
    assert roll.along[2] > 0 == roll.along[1]
    assert tilt.up[1] > 0 == tilt.up[0]
    assert slant.along[1] > 0 == slant.along[2]


@pytest.mark.parametrize("name", POSED)
def test_json_there_and_back(name):
    geometry = Geometry(GRID, POSED[name](CONE.beam))
    assert geometry_from_json(geometry.to_json()) == geometry


def test_views_and_detectors_that_are_chosen_keep_their_rays():
    beam = helix(posed(CONE.beam, roll_deg=4, detector_shifts_mm=[(v, 0) for v in range(4)]), 30)
    points, rays = beam.rays(2, range(beam.rows))
    for some in (beam.views([2]), beam.views([0, 2])):
        again = some.rays(len(some.angles_deg) - 1, range(beam.rows))
        np.testing.assert_array_equal(again, (points, rays))
    joined = beam.binned(2, 2)
    mean = rays[: joined.rows * 2, : joined.bins * 2]
    mean = mean.reshape(joined.rows, 2, joined.bins, 2, 3).mean((1, 3))
    np.testing.assert_allclose(joined.rays(2, range(joined.rows))[1], mean, atol=1e-9)
    np.testing.assert_allclose(beam.padded(3, 1).rays(2, [0])[1][:, 3:-1], rays[:1], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"poses": ()}, "0 poses for 4 views"),
        ({"rows": 0}, "0 rows"),
        ({"poses": (Pose((0, -60, 0), (0, 40, 0), (2.0, 0, 0)),)}, "lengths 2 and 1"),
        ({"poses": (Pose((0, -60, 0), (0, 40, 0), (0, 0, 1.0)),)}, "are in one plane"),
        ({"poses": (Pose((0, -60, 0), (0, np.nan, 0)),)}, "has NaN or infinity"),
        ({"poses": (Pose((0, -5, 0), (0, 40, 0)),)}, "inside the slices"),
    ],
)
def test_poses_that_cannot_be_are_refused(changes, words):
    with pytest.raises(InvalidValue, match=words):
        changed(Geometry(GRID, as_posed(CONE.beam)), **changes)


def test_a_source_above_the_slices_is_outside():
    beam = laminography(CONE.beam, 80)
    assert beam.source_mm < GRID.radius_mm
    Geometry(GRID, beam)


def test_a_posed_detector_is_turned_further():
    """In its own plane rolls add up; each view keeps its place."""
    once, twice = posed(CONE.beam, roll_deg=5), posed(posed(CONE.beam, roll_deg=2), roll_deg=3)
    np.testing.assert_allclose(twice.vectors(), once.vectors(), atol=1e-9)
    moved = jittered(CONE.beam)
    np.testing.assert_allclose(posed(moved).vectors(), moved.vectors(), atol=1e-9)
    tilted = posed(CONE.beam, tilt_deg=20, slant_deg=-5)
    normal = [np.cross(up, along) for _, _, along, up in zip(*tilted.vectors(), strict=True)]
    again = posed(tilted, roll_deg=30)
    kept = [np.cross(up, along) for _, _, along, up in zip(*again.vectors(), strict=True)]
    np.testing.assert_allclose(kept, normal, atol=1e-9)


def test_a_helix_rises_by_its_pitch_in_a_turn_about_the_middle_of_the_angles():
    """Source and detector by the same, and nothing else moves."""
    circle, beam = as_posed(CONE.beam), helix(CONE.beam, 36.0)
    rise = [0.1 * (angle - (VIEWS[0] + VIEWS[-1]) / 2) for angle in VIEWS]
    for before, after in zip(circle.vectors()[:2], beam.vectors()[:2], strict=True):
        moved = [(0, 0, height) for height in rise]
        np.testing.assert_allclose(after - before, moved, atol=1e-9)
    np.testing.assert_allclose(beam.vectors()[2:], circle.vectors()[2:], atol=1e-9)


def test_what_says_nothing_of_rows_has_one_of_a_millimetre():
    beam = posed(PARALLEL.beam, roll_deg=1)
    assert (beam.rows, beam.row_mm) == (1, 1.0)
    assert as_posed(PARALLEL.beam).rows == laminography(PARALLEL.beam, 10).rows == 1


def test_bins_are_joined_without_rows():
    coarse = posed(CONE.beam, roll_deg=1).binned(2)
    assert (coarse.rows, coarse.row_mm) == (CONE.beam.rows, CONE.beam.row_mm)


def test_lines_of_a_detector_that_is_rolled_are_those_of_its_middle_row():
    """Which runs through the point that s and t count from, and looks shorter from above."""
    beam = posed(PARALLEL.beam, roll_deg=30, rows=9, row_mm=2.0)
    for view, angle in enumerate(VIEWS):
        phi, s = beam.lines(view)
        expected = np.exp(1j * np.radians(angle)) * beam.positions_mm() * np.cos(np.radians(30))
        np.testing.assert_allclose(s * np.exp(1j * phi), expected, atol=1e-9)


@pytest.mark.parametrize("geometry", [CONE, PARALLEL])
def test_the_nearest_upright_beam_is_what_was_posed(geometry):
    """And a view's lines, seen along the axis, are the same lines."""
    beam = geometry.beam
    turned = as_posed(beam, rows=5, row_mm=1.0)
    for field in beam.__struct_fields__:
        expected = pytest.approx(getattr(beam, field), abs=1e-9)
        assert getattr(turned.nearest, field) == expected, field
    for view in range(len(VIEWS)):
        for found, expected in zip(turned.lines(view), beam.lines(view), strict=True):
            assert np.exp(1j * found) == pytest.approx(np.exp(1j * expected), abs=1e-9)


def test_what_cannot_be_posed_is_told():
    curved = changed(placed(fan_beam, GRID, VIEWS, sod_mm=60, sdd_mm=100), detector="curved").beam
    with pytest.raises(UnsupportedInput, match="a fan beam on a curved detector has no poses"):
        posed(curved)
    with pytest.raises(InvalidValue, match="a roll of 90 degrees; expected -45 to 45"):
        posed(CONE.beam, roll_deg=90)
    with pytest.raises(InvalidValue, match="2 angles of tilt for 4 views"):
        posed(CONE.beam, tilt_deg=(1, 2))
    with pytest.raises(InvalidValue, match="shifts of the source are not 3 numbers"):
        posed(CONE.beam, source_shifts_mm=[(1, 2)])
    assert isinstance(as_posed(CONE.beam), PosedBeam)
