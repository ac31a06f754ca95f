"""Water that the shipped prior makes: its noise falls with the number of views."""

import pytest

import diffusionblend as db
from support.studies import study


@pytest.fixture(scope="module")
def spread():
    """The standard deviation of water, in HU, with so many views of 2e4 photons per bin."""
    faults = study("views_and_faults")

    def of(views):
        scan = faults.measured(faults.Cell("parallel", views, "none", "diffusionblend-fast"))
        made = db.reconstruct(scan, classical=False)
        water = made.volume.hu[faults.water_at(faults.SIZE)]
        assert abs(float(water.mean())) < 2
        return float(water.std())

    return of


def test_more_views_make_flat_places_flatter(spread):
    few, more, many = (spread(views) for views in (8, 60, 360))
    assert few > more > many
    assert many < 0.9 * few
