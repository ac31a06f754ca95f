"""The value range: mu_water is found where nobody measured it, and doubted where it cannot be."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusionblend.calibration.body import find_outline
from diffusionblend.calibration.coarse import evenly_spaced
from diffusionblend.calibration.tissue import BODIES, match_tissue
from diffusionblend.calibration.water import calibrated, estimate_mu_water, typical_attenuation
from diffusionblend.data.scan import Scan
from diffusionblend.data.units import MU_WATER, WATER_PER_MM, energy_of_water
from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, DiffusionBlendWarning, UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import (
    cone_beam,
    fan_beam,
    limited_angle,
    parallel_beam,
    sparse_view,
)
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.simulation.simulate import simulate
from support.cases import cylinder, project
from support.phantoms import changed, placed
from support.small_data import save_tiny_prior

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


@pytest.mark.parametrize(("how", "factor"), [("tissue", 0.5), ("material", 1e-3), ("material", 50)])
def test_so_many_times_the_line_integrals_are_as_many_times_the_attenuation(how, factor):
    y, x = radius()
    u = patient() if how == "tissue" else np.where(np.hypot(x, y) < 0.7, 1.0, 0)
    scan = scan_of(u)
    changed = dataclasses.replace(scan, y=factor * scan.y)
    before, after = (estimate_mu_water(s) for s in (scan, changed))
    assert before.how == after.how == how
    assert after.mu_water == pytest.approx(factor * before.mu_water, rel=1e-4)


@functools.cache
def tissue(body, count=100_000):
    """Draw voxels whose mass is distributed as in a body."""
    rng = np.random.default_rng(0)
    shares, mean, std = np.array(BODIES[body]).T
    kind = rng.choice(len(shares), count, p=shares / shares.sum())
    u = rng.normal(1 + mean[kind] / 1000, std[kind] / 1000)
    u = u[u > 0.02]
    return rng.choice(u, count, p=(1 / u) / (1 / u).sum())


@settings(max_examples=20, deadline=None)
@given(body=st.sampled_from(list(BODIES)), scale=st.floats(1e-4, 1e4), air=st.integers(0, 3))
def test_the_histogram_of_tissue_is_recognised_on_any_scale_in_any_amount_of_air(body, scale, air):
    u = tissue(body)
    mu = scale * np.concatenate([u, np.zeros(air * len(u))])
    found = match_tissue(mu)
    assert found.water == pytest.approx(scale, rel=0.01)
    assert found.overlap > 0.97


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
    assert "uncertain" in found.words


def test_a_scan_of_air_is_no_reason_to_fail():
    scan = scan_of(np.zeros(GRID.shape[1:]), photons=None)
    found = estimate_mu_water(scan)
    assert not found.sure
    assert "nothing in it attenuates" in found.words
    assert match_tissue(np.zeros(8)) is None


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
    with pytest.raises(UsageError, match=f"^`{option}="):
        calibrated(scan, **{option: value})


def test_a_scan_that_is_not_calibrated_is_reconstructed_as_one_that_is():
    scan = scan_of(patient())
    nobody = dataclasses.replace(scan, mu_water=None)
    found = estimate_mu_water(scan)
    expected = reconstruct(dataclasses.replace(scan, mu_water=found.mu_water), "fbp")
    with pytest.warns(DiffusionBlendWarning) as warned:
        result = reconstruct(nobody, "fbp")
    assert [str(w.message) for w in warned] == [found.words]
    assert result.hu.tobytes() == expected.hu.tobytes()
    assert result.quality.calibration == found
    assert found.words in [w.text for w in result.quality.warnings if w.code == "calibration"]


def test_a_method_with_a_prior_is_told_what_was_given_and_no_warning_is_made_of_it(tmp_path):
    scan = dataclasses.replace(scan_of(patient()), mu_water=None)
    result = reconstruct(
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
    found = evenly_spaced(count, most)
    assert len(set(found)) == len(found) == min(count, most)
    assert 0 <= min(found) <= max(found) < count


def lines_of(objects, views=60, size=64):
    """Return a scan, in bins of 2 mm, of objects in closed form; it states no mu_water."""
    grid = Grid.from_spacing((1, size, size), (2.0, 2.0, 2.0))
    geometry = placed(parallel_beam, grid, sparse_view(views))
    return Scan(project(objects, geometry).transpose(1, 0, 2), geometry, mu_water=None)


def ring_of(number, radius, part, mu):
    """Return cylinders spread evenly over a circle: teeth, or the holes of a casting."""
    turns = np.linspace(0, 2 * np.pi, number, endpoint=False)
    return [(cylinder(radius * np.cos(t), radius * np.sin(t), part), mu) for t in turns]


def foam(radius, mu, bubbles, seed):
    """Return a cylinder with bubbles of air that do not touch."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(4000):
        place, r = rng.uniform(-radius, radius, 2), rng.uniform(0.03, 0.12) * radius
        inside = np.hypot(*place) + r < 0.98 * radius
        if inside and all(np.hypot(*(place - p)) > r + s for p, s in found):
            found.append((place, r))
        if len(found) == bubbles:
            break
    return [(cylinder(0, 0, radius), mu), *((cylinder(*p, r), -mu) for p, r in found)]


NO_BODIES = {
    "steel gear": [
        (cylinder(0, 0, 30), 0.05),
        (cylinder(0, 0, 8), -0.05),
        *ring_of(24, 34, 3, 0.05),
    ],
    "large gear of plastic": [(cylinder(0, 0, 48), 0.02), *ring_of(16, 52, 6, 0.02)],
    "casting with cores": [(cylinder(5, 0, 55), 0.08), *ring_of(9, 30, 8, -0.08)],
    "polymer foam": foam(40, 0.03, 200, 5),
    "large foam": foam(60, 0.02, 120, 6),
    "bolt in plastic": [(cylinder(4, -3, 40), 0.02), (cylinder(10, 5, 12), 0.48)],
    "bar of three metals": [
        (cylinder(0, 0, 50), 0.02),
        (cylinder(9, 9, 20), 0.01),
        (cylinder(-20, 5, 12), 0.03),
    ],
    "pipe": [(cylinder(0, 0, 58), 0.03), (cylinder(0, 0, 50), -0.03)],
}


@pytest.mark.parametrize("views", [8, 20, 60])
@pytest.mark.parametrize("name", NO_BODIES)
def test_what_is_no_body_is_never_taken_for_one_with_certainty(name, views):
    found = estimate_mu_water(lines_of(NO_BODIES[name], views))
    assert found.how == "material"
    assert not found.sure
    assert "percent" not in found.words
    assert "`mu_water`" in found.words
    assert "`scale`" in found.words


@pytest.mark.parametrize(
    ("name", "mu"),
    [("steel gear", 0.05), ("large gear of plastic", 0.02), ("casting with cores", 0.08)],
)
def test_the_main_material_is_taken_for_water(name, mu):
    assert estimate_mu_water(lines_of(NO_BODIES[name])).mu_water == pytest.approx(mu, rel=0.04)


def test_a_patient_is_sure_from_many_views_and_not_from_few():
    assert estimate_mu_water(scan_of(patient(), sparse_view(60))).sure
    few = estimate_mu_water(scan_of(patient(), sparse_view(8)))
    assert (few.how, few.sure) == ("tissue", False)
    assert "8 views are too few to tell tissue" in few.words


@pytest.mark.parametrize(
    ("lengths", "numbers"), [(1e-3, 1), (0.1, 1), (10, 1), (1e3, 1), (1, 1e3), (1, 1e-3), (1, 6e4)]
)
def test_a_patient_in_a_wrong_unit_is_not_sure_and_the_unit_is_named(lengths, numbers):
    scan = scan_of(patient(), sparse_view(60))
    geometry = scan.geometry
    grid = Grid.from_spacing(geometry.grid.shape, [lengths * mm for mm in geometry.grid.spacing_mm])
    wrong = changed(geometry, grid=grid, bin_mm=lengths * geometry.beam.bin_mm)
    found = estimate_mu_water(dataclasses.replace(scan, geometry=wrong, y=numbers * scan.y))
    assert (found.how, found.sure) == ("material", False)
    assert "the lengths are" in found.words
    assert found.mu_water == pytest.approx(MU_WATER * numbers / lengths, rel=0.2)


@pytest.mark.parametrize("value", [2e-10, 2e8])
def test_one_rule_limits_what_is_given_stated_and_estimated(value):
    scan = scan_of(patient(), sparse_view(20))
    nobody = dataclasses.replace(scan, mu_water=None)
    with pytest.raises(UsageError, match=r"^`mu_water=2e"):
        calibrated(nobody, value)
    with pytest.raises(UnsupportedInput, match="mu_water"):
        dataclasses.replace(scan, mu_water=value)
    with pytest.raises((UsageError, CorruptInput), match=r"estimated at|integrals are as large"):
        calibrated(dataclasses.replace(nobody, y=(value / MU_WATER) * scan.y.astype(np.float64)))


@pytest.mark.parametrize(
    ("value", "possible"), [(0.0193, True), (0.5, True), (1e-5, False), (800.0, False)]
)
def test_an_attenuation_that_water_never_has_is_told_whoever_says_it(value, possible):
    scan = scan_of(patient(), sparse_view(2))
    _, given = calibrated(scan, value)
    _, stated = calibrated(dataclasses.replace(scan, mu_water=value))
    for found in (given, stated):
        assert found.sure == possible
        assert ("at any X-ray" in found.words) != possible


@pytest.mark.parametrize("kev", [8, 15, 50, 70, 500, 5000])
def test_the_energy_of_water_is_between_those_of_the_table(kev):
    table = np.array(list(WATER_PER_MM.items())).T
    mu = float(np.exp(np.interp(math.log(kev), *np.log(table))))
    assert energy_of_water(mu) == pytest.approx(kev, rel=1e-3)
    assert energy_of_water(table[1].max() * 1.01) is None
    assert energy_of_water(table[1].min() / 1.01) is None


@pytest.mark.parametrize(("height", "long"), [(1.0, 1.0), (0.6, 1 / 0.6)])
def test_the_outline_is_that_of_the_largest_part_without_its_holes(height, long):
    y, x = radius()
    r = np.hypot(x, y / height)
    u = np.where((r < 0.7) & (r > 0.3), 1.0, 0.0)
    u[:3, :3] = 1.0
    found = find_outline(np.stack([u, 0 * u]), 0.3, 4.0)
    assert found.across_mm == pytest.approx(0.7 * 256 * math.sqrt(height), rel=0.02)
    assert found.long == pytest.approx(long, rel=0.03)
