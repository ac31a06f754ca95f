"""Geometry files of other packages beside projections: the unit of angles, the order of axes."""

import json

import numpy as np
import pytest
import tifffile

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.projections.importing import import_scan

VIEWS, ROWS, BINS = 60, 5, 24
TURN = np.arange(VIEWS) * 6.0
GOLDEN = np.arange(VIEWS) * 180 * (np.sqrt(5) - 1)
LINES = {"quantity": "line-integrals", "air_bins": "none"}


def written(folder, angles, package="astra"):
    """Write projections in the order of ASTRA, and a geometry with these angles."""
    y = np.random.default_rng(0).random((ROWS, VIEWS, BINS)).astype(np.float32)
    astra = {
        "type": "cone", "DetectorSpacingX": 2.0, "DetectorSpacingY": 2.5, "DetectorRowCount": ROWS,
        "DetectorColCount": BINS, "DistanceOriginSource": 200, "DistanceOriginDetector": 120,
        "ProjectionAngles": angles.tolist(),
    }  # fmt: skip
    tigre = {
        "DSO": 200, "DSD": 320, "nDetector": [ROWS, BINS], "dDetector": [2.5, 2.0],
        "angles": angles.tolist(),
    }  # fmt: skip
    np.save(folder / "p.npy", y if package == "astra" else y.transpose(1, 0, 2))
    path = folder / "g.json"
    path.write_text(json.dumps(astra if package == "astra" else tigre))
    return folder / "p.npy", path


def turns(scan):
    """Return directions of views from the first, in whole turns."""
    angles = np.array(scan.geometry.beam.angles_deg)
    return np.mod(np.round(angles - angles[0], 6) / 360, 1)


@pytest.mark.parametrize("package", ["astra", "tigre"])
@pytest.mark.parametrize("angles", [TURN, np.linspace(0, 180, VIEWS), TURN + 0.5 / 7])
def test_degrees_for_radians_are_refused_and_the_cure_works(tmp_path, package, angles):
    """Degrees were read as radians, 57 turns instead of one."""
    source, path = written(tmp_path, angles, package)
    with pytest.raises(UnsupportedInput, match="look like degrees; expected radians"):
        import_scan(source, geometry=path, **LINES)
    scan = import_scan(source, geometry=path, angles="degrees", **LINES)
    assert turns(scan) == pytest.approx((angles - angles[0]) / 360)


@pytest.mark.parametrize("package", ["astra", "tigre"])
@pytest.mark.parametrize("angles", [TURN, TURN - 180, GOLDEN, np.mod(GOLDEN, 360), TURN / 2])
@pytest.mark.parametrize("unit", [None, "radians"])
def test_radians_are_radians_whatever_is_said(tmp_path, package, angles, unit):
    """`angles='radians'` multiplied the degrees that they had become by 57 once more."""
    source, path = written(tmp_path, np.radians(angles), package)
    scan = import_scan(source, geometry=path, angles=unit, **LINES)
    assert turns(scan) == pytest.approx(np.mod(np.round(angles - angles[0], 6) / 360, 1))


def test_views_in_files_beside_sinograms_of_astra(tmp_path):
    """A folder has a view in each file, whatever the order of arrays; the refusal names it."""
    source, path = written(tmp_path, np.radians(TURN))
    y = np.load(source)
    (tmp_path / "f").mkdir()
    for view in range(VIEWS):
        tifffile.imwrite(tmp_path / "f" / f"p{view:03d}.tif", y[:, view])
    with pytest.raises(UnsupportedInput, match="give `order='view,row,bin'`"):
        import_scan(tmp_path / "f", geometry=path, **LINES)
    scan = import_scan(tmp_path / "f", geometry=path, order="view,row,bin", **LINES)
    assert np.array_equal(scan.y, import_scan(source, geometry=path, **LINES).y)
