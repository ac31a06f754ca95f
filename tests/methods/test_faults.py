"""The default method with many views, a source that is not steady, and things denser than bone."""

import numpy as np
import pytest
import torch

import diffusionblend as db
from diffusionblend.projectors.accuracy import OPERATOR_VARIANCE, operator_variance
from support.cases import MU, ball, coarse_beam, cylinder, measure, phantom, scan_of


def flickering(views, share, seed=3):
    return 1 + share * np.random.default_rng(seed).standard_normal(views)


def drifting(views, share):
    return np.linspace(1, 1 - share, views)


def shut(views, at):
    return np.where(np.isin(np.arange(views), at), 1e-4, 1.0)


def warned(made):
    return {w.code for w in made.quality.warnings}


WATER = phantom(balls=())
FLUX = {
    "parallel, 8, as it should be": ("parallel", 1.0, 8),
    "parallel, 60, as it should be": ("parallel", 1.0, 60),
    "parallel, 180, as it should be": ("parallel", 1.0, 180),
    "parallel, 400, as it should be": ("parallel", 1.0, 400),
    "fan, 180, as it should be": ("fan", 1.0, 180),
    "parallel, 20, flickers": ("parallel", flickering(20, 0.03), 20),
    "parallel, 60, flickers a little": ("parallel", flickering(60, 0.01), 60),
    "parallel, 200, flickers": ("parallel", flickering(200, 0.03), 200),
    "fan, 60, flickers": ("fan", flickering(60, 0.05), 60),
    "cone, 20, flickers": ("cone", flickering(20, 0.03), 20),
    "parallel, 60, drifts a little": ("parallel", drifting(60, 0.02), 60),
    "parallel, 60, drifts": ("parallel", drifting(60, 0.05), 60),
    "fan, 90, rises": ("fan", drifting(90, -0.04), 90),
}


@pytest.mark.parametrize(("kind", "flux", "views"), FLUX.values(), ids=FLUX)
def test_water_is_water_whatever_the_flux_and_the_number_of_views(kind, flux, views):
    scan = scan_of(coarse_beam(kind, views), objects=WATER, flux=flux)
    made = db.reconstruct(scan, classical=False)
    found = measure(made.volume, ())
    assert abs(found.water) < 3
    assert found.spread < 22  # the prior's texture, which differs by 2 HU from weights to weights
    uneven = np.ndim(flux) > 0
    assert ("flux" in warned(made)) == uneven
    assert "residual-high" not in warned(made)
    if uneven:
        assert made.quality.residual.flux == pytest.approx(float(np.log(flux).std()), rel=0.5)


@pytest.mark.parametrize("at", [(20,), (3, 90, 171), (40, 41, 42)])
def test_views_with_a_closed_shutter_do_no_harm_and_are_named(at):
    scan = scan_of(coarse_beam("parallel", 180), objects=WATER, flux=shut(180, at))
    made = db.reconstruct(scan, classical=False)
    found = measure(made.volume, ())
    assert abs(found.water) < 3
    assert found.spread < 20
    assert {bad.where[0] for bad in made.quality.residual.bad_views} == set(at)
    assert "flux" not in warned(made)


@pytest.mark.parametrize("method", ["sbtv", "cgls"])
def test_flux_that_differs_is_told_of_other_methods_too(method):
    scan = scan_of(coarse_beam("fan", 60), objects=WATER, flux=flickering(60, 0.03))
    made = db.reconstruct(scan, method)
    assert made.quality.residual.flux == pytest.approx(0.03, rel=0.4)
    steady = db.reconstruct(scan_of(coarse_beam("fan", 60), objects=WATER), method)
    assert steady.quality.residual.flux == 0


DENSE = {  # HU, radius in mm
    "enamel": (4000, 8.0),
    "gold beside enamel": (12_000, 6.0),
    "aluminium": (9000, 10.0),
    "steel": (34_000, 6.0),
}


@pytest.mark.parametrize(("hu", "radius"), DENSE.values(), ids=DENSE)
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_what_is_denser_than_the_prior_keeps_its_value_and_spoils_nothing(kind, hu, radius):
    metal = (cylinder(-5, -5, radius), MU * hu / 1000)
    scan = scan_of(coarse_beam(kind), objects=[*WATER, metal], photons=None)
    made = db.reconstruct(scan)
    at = 2.0 * (np.arange(64) - 31.5)
    y, x = np.meshgrid(at, at, indexing="ij")
    away = np.hypot(x + 5, y + 5)
    inside = made.volume.hu[:, away < radius - 2]
    assert inside.mean() == pytest.approx(hu, rel=0.1)
    near = (away > radius + 6) & (np.hypot(x - 4, y + 3) < 34)
    assert abs(made.volume.hu[:, near].mean()) < 5
    assert made.volume.hu[:, near].std() < 20 + 2.5 * made.classical.hu[:, near].std()
    assert "value-range" in warned(made)
    assert "bad-bins" not in warned(made)


def test_a_marker_of_a_few_voxels_keeps_its_value():
    steel = (ball(-5, -5, 0, 4.0), 34 * MU)
    volume = db.reconstruct(
        scan_of(coarse_beam(), objects=[*WATER, steel], photons=None), classical=False
    )
    at = [mm * (np.arange(n) - (n - 1) / 2) for n, mm in ((9, 2.0), (64, 2.0), (64, 2.0))]
    z, y, x = np.meshgrid(*at, indexing="ij")
    near = (x + 5) ** 2 + (y + 5) ** 2 + z**2 < 9**2
    mass = 2.0**3 * volume.hu[near].sum()  # of water there is none: 0 HU
    assert mass == pytest.approx(34_000 * 4 / 3 * np.pi * 4**3, rel=0.1)


def test_the_operator_is_less_certain_beside_metal_alone():
    y = torch.zeros(1, 2, 40)
    y[:, :, 20:] = 25.0  # the edge of a body
    assert torch.equal(operator_variance(y), torch.full_like(y, OPERATOR_VARIANCE))
    y[:, 1, 20:] = 300.0
    variance = operator_variance(y)
    assert float(variance[0, 1, 19]) > 10
    assert float(variance[0, 1, 10]) == pytest.approx(OPERATOR_VARIANCE)
    assert operator_variance(y[..., :1]).shape == (1, 2, 1)
