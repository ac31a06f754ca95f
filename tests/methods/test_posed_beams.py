"""Every method with posed beams: a detector that is turned, views of their own place, a helix."""

import msgspec
import numpy as np
import pytest
import torch

from diffusionblend.data.scan import Scan
from diffusionblend.data.surroundings import covering_grid
from diffusionblend.data.truncation import extended
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Geometry, Grid, PosedBeam
from diffusionblend.geometry.acquisitions import cone_beam, sparse_view
from diffusionblend.geometry.poses import as_posed, helix, laminography
from diffusionblend.io.scans import write_scan
from diffusionblend.methods import Problem, find_method
from diffusionblend.methods.options import make_method
from diffusionblend.methods.upright import upright
from diffusionblend.projectors import projector
from diffusionblend.reconstruction.reconstruct import reconstruct
from support import cases
from support.commands import command
from support.every_beam import ANY, GRID, OF_THOUSANDS_OF_LEVELS, OPTIONS, PLACE
from support.gaussian import MEAN, STD
from support.oracle import GaussianPrior
from support.phantoms import Ellipsoid, changed, placed
from support.posed import POSED

# Rows between the slices: through their middles a small turn hardly shows.
CONE = msgspec.structs.replace(cone_beam(GRID, sparse_view(30, 360), **PLACE), rows=12)
SOME = ("sirt", "tv", "diffusionblend-fast")
CASES = [("turned", name) for name in ANY]
CASES += [(kind, name) for kind in ("each view its own", "helix", "laminography") for name in SOME]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_volume_is_found(kind, name):
    A = projector(GRID, POSED[kind](CONE))
    z, y, x = (torch.linspace(-1, 1, n) for n in GRID.shape)
    r = z[:, None, None] ** 2 / 8 + (y[:, None] / 0.7) ** 2 + (x / 0.6) ** 2
    u = torch.sigmoid(6 * (1 - r))
    problem = Problem(A(u), A, GaussianPrior(MEAN, STD))
    found = 1 + find_method(name)(**OPTIONS.get(name, {}))(problem)
    assert found.shape == GRID.shape
    assert torch.isfinite(found).all()
    if name not in OF_THOUSANDS_OF_LEVELS:
        assert float((found - u).norm() / u.norm()) < 0.25
        assert float((problem.y - problem.A(found)).norm() / problem.y.norm()) < 0.1


@pytest.mark.parametrize("kind", ["turned", "helix", "parallel laminography"])
def test_a_scan_through_the_commands(tmp_path, kind):
    """It is written, told, drawn, planned, reconstructed and reported as any other."""
    geometry = Geometry(GRID, POSED[kind](CONE))
    u = torch.from_numpy(Ellipsoid((0, 0, 0), (5, 6, 6)).image(GRID))
    y = projector(*geometry)(u).numpy() * 0.02 * GRID.pixel_mm
    write_scan(Scan(y, geometry, mu_water=0.02), tmp_path / "s.h5")
    told = command("info", tmp_path / "s.h5", "-o", tmp_path / "s.png")
    assert told.code == 0, told.err
    assert "pose" in told.out
    assert "poses" not in told.out
    wish = ("reconstruct", tmp_path / "s.h5", "-o", tmp_path / "v.nii.gz", "--method", "sirt")
    assert command(*wish, "--dry-run").code == 0
    ended = command(*wish, "--set", "iterations=5")
    assert ended.code == 0, ended.err
    ended = command("report", tmp_path / "v.nii.gz", "-o", tmp_path / "r.html")
    assert ended.code == 0, ended.err


def test_the_grid_grows_as_that_of_the_cone_does():
    """An object that is wider and higher than the slices: as much is added as for the cone."""
    small = Grid.from_spacing((7, 24, 20), (2.0, 1.0, 1.0))
    large = Grid.from_spacing((15, 64, 64), (2.0, 1.0, 1.0))
    cone = placed(cone_beam, large, sparse_view(24, 360), sod_mm=120.0, sdd_mm=200.0)
    cone = changed(cone, rows=12)
    u = Ellipsoid((3.0, -4.0, 0.0), (22.0, 19.0, 30.0)).image(large)
    y = np.asarray(projector(*cone)(u))
    grids = [
        covering_grid(extended(y, Geometry(small, b))) for b in (cone.beam, as_posed(cone.beam))
    ]
    assert grids[0].shape > small.shape
    assert grids[1].shape[1:] == grids[0].shape[1:]
    assert abs(grids[1].shape[0] - grids[0].shape[0]) <= 4


def test_a_helix_that_sees_the_whole_object_keeps_its_grid():
    grid = Grid.from_spacing((30, 24, 24), (2.0, 1.0, 1.0))
    cone = placed(cone_beam, grid, sparse_view(60, 720), sod_mm=60.0, sdd_mm=100.0)
    beam = helix(changed(cone, rows=12).beam, 40.0)
    u = Ellipsoid((1.0, -2.0, 0.0), (8.0, 9.0, 18.0)).image(grid)
    y = np.asarray(projector(grid, beam)(u))
    assert (y[-1] > 1).any()
    assert covering_grid(extended(y, Geometry(grid, beam))) == grid


def test_a_plate_in_laminography_keeps_its_slices():
    grid = Grid.from_spacing((6, 40, 40))
    beam = laminography(cone_beam(grid, sparse_view(20, 360), sod_mm=120.0, sdd_mm=200.0), 30)
    y = np.asarray(projector(grid, beam)(np.ones(grid.shape, np.float32)))
    assert covering_grid(extended(y, Geometry(grid, beam))).shape[0] == 6


# A body of water with five balls, projected in closed form, in voxels


def of_cone(kind, **options):
    return changed_to(POSED[kind], cases.beam("cone", 60, **options))


def changed_to(pose, geometry):
    return Geometry(geometry.grid, pose(geometry.beam))


@pytest.mark.parametrize("kind", ["turned", "each view its own"])
def test_balls_are_in_their_place_by_fbp(kind):
    scan = cases.scan_of(of_cone(kind, size=96, slices=11), photons=None)
    found = cases.measure(reconstruct(scan, method="fbp", classical=False).volume)
    assert max(found.balls) < 0.1
    assert abs(found.water) < 5


@pytest.mark.parametrize("kind", ["turned", "helix"])
def test_balls_are_in_their_place_by_iterations(kind):
    """A helix of two turns, whose rows see a third of the body at a time."""
    coarse = cases.coarse_beam("cone", 60, slices=9)
    turns = changed(coarse, angles_deg=sparse_view(60, 720 if kind == "helix" else 360))
    scan = cases.scan_of(changed_to(POSED[kind], turns), photons=None)
    method = make_method("sirt", iterations=60)
    found = cases.measure(reconstruct(scan, method=method, classical=False).volume)
    assert max(found.balls) < 0.1


@pytest.mark.parametrize("kind", ["turned", "each view its own", "helix"])
@pytest.mark.parametrize("name", SOME)
def test_a_pose_that_is_not_told_of_is_missed(kind, name):
    u = torch.from_numpy(Ellipsoid((4.0, -3.0, 4.0), (3.0, 3.0, 4.0)).image(GRID))
    right, wrong = (projector(GRID, POSED[k](CONE)) for k in (kind, "upright"))
    y, method = right(u), find_method(name)(**OPTIONS.get(name, {}))
    prior = GaussianPrior(MEAN, STD)
    seeds = range(3) if method.random else (0,)
    apart = [
        np.mean([(1 + method(Problem(y, A, prior), seed=s) - u).norm() for s in seeds])
        for A in (right, wrong)
    ]
    assert apart[1] > 1.05 * apart[0]


def test_the_nearest_circle_of_many_poses_is_found_once(monkeypatch):
    """It is the mean of all poses: found anew for each view it took minutes of a long scan."""
    found, nearest = [], PosedBeam.nearest.fget
    monkeypatch.setattr(
        PosedBeam, "nearest", property(lambda beam: found.append(1) or nearest(beam))
    )
    geometry = Geometry(GRID, POSED["each view its own"](CONE))
    upright(torch.zeros(geometry.sinogram_shape), geometry)
    assert len(found) < 5 < len(geometry.beam.poses)


@pytest.mark.parametrize("kind", ["helix", "laminography"])
def test_fbp_names_the_methods_that_work(kind):
    problem = Problem(torch.zeros(1), projector(GRID, POSED[kind](CONE)))
    with pytest.raises(UnsupportedInput, match=r"tv.*sirt"):
        find_method("fbp")()(problem)
