"""The value range: mu_water is found where nobody measured it, and doubted where it cannot be."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import save_tiny_prior
from diffusionblend.beams import cone_beam, fan_beam, limited_angle, sparse_view
from diffusionblend.calibration import (
    calibrated,
    estimate_mu_water,
    match_tissue,
    spread,
    typical_attenuation,
)
from diffusionblend.errors import UsageError
from diffusionblend.geometry import Grid
from diffusionblend.reconstruction import reconstruct, reconstruct_and_assess
from diffusionblend.simulation import simulate
from diffusionblend.tissue import TISSUES
from diffusionblend.units import MU_WATER
from diffusionblend.volume import Volume

GRID = Grid.from_spacing((6, 64, 64), (4.0, 4.0, 4.0))
EVEN = sparse_view(20)
FAN = {"sod_mm": 500.0, "sdd_mm": 900.0}
BEAMS = {
    "fan": lambda grid, angles: fan_beam(grid, angles, **FAN),
    "curved fan": lambda grid, angles: fan_beam(grid, angles, detector="curved", **FAN),
    "cone": lambda grid, angles: cone_beam(grid, angles, **FAN),
}


def radius(grid=GRID):
    _, rows, columns = grid.shape
    y, x = np.mgrid[:rows, :columns]
    return (2 * (a + 0.5) / n - 1 for a, n in ((y, rows), (x, columns)))


def volume(u, grid=GRID):
    hu = 1000 * (np.broadcast_to(u, grid.shape) - 1)
    return Volume(np.array(hu, dtype=np.float32), grid)


def patient():
    """A trunk of fat, muscle, organs, lungs, a spine and ribs, in units of water."""
    y, x = radius()
    y = y / 0.75
    r = np.hypot(x, y)
    u = np.zeros(GRID.shape[1:])
    u[r < 0.9] = 0.9
    u[r < 0.75] = 1.05
    for side in (-1, 1):
        u[np.hypot((x + 0.36 * side) / 0.25, (y + 0.05) / 0.45) < 1] = 0.2
        u[np.hypot((x + 0.1 * side) / 0.1, (y + 0.45) / 0.2) < 1] = 1.03
    u[np.hypot(x, y - 0.5) < 0.12] = 1.3
    u[(r > 0.68) & (r < 0.72) & (np.abs(y) < 0.3)] = 1.4
    return u


def scan_of(u, angles=EVEN, **options):
    options = {"size": u.shape[-1], "photons": 1e5} | options
    return simulate(volume(u), angles, **options)


def off(scan, mu_water=MU_WATER):
    return estimate_mu_water(scan).mu_water / mu_water - 1


@pytest.mark.parametrize(("views", "within"), [(8, 0.08), (60, 0.04)])
@pytest.mark.parametrize("mu_water", [MU_WATER, 0.008])
def test_the_attenuation_of_water_is_found_in_a_patient(views, within, mu_water):
    scan = scan_of(patient(), sparse_view(views), mu_water=mu_water)
    found = estimate_mu_water(scan)
    assert found.mu_water == pytest.approx(mu_water, rel=within)
    assert found.how == "tissue"
    assert "human tissue" in found.words


@pytest.mark.parametrize("beam", BEAMS)
def test_it_is_found_with_every_beam(beam):
    if beam == "cone":
        pytest.importorskip("numba")
    scan = scan_of(patient(), sparse_view(20, 360), beam=BEAMS[beam], protocol="paper")
    assert abs(off(scan)) < 0.08


@pytest.mark.parametrize("angles", [limited_angle(120), sparse_view(121, 360)])
def test_it_is_found_on_an_arc_and_from_more_views_than_are_looked_at(angles):
    assert abs(off(scan_of(patient(), angles))) < 0.08


def test_what_the_scan_says_is_not_looked_at_where_it_is_estimated():
    scan = scan_of(patient())
    expected = estimate_mu_water(scan)
    for wrong in (MU_WATER / 20, 5.0, None):
        assert estimate_mu_water(dataclasses.replace(scan, mu_water=wrong)) == expected


def test_twice_the_line_integrals_are_twice_the_attenuation():
    scan = scan_of(patient())
    twice = dataclasses.replace(scan, y=2 * scan.y)
    assert estimate_mu_water(twice).mu_water == pytest.approx(
        2 * estimate_mu_water(scan).mu_water, rel=1e-4
    )


@functools.cache
def tissue(count=100_000):
    """Draw voxels whose mass is distributed as in `TISSUES`."""
    rng = np.random.default_rng(0)
    shares, mean, std = np.array(TISSUES).T
    kind = rng.choice(len(shares), count, p=shares / shares.sum())
    u = rng.normal(1 + mean[kind] / 1000, std[kind] / 1000)
    u = u[u > 0.02]
    return rng.choice(u, count, p=(1 / u) / (1 / u).sum())


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-4, 1e4), air=st.integers(0, 3))
def test_the_histogram_of_tissue_is_recognised_on_any_scale_in_any_amount_of_air(scale, air):
    u = tissue()
    mu = scale * np.concatenate([u, np.zeros(air * len(u))])
    found = match_tissue(mu)
    assert found.mu_water == pytest.approx(scale, rel=0.01)
    assert found.overlap > 0.97
    assert found.sure


@pytest.mark.parametrize("views", [8, 60])
@pytest.mark.parametrize("u", [1.0, 2.5])
def test_of_a_cylinder_the_material_is_taken_for_water(views, u):
    y, x = radius()
    scan = scan_of(u * (np.hypot(x, y) < 0.7), sparse_view(views), mu_water=0.01)
    found = estimate_mu_water(scan)
    assert found.mu_water == pytest.approx(0.01 * u, rel=0.03)
    assert found.how == "material"
    assert not found.sure
    assert "its peak is clear" in found.words


@pytest.mark.parametrize("views", [8, 60])
def test_without_a_clear_peak_it_says_that_it_is_unsure(views):
    y, x = radius()
    ramp = np.where(np.hypot(x, y) < 0.7, 1 + x, 0.0)  # 0.3 to 1.7
    found = estimate_mu_water(scan_of(ramp, sparse_view(views), mu_water=0.01))
    assert not found.sure
    assert "unsure" in found.words


def test_a_scan_of_air_is_no_reason_to_fail():
    scan = scan_of(np.zeros(GRID.shape[1:]), photons=None)
    found = estimate_mu_water(scan)
    assert not found.sure
    assert "nothing in it does attenuate" in found.words
    assert match_tissue(np.zeros(8)) == found


def test_what_is_given_goes_before_what_is_stated_and_that_before_an_estimate():
    scan = scan_of(patient())
    known, how = calibrated(scan)
    assert (known.mu_water, how.how) == (MU_WATER, "stated")
    known, how = calibrated(scan, 0.03)
    assert (known.mu_water, how.how) == (0.03, "given")
    nobody = dataclasses.replace(scan, mu_water=None)
    known, how = calibrated(nobody)
    assert how == estimate_mu_water(scan)
    assert known.mu_water == how.mu_water
    assert nobody.mu_water is None


@pytest.mark.parametrize("scale", [0.4, 2.0])
def test_a_scale_multiplies_what_a_method_is_shown(scale):
    scan = scan_of(patient())
    known, how = calibrated(scan, scale=scale)
    assert known.mu_water == pytest.approx(MU_WATER / scale)
    assert how.scale == scale
    plain, scaled = (reconstruct(s, "fbp").hu + 1000 for s in (scan, known))
    np.testing.assert_allclose(scaled, scale * plain, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e9])
@pytest.mark.parametrize("option", ["mu_water", "scale"])
def test_numbers_that_no_beam_has_are_refused(option, value):
    scan = scan_of(patient(), sparse_view(2))
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} "):
        calibrated(scan, **{option: value})


def test_a_scan_that_is_not_calibrated_is_reconstructed_as_one_that_is(caplog):
    scan = scan_of(patient())
    nobody = dataclasses.replace(scan, mu_water=None)
    found = estimate_mu_water(scan)
    expected = reconstruct(dataclasses.replace(scan, mu_water=found.mu_water), "fbp")
    with caplog.at_level("INFO", "diffusionblend"):
        assert reconstruct(nobody, "fbp").hu.tobytes() == expected.hu.tobytes()
    assert found.words in caplog.text
    result = reconstruct_and_assess(nobody, "fbp")
    assert result.volume.hu.tobytes() == expected.hu.tobytes()
    assert result.quality.calibration == found
    assert found.words in [w.text for w in result.quality.warnings if w.code == "calibration"]


def test_a_method_with_a_prior_is_told_what_was_given_and_no_warning_is_made_of_it(tmp_path):
    scan = dataclasses.replace(scan_of(patient()), mu_water=None)
    result = reconstruct_and_assess(
        scan, prior=str(save_tiny_prior(tmp_path)), steps=1, mu_water=MU_WATER, classical=False
    )
    assert result.quality.calibration.how == "given"
    assert "calibration" not in {w.code for w in result.quality.warnings}


def test_the_attenuation_of_the_mass_is_that_of_the_material_whatever_the_air():
    for air in (0, 1, 100):
        u = torch.cat([torch.full((50,), 1.7), torch.zeros(air), -torch.ones(air)])
        assert typical_attenuation(u) == pytest.approx(1.7)
    assert typical_attenuation(torch.zeros(3)) == 0


@given(count=st.integers(1, 500), most=st.integers(1, 60))
def test_indices_that_are_spread_evenly_are_there_and_differ(count, most):
    found = spread(count, most)
    assert len(set(found)) == len(found) == min(count, most)
    assert 0 <= min(found) <= max(found) < count
