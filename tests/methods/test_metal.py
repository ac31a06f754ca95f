"""Metal: found where it is and nowhere else, right in value, and no harm to what is beside it."""

import dataclasses

import msgspec
import numpy as np
import pytest
import torch

import diffusionblend as db
from diffusionblend.geometry import Geometry
from diffusionblend.geometry.poses import helix, laminography, posed
from diffusionblend.methods.metal import find_metal, with_metal
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE, edge_variance, operator_variance
from diffusionblend.reconstruction.task import make_problem
from support.cases import MU, beam, coarse_beam, cylinder, scan_of
from support.dense import disc

STEEL = 25 * MU
"""What a rod adds to water: 25,000 HU."""
RODS = ((-20, 5, 8.0), (22, 5, 8.0))
BODY = [(cylinder(4, -3, 50.0), MU)]
HIPS = [*BODY, *((cylinder(*rod), STEEL) for rod in RODS)]
WALL, BORE, GAS = 0.7, 29.5, 0.25
"""A tube of steel: attenuation of its wall in 1/mm, radius of its bore, u of the gas in it."""
TUBE = [(cylinder(0, 0, 30.5), WALL), (cylinder(0, 0, BORE), GAS * MU - WALL)]


def scanned(objects, views, photons=5e4, slices=3):
    return scan_of(beam(views=views, slices=slices), objects=objects, photons=photons)


def problem_of(scan):
    return make_problem(scan, None, torch.device("cpu"))


def distances(x=0.0, y=0.0):
    """Return by how far each pixel's centre is from a point, in mm (rows, columns)."""
    at = np.arange(128) - 63.5
    return np.hypot(at[None] - x, at[:, None] - y)


def warned(made):
    return {w.code for w in made.quality.warnings}


def test_metal_is_put_where_it_is_known_and_nothing_else_is_touched():
    """x = u - 1, and metal is known as u."""
    x = torch.full((1, 2, 2), -0.3)
    dense = torch.tensor([[[0.0, 25.0], [0.5, 12.0]]])
    expected = torch.tensor([[[-0.3, 24.0], [-0.3, 11.0]]])
    torch.testing.assert_close(with_metal(x, dense), expected)
    assert with_metal(x, None) is x


@pytest.mark.parametrize("views", [8, 20, 60, 180])
@pytest.mark.parametrize("photons", [None, 1e4])
def test_a_body_and_its_bones_are_no_metal(views, photons):
    bones = [(cylinder(20, 0, 6.0), 1.5 * MU), (cylinder(-15, 10, 3.0), 2 * MU)]
    assert find_metal(problem_of(scanned(BODY + bones, views, photons))).dense is None


@pytest.mark.parametrize("views", [8, 20, 60])
def test_rods_of_steel_are_found_and_their_streaks_are_not(views):
    dense = find_metal(problem_of(scanned(HIPS, views))).dense
    inside = np.min([distances(x, y) - r for x, y, r in RODS], axis=0)
    at = dense[1].numpy() > 4
    assert at[inside < -2].mean() > 0.9
    assert at[inside > 3].sum() < 0.05 * at.sum()


@pytest.mark.parametrize(
    ("pose", "found"),
    [
        (lambda cone: posed(cone, roll_deg=2.0), True),
        (lambda cone: helix(cone, 4.0), True),
        (lambda cone: laminography(posed(cone), 30), False),
    ],
)
def test_metal_is_found_before_a_detector_that_is_turned(pose, found):
    """It was not looked for, and total variation made it 800 HU too dense; far from a circle, where
    there is no filtered back-projection, it is left."""
    cone = coarse_beam("cone", 20, slices=5)
    scan = scan_of(Geometry(cone.grid, pose(cone.beam)), objects=HIPS, photons=5e4)
    dense = find_metal(problem_of(scan)).dense
    assert (dense is not None) == found
    if dense is not None:
        places = (np.arange(64) - 31.5) * 2
        away = [np.hypot(places[None] - x, places[:, None] - y) - r for x, y, r in RODS]
        at = dense[2].numpy() > 4
        assert at[np.min(away, axis=0) < -4].all()
        assert not at[np.min(away, axis=0) > 5].any()


@pytest.mark.parametrize("photons", [None, 5e4])
def test_the_true_picture_of_metal_leaves_what_the_variance_says(photons):
    u = sum((mu / MU) * disc(128, ball.centre[:2], ball.axes[0]) for ball, mu in TUBE)
    problem = problem_of(scanned(TUBE, 90, photons, slices=1))
    found = find_metal(problem)
    r = problem.y - problem.A(torch.from_numpy(u.astype(np.float32)))
    noise = 0 if problem.variance is None else problem.variance
    assert float((r**2 / (operator_variance(problem.y) + noise)).mean()) > 10
    assert 0.1 < float((r**2 / found.ray_variance()).mean()) < 2


def test_rays_beside_metal_are_as_certain_as_before():
    dense = torch.zeros(1, 128, 128)
    dense[:, 60:68, 90:98] = 30.0
    A = problem_of(scanned(BODY, 8, slices=1)).A
    variance = edge_variance(A, dense)
    assert float(variance.max()) > 100 * OPERATOR_VARIANCE
    assert float(variance[0, 0, :60].abs().max()) == 0  # along y: all columns before the metal's


@pytest.mark.parametrize(("method", "share"), [("diffusionblend-fast", 0.08), ("tv", 0.17)])
@pytest.mark.parametrize("views", [20, 60])
def test_two_hips_of_steel_and_the_water_between_them_are_right(method, share, views):
    made = db.reconstruct(scanned(HIPS, views), method, classical=False)
    inside = np.min([distances(x, y) - r for x, y, r in RODS], axis=0)
    hu = made.volume.hu[1]
    assert hu[inside < -2].mean() == pytest.approx(25_000, rel=share)
    water = hu[(inside > 4) & (distances(4, -3) < 46)]
    assert abs(water.mean()) < 5
    assert water.std() < 80
    assert not {"residual-high", "bad-bins"} & warned(made)


@pytest.mark.parametrize(
    ("method", "wall", "gas"), [("diffusionblend-fast", 0.88, 120), ("tv", 0.85, 200)]
)
def test_a_tube_of_steel_keeps_its_wall_and_the_gas_in_it(method, wall, gas):
    made = db.reconstruct(scanned(TUBE, 90), method, classical=False)
    r, u = distances(), 1 + made.volume.hu[1] / 1000
    near = (r > 27.5) & (r < 33)
    mass = (u - GAS * (r < BORE))[near].sum() / (2 * np.pi * 30)
    assert mass == pytest.approx(WALL / MU, rel=1 - wall)
    assert abs(made.volume.hu[1][r < 26].mean() - 1000 * (GAS - 1)) < gas


def test_metal_is_left_alone_where_so_few_views_cannot_tell_it_from_streaks():
    problem = problem_of(scanned(HIPS, 7))
    assert find_metal(problem) is problem


def test_metal_of_right_geometry_is_no_wrong_one_and_a_wrong_centre_is():
    scan = scanned(TUBE, 90)
    right = db.reconstruct(scan, "fbp", classical=False)
    assert "residual-high" not in warned(right)
    shifted = db.Geometry(
        scan.geometry.grid, msgspec.structs.replace(scan.geometry.beam, offset_mm=3.0)
    )
    wrong = db.reconstruct(dataclasses.replace(scan, geometry=shifted), "fbp", classical=False)
    assert "residual-high" in warned(wrong)


@pytest.mark.parametrize(("objects", "views"), [(TUBE, 90), (HIPS, 60)])
@pytest.mark.parametrize("method", ["diffusionblend-fast", "tv"])
def test_no_bin_that_metal_hides_is_called_dead(method, objects, views):
    made = db.reconstruct(scanned(objects, views), method, classical=False)
    assert made.quality.residual.bad_bins == ()
