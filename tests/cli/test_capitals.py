"""Names in capitals, as some systems write them, are names of the same things."""

import json

import numpy as np
import pytest
from PIL import Image

from diffusionblend.io.scans import read_scan
from support.commands import command

OUTPUTS = {
    "REPORT.HTML": ("report", "{volume}"),
    "REPORT.HTM": ("report", "{volume}"),
    "SCAN.PNG": ("info", "{scan}"),
    "SCAN.H5": ("simulate", "{volume}", "--views", 3, "--size", 16),
    "VOLUME.NII.GZ": ("reconstruct", "{scan}", "--method", "fbp"),
    "VOLUME.NRRD": ("reconstruct", "{scan}", "--method", "fbp"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_may_be_named_in_capitals(data, place, name):
    verb, given, *rest = OUTPUTS[name]
    ended = command(
        verb, given.format(volume=data.volume, scan=data.scan), *rest, "-o", place / name
    )
    assert ended.code == 0, ended.err
    assert (place / name).stat().st_size > 100


def test_what_is_named_in_capitals_is_of_that_kind(data, place):
    command("info", data.scan, "-o", place / "SCAN.PNG")
    with Image.open(place / "SCAN.PNG") as picture:
        assert picture.format == "PNG"
    command("reconstruct", data.scan, "--method", "fbp", "-o", place / "VOLUME.NII.GZ")
    assert (place / "VOLUME.NII.GZ").read_bytes()[:2] == b"\x1f\x8b"


def test_a_description_may_be_named_in_capitals(place):
    views = np.exp(-np.hypot(*np.mgrid[-2:2:8j, -2:2:16j])).astype("f4")
    with open(place / "SCAN.NPY", "wb") as file:
        np.save(file, views)
    (place / "GEOMETRY.JSON").write_text(
        json.dumps(
            {
                "schema": "diffusionblend-geometry/1",
                "kind": "parallel",
                "bin_mm": 1.0,
                "angles_deg": {"start": 0, "step": 22.5, "count": 8},
                "data": {
                    "file": "SCAN.NPY",
                    "quantity": "line-integrals",
                    "order": ["view", "bin"],
                },
            }
        )
    )
    stated = ("--centre", "none", "--photons", 1e4)
    ended = command("import", place / "GEOMETRY.JSON", "-o", place / "S.H5", *stated)
    assert ended.code == 0, ended.err
    scan = read_scan(place / "S.H5")
    np.testing.assert_array_equal(scan.y, views[None])
    assert scan.geometry.beam.angles_deg == tuple(22.5 * view for view in range(8))
