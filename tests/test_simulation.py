"""Simulated scans of every beam: both protocols, on the volume's grid and on finer ones."""

from functools import partial

import numpy as np
import pytest
import torch

from diffusionblend.beams import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from diffusionblend.methods import FBP, Problem
from diffusionblend.projector import make_projector
from diffusionblend.scan import read_scan, write_scan
from diffusionblend.simulation import simulate, truth_on_grid
from diffusionblend.units import MU_WATER
from diffusionblend.volume import Volume
from phantoms import Ellipsoid, relative

FINE = Grid.from_spacing((10, 96, 96), (2.0, 0.7, 0.7))
BODY = Ellipsoid((3.0, -4.0, 0.5), (24.0, 17.0, 7.5), turn=0.3)
PLACE = {"sod_mm": 200.0, "sdd_mm": 320.0}
BEAMS = {
    "parallel": (parallel_beam, ParallelBeam),
    "fan": (partial(fan_beam, **PLACE), FanBeam),
    "curved fan": (partial(fan_beam, detector="curved", **PLACE), FanBeam),
    "cone": (partial(cone_beam, **PLACE), ConeBeam),
}


@pytest.fixture(scope="module")
def water():
    """An ellipsoid of water in air."""
    return Volume(1000 * BODY.image(FINE, oversampling=3) - 1000, FINE)


@pytest.mark.parametrize("protocol", ["independent", "paper"])
@pytest.mark.parametrize("beam", ["fan", "curved fan", "cone"])
def test_scans_of_water_hold_its_chords(water, beam, protocol):
    make, kind = BEAMS[beam]
    scan = simulate(water, sparse_view(5, 360), size=48, beam=make, protocol=protocol)
    assert isinstance(scan.geometry, kind)
    assert scan.geometry.pixel_mm == pytest.approx(1.4)
    assert scan.y.dtype == np.float32
    if beam == "cone":
        assert relative(scan.y / MU_WATER, BODY.mean_chords(scan.geometry)) < 0.05
    else:  # each slice alone: those of the ellipses that it cuts out
        middle = scan.y[len(scan.y) // 2] / MU_WATER
        z = 1.0 - BODY.centre[2]
        cut = np.sqrt(1 - (z / BODY.axes[2]) ** 2)
        ellipse = Ellipsoid(BODY.centre, (24 * cut, 17 * cut, np.inf), BODY.turn)
        assert relative(middle, ellipse.mean_chords(scan.geometry)[0]) < 0.04


@pytest.mark.parametrize("beam", BEAMS)
def test_the_protocols_differ_but_not_by_much(water, beam):
    one, other = (
        simulate(water, (10.0, 200.0), size=48, beam=BEAMS[beam][0], protocol=p).y
        for p in ("independent", "paper")
    )
    assert 1e-3 < relative(one, other) < 0.06


@pytest.mark.parametrize("beam", BEAMS)
def test_scans_are_reconstructed_with_their_geometry_from_a_file(water, beam, tmp_path):
    path = tmp_path / "scan.h5"
    scan = simulate(water, sparse_view(40, 360), size=48, beam=BEAMS[beam][0], photons=1e6)
    write_scan(scan, path)
    read = read_scan(path)
    assert read.geometry == scan.geometry
    A, y = make_projector(read.geometry), read.y / read.scale
    found = FBP()(Problem(torch.from_numpy(y), A)).numpy()
    truth = truth_on_grid(water, 48).hu / 1000
    assert np.sqrt(((found - truth)[2:-2] ** 2).mean()) < 0.15
    inside = BODY.image(read.geometry.grid) > 0.999
    assert found[inside].mean() == pytest.approx(0, abs=0.03)


def test_the_parallel_beam_is_the_default(water):
    angles = (0.0, 33.0)
    default = simulate(water, angles, size=48)
    np.testing.assert_array_equal(simulate(water, angles, size=48, beam=parallel_beam).y, default.y)
    assert default.geometry == parallel_beam(FINE.binned(2), angles)


@pytest.mark.parametrize("make", [fan_beam, cone_beam])
def test_a_source_inside_the_slices_is_refused_in_one_line(water, make):
    with pytest.raises(UnsupportedInput, match=r"cannot be scanned: .* change the beam") as refused:
        simulate(water, (0.0,), size=48, beam=partial(make, sod_mm=30.0, sdd_mm=60.0))
    assert "\n" not in str(refused.value)
