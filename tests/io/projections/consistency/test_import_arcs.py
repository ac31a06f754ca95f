"""Over how many degrees a short scan went is told by its opposite rays, and nothing else is."""

import json
import re

import numpy as np
import pytest

from diffusionblend.io.projections.importing import import_scan
from support import cases
from support.phantoms import changed

VIEWS = 116


def short_scan(folder, kind, arc, said, photons=2e4, **data):
    """Write a scan of a body with balls over an arc that is said to be another one."""
    angles = tuple(np.arange(VIEWS) * arc / VIEWS)
    geometry = changed(cases.beam(kind, angles=angles, size=112, slices=5), offset_mm=1.1)
    y = -np.log(cases.counts(cases.project(cases.phantom(), geometry), photons) / photons)
    stated = changed(geometry, angles_deg=tuple(np.arange(VIEWS) * said / VIEWS))
    return cases.write_case(folder, y, stated, quantity="line-integrals", **data)


@pytest.mark.parametrize("centre", ["stated", "auto"])
@pytest.mark.parametrize("said", [200.0, 250.0])
@pytest.mark.parametrize("kind", ["fan", "cone"])
def test_an_arc_that_is_wrong_is_told_and_no_centre(tmp_path, kind, said, centre):
    """The advice was to move the axis by a bin, or the axis was so, without a word."""
    case = short_scan(tmp_path, kind, 230.0, said)
    scan = import_scan(case, **({} if centre == "stated" else {"centre": centre}))
    told = re.fullmatch(
        r"opposite rays agree [\d.]+ times better if the views went over ([\d.]+) degrees from the "
        r"first to the last, not ([\d.]+): state the angles of the turn that was made",
        scan.provenance["warnings"],
    )
    right, wrong = (arc * (VIEWS - 1) / VIEWS for arc in (230.0, said))
    assert abs(float(told[1]) - right) < 1
    assert abs(float(told[2]) - wrong) < 0.1


@pytest.mark.parametrize("photons", [1e3, 1e5])
@pytest.mark.parametrize("kind", ["fan", "cone"])
@pytest.mark.parametrize("arc", [205.0, 230.0, 300.0])
def test_a_right_arc_is_not_doubted(tmp_path, kind, photons, arc):
    assert "warnings" not in import_scan(short_scan(tmp_path, kind, arc, arc, photons)).provenance


def test_another_fault_of_a_short_scan_is_not_called_an_arc(tmp_path):
    case = short_scan(tmp_path, "fan", 230.0, 230.0)
    facts = json.loads(case.read_text())
    right = facts["bin_mm"]
    case.write_text(json.dumps(facts | {"bin_mm": right / 1.5, "offset_mm": 1.1 / 1.5}))
    warnings = import_scan(case).provenance["warnings"]
    assert f"with pixels of {right:.5g} mm" in warnings
    assert "went over" not in warnings


@pytest.mark.parametrize("kind", ["fan", "parallel"])
def test_a_short_scan_of_a_fan_that_is_called_parallel(tmp_path, kind):
    """It was told of full turns only; parallel rays over as many degrees are not doubted."""
    angles = tuple(np.arange(90) * 240.0 / 90)
    geometry = cases.beam(kind, angles=angles, size=112, slices=3)
    case = cases.write_case(
        tmp_path, cases.project(cases.phantom(), geometry), geometry, quantity="line-integrals"
    )
    facts = json.loads(case.read_text())
    for name in ("sod_mm", "sdd_mm", "detector", "axis_mm"):
        facts.pop(name, None)
    case.write_text(json.dumps(facts | {"kind": "parallel"}))
    warnings = import_scan(case).provenance.get("warnings", "")
    assert ("agree better as rays of a fan that opens by" in warnings) == (kind == "fan")
