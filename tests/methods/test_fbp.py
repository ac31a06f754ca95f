"""Filtered back-projection of every beam: a body of density 1 comes back, in its place."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import ConeBeam, Grid
from diffusionblend.geometry.acquisitions import (
    cone_beam,
    fan_beam,
    limited_angle,
    parallel_beam,
    sparse_view,
)
from diffusionblend.geometry.arc import Directions
from diffusionblend.methods import FBP, FBPUNet, Problem
from diffusionblend.methods.redundancy import confidence, ray_weights
from diffusionblend.projectors import projector
from support.phantoms import Ellipsoid, changed, placed

GRID = Grid.from_spacing((1, 80, 76), (1.0, 1.5, 1.5))
DISC = Ellipsoid((14.0, -9.0, 0.0), (24.0, 24.0, np.inf))
PLACE = {"sod_mm": 180.0, "sdd_mm": 300.0}
FULL = sparse_view(180, 360)
FLAT, CURVED = (placed(fan_beam, GRID, FULL, detector=d, **PLACE) for d in ("flat", "curved"))
PARALLEL = placed(parallel_beam, GRID, sparse_view(120))
WIDTH = FLAT.beam.bins * FLAT.beam.bin_mm
SHORT = tuple(2.0 * v for v in range(120))  # 240 degrees

BEAMS = {
    "parallel": PARALLEL,
    "parallel, offset": changed(PARALLEL, offset_mm=5.9),
    "parallel, full turn": changed(PARALLEL, angles_deg=FULL),
    "parallel, half a detector": changed(PARALLEL, angles_deg=FULL, bins=90, offset_mm=25.0),
    "flat": FLAT,
    "flat, offset": changed(FLAT, offset_mm=9.3),
    "flat, axis shifted": changed(FLAT, axis_mm=8.0),
    "flat, short scan": changed(FLAT, angles_deg=SHORT),
    "flat, short scan, axis shifted": changed(FLAT, angles_deg=SHORT, axis_mm=8.0),
    "flat, begun elsewhere": changed(FLAT, angles_deg=tuple(a + 77 for a in SHORT)),
    "flat, backwards": changed(FLAT, angles_deg=tuple(-a for a in SHORT)),
    "flat, in any order": changed(
        FLAT, angles_deg=tuple(np.random.default_rng(0).permutation(FULL))
    ),
    "flat, golden angle": changed(FLAT, angles_deg=tuple(137.50776 * v for v in range(233))),
    "flat, more than a short scan": changed(FLAT, angles_deg=tuple(2.0 * v for v in range(155))),
    "flat, two turns": changed(FLAT, angles_deg=sparse_view(300, 720)),
    "flat, ends twice": changed(FLAT, angles_deg=(*FULL, 360.0)),
    "flat, half a detector": changed(FLAT, bins=FLAT.beam.bins * 2 // 3, offset_mm=WIDTH / 6),
    "curved": CURVED,
    "curved, short scan, offset": changed(CURVED, angles_deg=SHORT, offset_mm=-9.3),
    "curved, both shifted": changed(CURVED, axis_mm=-8.0, offset_mm=-12.0),
    "curved, half a detector": changed(
        CURVED, bins=CURVED.beam.bins * 2 // 3, offset_mm=-CURVED.beam.bins * CURVED.beam.bin_mm / 6
    ),
}


class _Seen:
    """Stands for a projector of which only the geometry is asked."""

    weights = None

    def __init__(self, geometry):
        self.geometry, self.volume_shape = geometry, geometry.grid.shape
        self.slicewise = geometry.beam.slicewise


def fbp(geometry, shape=DISC, dtype=torch.float32):
    """Reconstruct u from the body's chords, which are known without a projector."""
    y = shape.mean_chords(geometry, oversampling=2) / geometry.grid.pixel_mm
    return (FBP()(Problem(torch.from_numpy(y).to(dtype), _Seen(geometry))) + 1).numpy()


@functools.cache
def disc(name):
    return fbp(BEAMS[name])[0]


def places(grid):
    """Return x, y, z of the voxels in mm."""
    at = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(grid.shape, grid.spacing_mm)]  # noqa: B905
    return np.meshgrid(*at, indexing="ij")[::-1]


def distance(grid, shape):
    offsets = [a - c for a, c in zip(places(grid), shape.centre, strict=True)]
    return np.sqrt(sum(o**2 for o in offsets[: 3 if np.isfinite(shape.axes[2]) else 2]))


@pytest.mark.parametrize("name", BEAMS)
def test_a_disc_comes_back_in_its_place(name):
    found = disc(name)
    away, (x, y, _) = distance(GRID, DISC)[0], (a[0] for a in places(GRID))
    inside = away < 20
    assert found[inside].mean() == pytest.approx(1, abs=2e-3)
    assert np.abs(found[inside] - 1).mean() < 0.01
    outside = (away > 28) & (np.hypot(x, y) < 50)
    assert abs(found[outside].mean()) < 2e-3
    assert found[outside].std() < 0.03
    weights = found * (away < 28)
    assert (weights * x).sum() / weights.sum() == pytest.approx(14, abs=0.02)
    assert (weights * y).sum() / weights.sum() == pytest.approx(-9, abs=0.02)


@pytest.mark.parametrize("beam", ["parallel", "flat", "curved", "flat, short scan"])
def test_slices_wider_than_what_is_seen_are_air_there(beam):
    """The sum over those views that see a pixel there was far below air."""
    bins = 70 if beam == "parallel" else 74
    part = changed(BEAMS[beam], bins=bins, grid=Grid.from_spacing((1, 110, 110), (1.0, 1.5, 1.5)))
    found = fbp(part)[0]
    away = distance(part.grid, DISC)[0]
    assert found[away < 20].mean() == pytest.approx(1, abs=3e-3)
    assert abs(found[away > 35].mean()) < 5e-3
    assert found[away > 35].std() < 0.04  # streaks


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("flat", "curved"),
        ("flat", "parallel"),
        ("flat", "flat, short scan"),
        ("flat", "flat, more than a short scan"),
        ("flat", "flat, half a detector"),
        ("flat", "flat, axis shifted"),
        ("parallel", "parallel, half a detector"),
    ],
)
def test_beams_agree_where_the_object_is_even(one, other):
    away = distance(GRID, DISC)[0]
    even = (away < 18) | ((away > 31) & (away < 45))
    difference = (disc(one) - disc(other))[even]
    assert np.abs(difference).max() < 0.12  # streaks of 180 views
    assert np.sqrt((difference**2).mean()) < 0.03


@pytest.mark.parametrize("angles", [(33.0,), (33.0, 33.0), (0.0, 90.0), limited_angle(90), (5, 3)])
@pytest.mark.parametrize("beam", [FLAT, CURVED, PARALLEL])
def test_few_views_and_short_arcs_keep_a_sane_scale(beam, angles):
    found = fbp(changed(beam, angles_deg=tuple(map(float, angles))))
    assert np.isfinite(found).all()
    assert 0.5 < found[distance(GRID, DISC) < 20].mean() < 2


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_detectors_of_few_bins_are_taken(bins):
    assert np.isfinite(fbp(changed(FLAT, bins=bins, angles_deg=sparse_view(5, 360)))).all()


# How often a line is measured


@pytest.mark.parametrize("name", [n for n in BEAMS if "parallel" not in n])
def test_weights_of_a_ray_and_its_opposite_add_up_to_one(name):
    """The same line, seen by the opposite ray of a view that is interpolated."""
    geometry = BEAMS[name]
    arc, weights = geometry.arc.views, ray_weights(geometry.beam)
    once = weights / arc.shares[:, None] / len(geometry.beam.angles) * math.pi
    skew = math.atan2(geometry.beam.axis_mm, geometry.beam.sod_mm)
    for view in range(0, len(geometry.beam.angles), 37):
        g = geometry.beam.fan_angles - skew
        for bin_ in range(3, geometry.beam.bins, 19):
            angle = geometry.beam.angles_deg[view] - math.degrees(2 * g[bin_]) + 180
            (other,) = ray_weights_at(geometry, arc, angle, -g[bin_])
            assert once[view, bin_] + other == pytest.approx(1, abs=1e-6)


def ray_weights_at(geometry, arc, angle, g):
    """Return what share of its line a ray anywhere has, 0 if it is not measured."""
    from diffusionblend.methods import redundancy

    angles, g = np.array([math.radians(angle)]), np.array([g])
    side = functools.partial(redundancy._side_confidence, geometry.beam)
    own = confidence(arc, angles) * side(g)
    other = confidence(arc, angles - 2 * g + math.pi) * side(-g)
    return own / (own + other)


def test_weights_are_one_where_nothing_is_to_be_weighed():
    assert (ray_weights(PARALLEL.beam) == 1).all()
    assert (ray_weights(changed(PARALLEL, angles_deg=FULL).beam) == 1).all()
    assert (ray_weights(changed(PARALLEL, angles_deg=limited_angle(90)).beam) == 1).all()
    np.testing.assert_allclose(ray_weights(FLAT.beam), 1)
    np.testing.assert_allclose(ray_weights(changed(FLAT, angles_deg=sparse_view(8, 360)).beam), 1)


@pytest.mark.parametrize("name", ["flat, short scan", "flat, half a detector"])
def test_weights_have_no_steps(name):
    steps = np.abs(np.diff(ray_weights(BEAMS[name].beam), axis=1))
    assert 0 < steps.max() < 0.25


@pytest.mark.parametrize(("degrees", "taper"), [(240, 30), (190, 10), (180, 10), (12, 6)])
def test_views_count_less_towards_the_ends_of_their_arc(degrees, taper):
    """By sin^2, over half of what is more than half a turn, 10 degrees at least."""
    arc = Directions(np.arange(degrees) + 0.5)  # from 0 to `degrees`
    inwards = np.array([0.0, taper / 2, 0.75 * taper, taper])
    expected = np.sin(np.pi / 2 * inwards / taper) ** 2
    for from_an_end in (inwards, degrees - inwards):
        np.testing.assert_allclose(confidence(arc, np.radians(from_an_end)), expected, atol=1e-9)
    assert (confidence(arc, np.radians([degrees / 2])) == 1).all()
    assert (confidence(arc, np.radians([-20.0, degrees + 20.0])) == 0).all()


@pytest.mark.parametrize(
    ("angles", "degrees"),
    [
        (FULL, 360),
        (SHORT, 240),
        (SHORT[::-1], 240),
        (tuple(a - 1000 for a in SHORT), 240),
        (limited_angle(90), 90),
        (sparse_view(8), 180),
        ((10.0,), 180),
        ((0.0, 180.0), 360),
    ],
)
def test_the_arc_is_what_the_views_stand_for(angles, degrees):
    arc = Directions(np.array(angles))
    assert math.degrees(arc.length) == pytest.approx(degrees)
    np.testing.assert_allclose(np.degrees(arc.shares), degrees / len(angles))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12))
def test_any_views_have_an_arc(angles):
    arc = Directions(np.array(angles))
    assert 0 < arc.length <= 2 * math.pi + 1e-9
    assert (arc.shares > 0).all()
    assert arc.shares.sum() == pytest.approx(arc.length)
    assert (confidence(arc, np.radians(angles)) >= 0).all()


RANDOM = np.random.default_rng(0)
UNEVEN = {
    "200 degrees": np.arange(0, 200, 1.5),
    "270 degrees": np.arange(0, 270, 1.5),
    "400 degrees": np.arange(0, 400, 1.5),
    "two turns": sparse_view(300, 720),
    "one half twice as dense": np.concatenate([np.arange(0, 90, 1.5), np.arange(90, 180, 0.75)]),
    "one view ten times": (*sparse_view(120), *[45.0] * 9),
    "one view nearly ten times": (*sparse_view(120), *(45.0 + 1e-3 * np.arange(9))),
    "two halves, opposite": np.concatenate([np.arange(60), np.arange(240, 360)]),
    "errors of a step": np.arange(0, 180, 1.5) + RANDOM.uniform(-1, 1, 120),
    "at random": RANDOM.uniform(0, 360, 240),
}
BODY = (
    DISC,
    Ellipsoid((8.0, -14.0, 0.0), (4.0, 4.0, np.inf)),
    Ellipsoid((22.0, 0.0, 0.0), (3, 5, np.inf)),
)


def body(geometry):
    """Reconstruct a disc and two in it, whose streaks no even disc has."""
    return sum(fbp(geometry, shape)[0] for shape in BODY)


@pytest.mark.parametrize("beam", [PARALLEL, changed(PARALLEL, bins=90, offset_mm=25.0), FLAT])
@pytest.mark.parametrize("name", UNEVEN)
def test_each_line_counts_once_whatever_the_angles(name, beam):
    angles, even = tuple(map(float, UNEVEN[name])), sparse_view(240, 360)
    if beam is not PARALLEL and Directions(np.array(angles)).length < math.radians(300):
        pytest.skip("leaves lines out")
    difference = (body(changed(beam, angles_deg=angles)) - body(changed(beam, angles_deg=even)))[
        distance(GRID, DISC)[0] < 30
    ]
    assert abs(difference.mean()) < 2e-3
    assert difference.std() < 0.04


@pytest.mark.parametrize("beam", [FLAT, CURVED])
@pytest.mark.parametrize("arc", [60, 90, 120, 180])
@pytest.mark.parametrize("begin", [0, 70, 200])
def test_a_short_arc_of_a_fan_keeps_the_level(beam, arc, begin):
    """Without each pixel's own share of the lines it is up to 16 percent off at 60 degrees."""
    found = fbp(changed(beam, angles_deg=tuple(begin + a for a in limited_angle(arc))))[0]
    assert found[distance(GRID, DISC)[0] < 20].mean() == pytest.approx(1, abs=0.01)


def test_lopsided_detectors_are_told_by_their_reach_about_the_axis():
    assert FLAT.beam.farther_bins == 0
    assert changed(FLAT, offset_mm=5 * FLAT.beam.bin_mm).beam.farther_bins == 10
    assert changed(FLAT, offset_mm=-5 * FLAT.beam.bin_mm).beam.farther_bins == -10
    seen = {"axis_mm": 9.0, "offset_mm": 9.0 * FLAT.beam.magnification}
    assert changed(FLAT, **seen).beam.farther_bins == 0


# Cones: FDK

BOX = Grid.from_spacing((22, 60, 52), (2.0, 1.3, 1.3))
BALL = Ellipsoid((7.0, -5.0, 3.0), (16.0, 16.0, 16.0))
CONE = placed(cone_beam, BOX, sparse_view(90, 360), sod_mm=400, sdd_mm=700)
CONES = {
    "cone": CONE,
    "both offsets": changed(CONE, offset_mm=9.0, row_offset_mm=4.0),
    "axis shifted": changed(CONE, axis_mm=6.0),
    "short scan": changed(CONE, angles_deg=tuple(2.5 * v for v in range(90))),
    "half a detector": changed(
        CONE,
        angles_deg=sparse_view(120, 360),
        bins=CONE.beam.bins * 2 // 3,
        offset_mm=CONE.beam.bins * CONE.beam.bin_mm / 6,
    ),
}


@pytest.mark.parametrize("name", CONES)
def test_a_ball_comes_back_in_its_place(name):
    found = fbp(CONES[name], BALL)
    away = distance(BOX, BALL)
    assert found[away < 13].mean() == pytest.approx(1, abs=0.005)
    assert np.abs(found[away < 13] - 1).mean() < 0.01
    weights = found * (away < 19)
    centre = [(weights * a).sum() / weights.sum() for a in places(BOX)]
    assert centre == pytest.approx(BALL.centre, abs=0.1)


def test_fdk_is_the_fans_in_the_middle():
    """With one row there and an odd number of slices, nothing else is left of a cone."""
    box = Grid.from_spacing((3, 60, 52), (2.0, 1.3, 1.3))
    cone = changed(placed(cone_beam, box, SHORT[::4], sod_mm=150, sdd_mm=200), rows=1, axis_mm=3.0)
    fan = placed(fan_beam, box, SHORT[::4], sod_mm=150, sdd_mm=200)
    fan = changed(fan, bins=cone.beam.bins, axis_mm=3.0)
    y = torch.randn(cone.sinogram_shape, generator=torch.Generator().manual_seed(0))
    middle = FBP()(Problem(y, _Seen(cone)))[1]
    alone = FBP()(Problem(y, _Seen(fan)))[0]
    torch.testing.assert_close(middle, alone, rtol=1e-4, atol=1e-4)


def test_off_the_middle_a_cone_darkens_with_its_angle():
    """Little in a narrow cone, more in a wide one, never more than FDK's usual percents."""
    away = distance(BOX, BALL)
    lost = []
    for sod in (4000, 400, 150):
        views = CONE.beam.angles_deg[::2]
        found = fbp(placed(cone_beam, BOX, views, sod_mm=sod, sdd_mm=2 * sod), BALL)
        means = [s[a < 13].mean() for s, a in zip(found, away, strict=True) if (a < 13).any()]
        lost.append(np.abs(np.array(means) - 1).max())
    assert lost == sorted(lost)
    assert lost[0] < 2e-3
    assert lost[1] < 5e-3
    assert 5e-3 < lost[2] < 0.03


def test_fdk_takes_what_the_projector_gives():
    """y = A u, lengths in pixels."""
    A = projector(*CONE)
    found = FBP()(Problem(A(torch.from_numpy(BALL.image(BOX, oversampling=3))), A)).numpy() + 1
    assert found.shape == BOX.shape
    assert found[distance(BOX, BALL) < 13].mean() == pytest.approx(1, abs=0.01)


def test_fdk_in_float64_is_that_in_float32():
    single, double = (fbp(CONE, BALL, dtype) for dtype in (torch.float32, torch.float64))
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=1e-4)


def test_a_single_row_and_slice_are_taken():
    grid = Grid.from_spacing((1, 8, 8))
    geometry = placed(cone_beam, grid, sparse_view(9, 360), sod_mm=20, sdd_mm=30)
    geometry = changed(geometry, rows=1)
    assert isinstance(geometry.beam, ConeBeam)
    u = FBP()(Problem(torch.ones(1, 9, geometry.beam.bins), _Seen(geometry)))
    assert u.isfinite().all()


# The network that corrects back-projections


@pytest.mark.parametrize("beam", [FLAT, CURVED, CONE])
def test_fbp_unet_refuses_what_it_was_not_trained_for(beam):
    y = torch.zeros(beam.sinogram_shape)
    with pytest.raises(UnsupportedInput, match="trained for parallel beams; take another method"):
        FBPUNet()(Problem(y, _Seen(beam)))
