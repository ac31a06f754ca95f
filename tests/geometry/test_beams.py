"""Every beam by both projectors: where a point's shadow falls, and how long chords are."""

import math
from functools import cache, partial

import numpy as np
import pytest
import torch

from diffusionblend.geometry import ConeBeam, Grid, ParallelBeam
from diffusionblend.projectors import projector
from diffusionblend.simulation.strip import strip_project
from support.phantoms import Ellipsoid, beams, blob, changed, finer, relative

GRID = Grid.from_spacing((12, 44, 48), (1.6, 1.4, 1.4))
FINE = Grid.from_spacing((24, 88, 96), (0.8, 0.7, 0.7))
BEAMS, FINE_BEAMS = beams(GRID), beams(FINE)
POINT = (9.1, -12.3, 3.0)
BALL = Ellipsoid((5.0, -7.0, 1.2), (20.0, 14.0, 7.0))


def joseph(volume, geometry):
    return (geometry.grid.pixel_mm * projector(*geometry)(torch.from_numpy(volume))).numpy()


def strips(volume, geometry):
    return strip_project(volume, *geometry)


def analytic_curve(geometry):
    """Where a point casts its shadow: along s, and along t or the slice's number, in mm."""
    x, y, z = POINT
    angles = np.array(geometry.beam.angles)
    along = x * np.cos(angles) + y * np.sin(angles)
    if isinstance(geometry.beam, ParallelBeam):
        return along, np.full_like(along, z)
    depth = geometry.beam.sod_mm - x * np.sin(angles) + y * np.cos(angles)
    ratio = (along + geometry.beam.axis_mm) / depth
    if isinstance(geometry.beam, ConeBeam):
        return geometry.beam.sdd_mm * ratio, geometry.beam.sdd_mm * z / depth
    curved = geometry.beam.detector == "curved"
    return geometry.beam.sdd_mm * (np.arctan(ratio) if curved else ratio), np.full_like(along, z)


def centre_of_mass(y, geometry):
    """The same of line integrals, in mm."""
    rows, _, bins = geometry.sinogram_shape
    cone = isinstance(geometry.beam, ConeBeam)
    t = (np.arange(rows) - (rows - 1) / 2) * (geometry.beam.row_mm if cone else GRID.spacing_mm[0])
    t += geometry.beam.row_offset_mm if cone else 0
    s = (np.arange(bins) - (bins - 1) / 2) * geometry.beam.bin_mm + geometry.beam.offset_mm
    mass = y.astype(float).sum((0, 2))
    return (y * s).sum((0, 2)) / mass, (y * t[:, None, None]).sum((0, 2)) / mass


@pytest.mark.parametrize("project", [joseph, strips])
@pytest.mark.parametrize("name", BEAMS)
def test_a_points_sinogram_is_its_analytic_curve(name, project):
    """The centre of a small blob's shadow is there within a hundredth of a bin or row."""
    geometry = BEAMS[name]
    found = centre_of_mass(project(blob(GRID, POINT), finer(geometry, 4)), finer(geometry, 4))
    expected = analytic_curve(geometry)
    row_mm = geometry.beam.row_mm if isinstance(geometry.beam, ConeBeam) else GRID.spacing_mm[0]
    np.testing.assert_allclose(found[0], expected[0], atol=0.01 * geometry.beam.bin_mm)
    np.testing.assert_allclose(found[1], expected[1], atol=0.01 * row_mm)
    assert np.ptp(expected[0]) > 5 * geometry.beam.bin_mm


@pytest.mark.parametrize("kind", [np.array, partial(torch.tensor, dtype=torch.float64)])
@pytest.mark.parametrize("name", BEAMS)
def test_a_beam_tells_where_a_point_casts_its_shadow(name, kind):
    beam = BEAMS[name].beam
    points = [kind([value, 0.0]) for value in POINT]
    found = [beam.shadow(*points, view) for view in range(len(beam.angles_deg))]
    s, t = (np.array([np.asarray(of[axis]) for of in found]) for axis in (0, 1))
    np.testing.assert_allclose(np.stack([s[:, 0], t[:, 0]]), analytic_curve(BEAMS[name]), atol=1e-9)
    np.testing.assert_allclose(s[:, 1], beam.axis_shadow_mm, atol=1e-9)
    assert type(found[0][0]) is type(points[0])


@pytest.mark.parametrize("unit_mm", [0.25, 3.0])
@pytest.mark.parametrize("name", BEAMS)
def test_a_shadow_falls_on_the_same_bin_in_every_unit(name, unit_mm):
    beam = BEAMS[name].beam
    x, y, _ = POINT
    for angle in beam.angles:
        (place, depth), (same, units) = (
            beam.cast(np.float64(x / u), np.float64(y / u), angle, u) for u in (1.0, unit_mm)
        )
        bins = place / beam.bin_size(1.0)
        assert same / beam.bin_size(unit_mm) == pytest.approx(bins, abs=1e-9)
        assert isinstance(beam, ParallelBeam) or units * unit_mm == pytest.approx(depth)


@pytest.mark.parametrize("name", BEAMS)
def test_rays_to_a_points_shadow_go_through_it(name):
    """The lines of a view, where they meet the shadow, have the point on them."""
    beam = BEAMS[name].beam
    x, y, z = POINT
    for view in range(len(beam.angles_deg)):
        s, _ = beam.shadow(x, y, z, view)
        phi, distance = beam.lines(view)
        at = beam.positions_mm()
        phi, distance = (float(np.interp(s, at, of)) for of in (phi, distance))
        assert x * math.cos(phi) + y * math.sin(phi) == pytest.approx(distance, abs=2e-2)


@pytest.mark.parametrize("name", BEAMS)
def test_coarser_and_longer_detectors_have_their_bins_in_place(name):
    beam = BEAMS[name].beam
    kept = beam.bins // 3 * 3
    joined = beam.positions_mm()[:kept].reshape(-1, 3).mean(1)
    np.testing.assert_allclose(beam.binned(3).positions_mm(), joined, atol=1e-9)
    longer = beam.padded(2, 5)
    np.testing.assert_allclose(longer.positions_mm()[2:-5], beam.positions_mm(), atol=1e-9)
    assert beam.views([3, 0]).angles_deg == (beam.angles_deg[3], beam.angles_deg[0])
    if isinstance(beam, ConeBeam):
        kept = beam.rows // 2 * 2
        rows = beam.row_positions_mm()[:kept].reshape(-1, 2).mean(1)
        np.testing.assert_allclose(beam.binned(3, 2).row_positions_mm(), rows, atol=1e-9)


def body(geometry):
    """An ellipsoid, or an endless cylinder where each slice is alone: slices have no thickness."""
    return BALL if isinstance(geometry.beam, ConeBeam) else Ellipsoid()


@cache
def image(shape, grid):
    return shape.image(grid, oversampling=3)


@pytest.mark.parametrize("name", BEAMS)
def test_both_projectors_give_the_chords_of_an_ellipsoid(name):
    """Along rays, and as means over bins. A cone's ellipsoid is only nine slices high."""
    geometry = FINE_BEAMS[name]
    shape, error = body(geometry), 0.02 * (1 + isinstance(geometry.beam, ConeBeam))
    volume = image(shape, FINE)
    assert relative(joseph(volume, geometry), shape.chords(geometry)) < error
    assert relative(strips(volume, geometry), shape.mean_chords(geometry)) < error / 2


@pytest.mark.parametrize("name", ["flat fan", "curved fan, both shifted", "cone, both offsets"])
def test_strips_of_a_finer_volume_are_nearer_to_the_chords(name):
    geometry = BEAMS[name]
    shape, volume = body(geometry), image(body(geometry), FINE)
    if not isinstance(geometry.beam, ConeBeam):
        volume = volume[::2]  # a slice for each row
    found = strip_project(volume, FINE, geometry.beam)
    coarse = strips(image(shape, GRID), geometry)
    expected = shape.mean_chords(geometry)
    assert relative(found, expected) < 0.6 * relative(coarse, expected)


@pytest.mark.parametrize("name", BEAMS)
def test_the_projectors_agree_on_what_is_smooth_and_differ_in_detail(name):
    geometry = BEAMS[name]
    volume = blob(GRID, (3.0, -4.0, 0.5), sigma=2.5)
    assert 1e-4 < relative(joseph(volume, geometry), strips(volume, geometry)) < 0.03


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_strips_of_a_fan_from_far_away_are_parallel(detector):
    parallel = changed(BEAMS["parallel, offset"], angles_deg=(0.0, 33.0, 90.0, 200.0))
    fan = changed(BEAMS[f"{detector} fan"], sod_mm=1e8, sdd_mm=1e8)
    fan = changed(
        fan,
        bins=parallel.beam.bins,
        bin_mm=parallel.beam.bin_mm,
        offset_mm=parallel.beam.offset_mm,
        angles_deg=parallel.beam.angles_deg,
    )
    volume = np.random.default_rng(0).random((2, *GRID.shape[1:]), dtype=np.float32)
    np.testing.assert_allclose(strips(volume, fan), strips(volume, parallel), rtol=1e-4, atol=1e-3)


def test_strips_of_a_cone_lose_no_mass_along_a_row():
    """A slab's chords are its thickness by the ray's slant, whatever the pixels."""
    geometry = changed(BEAMS["cone"], angles_deg=(0.0, 30.0))
    slab = np.ones(GRID.shape, np.float32)
    slab[:, :20], slab[:, 36:] = 0, 0
    y = strips(slab, geometry)[geometry.beam.rows // 2, 0]
    s = geometry.beam.positions_mm()
    inside = np.abs(s) < 20
    expected = 16 * GRID.spacing_mm[1] * np.hypot(1, s / geometry.beam.sdd_mm)
    np.testing.assert_allclose(y[inside], expected[inside], rtol=2e-3)
    assert math.isclose(y[inside].min(), 16 * 1.4, rel_tol=2e-3)
