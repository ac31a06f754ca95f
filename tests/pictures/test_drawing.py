"""Pictures of scans: what is drawn is there, and true to scale."""

import numpy as np
import pytest

from diffusionblend.data.scan import Scan
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.pictures.scanner import FIRST, PANEL, draw_scan, panels
from support.phantoms import changed, placed

GRID = Grid.from_spacing((8, 24, 24), (2.0, 1.5, 1.5))
PLACE = {"sod_mm": 100.0, "sdd_mm": 150.0}
BEAMS = {
    "parallel": placed(parallel_beam, GRID, sparse_view(4)),
    "fan": placed(fan_beam, GRID, sparse_view(4, 360), **PLACE),
    "cone": placed(cone_beam, GRID, sparse_view(4, 360), **PLACE),
}


def scan_of(geometry):
    y = np.random.default_rng(0).random(geometry.sinogram_shape, np.float32)
    return Scan(y, geometry)


def painted(picture, colour, within):
    """Rows and columns (pixels,) of the pixels of about a colour: edges ring a little."""
    return np.nonzero((np.abs(np.asarray(picture, float) - colour) < within).all(axis=2))


@pytest.mark.parametrize("beam", BEAMS)
def test_a_sheet_shows_the_panels_side_by_side(beam):
    scan = scan_of(BEAMS[beam])
    drawn = panels(scan.geometry, scan.y)
    assert len(drawn) == (3 if beam == "cone" else 2)
    sheet = np.asarray(draw_scan(scan.geometry, scan.y))
    for index, panel in enumerate(drawn):
        left = 24 + index * 584
        assert np.array_equal(sheet[64 : 64 + 560, left : left + 560], np.asarray(panel.picture))


@pytest.mark.parametrize("offset_mm", [0.0, 6.0])
def test_the_side_of_a_cone_is_true_to_scale(offset_mm):
    scan = scan_of(changed(BEAMS["cone"], row_offset_mm=offset_mm))
    cone = scan.geometry.beam
    picture = panels(scan.geometry, scan.y)[1].picture
    down, across = painted(picture, FIRST, 14)
    detector = down[across == across.max() - 1]
    box_down, box_across = painted(picture, PANEL, 3)
    # From source to detector, and along the rows between the centres of the first and the last.
    source = across[across < 100].mean()
    pixels_a_mm = (across.max() - 2 - source) / cone.sdd_mm
    assert np.ptp(detector) == pytest.approx((cone.rows - 1) * cone.row_mm * pixels_a_mm, abs=5)
    assert detector.mean() - box_down.mean() == pytest.approx(offset_mm * pixels_a_mm, abs=2)
    # Without the outline, of three pixels on both sides.
    assert np.ptp(box_across) == pytest.approx(24 * 1.5 * pixels_a_mm, abs=7)
    assert np.ptp(box_down) == pytest.approx(8 * 2.0 * pixels_a_mm, abs=7)
    assert box_across.mean() - source == pytest.approx(cone.sod_mm * pixels_a_mm, abs=5)
