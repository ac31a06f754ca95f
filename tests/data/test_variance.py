"""The variance of line integrals: right in the mean, so that few counts pull no level down."""

import numpy as np
import pytest

from diffusionblend.data.scan import NO_NOISE, Noise, Scan
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.io.projections.counts.flat import lifted
from diffusionblend.reconstruction.reconstruct import reconstruct
from support.cases import MU, counts, cylinder, project
from support.phantoms import placed

GEOMETRY = placed(parallel_beam, Grid.from_spacing((3, 128, 128), (2.0, 2.0, 2.0)), sparse_view(40))
BODY = [(cylinder(4, -3, 90.0), MU)]


def scan_of(y, photons):
    measured = lifted(counts(y, photons).astype(np.float64), 1.0, 0.0)
    lines = -np.log(measured / photons).transpose(1, 0, 2)
    return Scan(lines.astype(np.float32), GEOMETRY, Noise(photons), MU)


@pytest.fixture(scope="module")
def y():
    return project(BODY, GEOMETRY)


@pytest.mark.parametrize("photons", [500, 2000])
def test_weights_of_few_counts_do_not_favour_the_larger(y, photons):
    """Those by each ray's own count made the weighted mean lower by one over the counts."""
    scan = scan_of(y, photons)
    error, behind = scan.y - y.transpose(1, 0, 2), y.transpose(1, 0, 2) > 3
    by_count = np.average(error[behind], weights=1 / scan.noise.variance(scan.y)[behind])
    mean = np.average(error[behind], weights=1 / scan.variance()[behind])
    assert by_count < -0.5 * np.exp(3.4) / photons
    assert abs(mean) < 0.2 * abs(by_count)


def test_the_variance_is_that_of_the_expected_counts_and_none_without_noise(y):
    scan = scan_of(y, 2000)
    expected = scan.noise.variance(y.transpose(1, 0, 2))
    ratio = scan.variance() / expected
    assert np.median(ratio) == pytest.approx(1, abs=0.05)
    behind = expected > 0.01
    by_itself = scan.noise.variance(scan.y) / expected
    assert np.std(ratio[behind]) < 0.6 * np.std(by_itself[behind])
    assert Scan(scan.y, GEOMETRY, NO_NOISE).variance() is None


def test_a_wire_and_an_edge_of_metal_are_judged_by_themselves(y):
    """A ray through them brings few counts; its neighbours do not say so."""
    with_metal = y.copy()
    with_metal[:, :, 40] += 4.0
    with_metal[:, :, 120:130] += 4.0
    scan = scan_of(with_metal, 2e4)
    known = scan.noise.variance(scan.y)
    for place in (40, 120, 129):
        np.testing.assert_array_equal(scan.variance()[..., place], known[..., place])


@pytest.mark.parametrize(("photons", "before"), [(2000, -7.8), (500, -19.3)])
def test_water_behind_few_counts_has_its_level(y, photons, before):
    hu = reconstruct(scan_of(y, photons), "tv", classical=False).volume.hu
    x, y_mm = np.meshgrid(*[np.arange(-127, 128, 2)] * 2)
    level = float(np.mean(hu[:, np.hypot(x - 4, y_mm + 3) < 80]))
    assert abs(level) < 3 < abs(before)
