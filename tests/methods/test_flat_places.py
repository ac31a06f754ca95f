"""Water that the shipped prior makes: its noise falls with the number of views."""

import pytest

import diffusionblend as db
from support.studies import study


@pytest.fixture(scope="module")
def spread():
    """The standard deviation of water, in HU, with so many views of 2e4 photons per bin."""
    faults = study("views_and_faults")

    def of(views, **options):
        scan = faults.measured(faults.Cell("parallel", views, "none", "diffusionblend-fast"))
        made = db.reconstruct(scan, classical=False, **options)
        water = made.volume.hu[faults.water_at(faults.SIZE)]
        assert abs(float(water.mean())) < 2
        return float(water.std())

    return of


def test_more_views_make_flat_places_flatter(spread):
    few, more, many = (spread(views) for views in (8, 20, 60))
    assert few > more > many
    assert many < 4.5


def test_without_knowing_flat_places_the_noise_of_the_data_stays_in_them(spread):
    assert spread(60, surer=0) > 1.5 * spread(60)
