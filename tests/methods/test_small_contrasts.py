"""What the shipped prior keeps of soft balls in water: a higher PSNR may hide them."""

import sys

import pytest

from support.studies import FOLDER, study

CONTRAST_HU = 40.0


@pytest.fixture
def balls(monkeypatch):
    """The study of soft balls, and a scan of them in 60 views of 2e4 photons per bin."""
    monkeypatch.syspath_prepend(str(FOLDER))
    contrast = study("contrast")
    monkeypatch.setattr(contrast.water, "BALL_RADIUS", contrast.RADIUS)
    monkeypatch.setattr(contrast.water, "BALL_HU", CONTRAST_HU)
    yield contrast, contrast.water.measured(contrast.water.Cell("parallel", 60, "none", "any"))
    del sys.modules["views_and_faults"]


def test_soft_balls_are_kept_from_sixty_views(balls):
    """Most of them by the default method, with an eighth of the noise of back-projection."""
    contrast, scan = balls
    kept, noise = contrast.found_in_water(None, scan, "diffusionblend-fast")
    of_fbp, much_noise = contrast.found_in_water(None, scan, "fbp")
    assert of_fbp == pytest.approx(CONTRAST_HU, abs=3)
    assert 0.7 * CONTRAST_HU < kept < 1.1 * CONTRAST_HU
    assert noise < much_noise / 8
