"""Whole numbers of which the file says by what line they were made of values: these are taken."""

import json

import h5py
import numpy as np
import pytest
import tifffile

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.importing import import_scan
from support.imported import assert_is, stated
from support.measured import PARALLEL, lines, write_exchange, write_tiffs

SCALE, OFFSET = 20000.0, 300.0
STORED = np.round(SCALE * lines() + OFFSET).astype(np.uint16)
ATOL = 0.6 / SCALE
LINES = "line-integrals"


def corrections(scan):
    return scan.provenance["corrections"]


def write_cil(path, **attributes):
    with h5py.File(path, "w") as file:
        file["entry1/tomo_entry/data/data"] = STORED
        file["entry1/tomo_entry/data/rotation_angle"] = PARALLEL.beam.angles_deg
        file["entry1/tomo_entry/data/data"].attrs.update(attributes)
    return path


def test_what_cil_compresses(tmp_path):
    """Line integrals were 300 to 30 000."""
    path = write_cil(tmp_path / "a.nxs", scale=SCALE, offset=OFFSET)
    scan = import_scan(path, stated(quantity=LINES))
    assert_is(scan, atol=ATOL)
    assert "stored numbers times 5e-05 plus -0.015, as the file says" in corrections(scan)


def test_the_tiff_that_cil_compresses(tmp_path):
    folder = write_tiffs(tmp_path / "a", STORED)
    (folder / "scaleoffset.json").write_text(json.dumps({"scale": SCALE, "offset": OFFSET}))
    listed = tmp_path / "angles.txt"
    listed.write_text("\n".join(map(str, PARALLEL.beam.angles_deg)))
    options = stated(quantity=LINES, angles_from=listed)
    assert_is(import_scan(folder, options), atol=ATOL)
    (folder / "scaleoffset.json").write_text("{")
    with pytest.raises(CorruptInput, match=r"scaleoffset\.json: is not valid JSON"):
        import_scan(folder, options)


@pytest.mark.parametrize("each", [True, False], ids=["of each view", "of all views"])
def test_what_imagej_calibrates(tmp_path, each):
    """So it stores signed numbers of 16 bits; each picture may have a line of its own."""
    (tmp_path / "a").mkdir()
    for view, y in enumerate(lines()):
        slope = (view + 1) / SCALE if each else 1 / SCALE
        tifffile.imwrite(
            tmp_path / "a" / f"view_{view}.tif",
            np.round(y / slope + 32768).astype(np.uint16),
            description=f"ImageJ=1.53t\nimages=1\ncf=0\nc0={-32768 * slope}\nc1={slope}\n",
            metadata=None,
        )
    listed = tmp_path / "angles.txt"
    listed.write_text("\n".join(map(str, PARALLEL.beam.angles_deg)))
    scan = import_scan(tmp_path / "a", stated(quantity=LINES, angles_from=listed))
    assert_is(scan, atol=ATOL * len(scan.y[0]))


def test_a_scale_factor_of_counts(tmp_path):
    """Of half the counts, as sums of two frames are stored: air had half of its white fields."""
    plain = import_scan(write_exchange(tmp_path / "a.h5"), stated())
    path = write_exchange(tmp_path / "b.h5")
    with h5py.File(path, "a") as file:
        file["exchange/data"][...] = file["exchange/data"][...] / 2
        file["exchange/data"].attrs["scale_factor"] = 2.0
    scan = import_scan(path, stated())
    np.testing.assert_allclose(scan.y, plain.y, atol=1e-5)
    assert "stored numbers times 2 plus 0" in corrections(scan)


@pytest.mark.parametrize("attributes", [{"scale": 0.0, "offset": 1.0}, {"scale_factor": np.nan}])
def test_scales_that_are_none(tmp_path, attributes):
    path = write_cil(tmp_path / "a.nxs", **attributes)
    with pytest.raises(CorruptInput, match="expected the slope and offset of the stored numbers"):
        import_scan(path, stated(quantity=LINES))


def test_one_word_alone_is_no_scale(tmp_path):
    path = write_cil(tmp_path / "a.nxs", scale=SCALE)
    assert "stored numbers" not in corrections(import_scan(path, stated(quantity=LINES)))
