"""Values that are no line integrals, or are bent by counts without rays, told by sums of views."""

import re

import numpy as np
import pytest

from diffusionblend.io.projections.consistency.bent import bent
from diffusionblend.io.projections.importing import import_scan
from support import cases
from support.phantoms import Ellipsoid

BEAMS = {
    "parallel": cases.beam("parallel", 60, size=96, slices=3),
    "fan": cases.beam("fan", 90, size=96, slices=1),
    "cone": cases.beam("cone", 90, size=96, slices=3),
}
PHOTONS = 2e4
LONG = [(Ellipsoid((4.0, -3.0, 0.0), (34.0, 16.0, np.inf), 0.0), cases.MU)]
LONG += [(cases.cylinder(x, y, 4.0), cases.MU) for x, y in ((20, 3), (-9, -6), (2, 5))]
"""Sums of a round object's views agree, however their values are bent."""


def shares(kind, objects=LONG, hard=0.0, seed=0):
    """Return the share of rays that comes through (views, rows, bins), with noise, and hardened."""
    y = cases.project(objects, BEAMS[kind])
    through = (np.exp(-y * (1 - hard)) + np.exp(-y * (1 + hard))) / 2
    return np.random.default_rng(seed).poisson(PHOTONS * through) / PHOTONS


def warned(folder, kind, values, quantity="counts", **fields):
    """Return the warnings of an import of counts of so many photons, or of line integrals."""
    if quantity == "counts":
        values = PHOTONS * values
        fields = {"i0": PHOTONS} | fields
    path = cases.write_case(folder, values, BEAMS[kind], quantity=quantity, **fields)
    return import_scan(path).provenance.get("warnings", "")


def with_fields(folder, kind, values, there, taken):
    """Return the warnings of counts with so many of air without rays, and so many by the fields."""
    shape = (3, *values.shape[1:])
    np.save(folder / "dark.npy", np.full(shape, taken * PHOTONS))
    np.save(folder / "white.npy", np.full(shape, (1 + there) * PHOTONS))
    named = {"white": "white.npy", "dark": "dark.npy", "i0": None}
    return warned(folder, kind, values + there, **named)


@pytest.mark.parametrize("kind", BEAMS)
def test_right_values_are_not_doubted(tmp_path, kind):
    through = shares(kind)
    assert warned(tmp_path, kind, through) == ""
    assert warned(tmp_path, kind, -np.log(through), "line-integrals") == ""
    assert with_fields(tmp_path, kind, through, 0.05, 0.05) == ""
    hardened = shares(kind, hard=0.5)  # which is usual
    assert warned(tmp_path, kind, -np.log(hardened), "line-integrals") == ""
    assert with_fields(tmp_path, kind, hardened, 0.05, 0.05) == ""


@pytest.mark.parametrize("kind", BEAMS)
def test_what_is_absorbed_is_no_line_integral(tmp_path, kind):
    """The body was 257 HU too low, and the noise called unknown."""
    through = shares(kind)
    told = warned(tmp_path, kind, 1 - through, "line-integrals")
    assert "times better if the values are 1 less the transmission" in told
    path = cases.write_case(tmp_path, through, BEAMS[kind], quantity="counts", i0=1.0)
    scan = import_scan(path)  # as the warning says
    expected = cases.project(LONG, BEAMS[kind]).transpose(1, 0, 2)
    assert abs(float(np.mean(scan.y - expected))) < 1e-3
    assert "warnings" not in scan.provenance


@pytest.mark.parametrize("kind", BEAMS)
def test_counts_without_rays_that_no_field_takes_away(tmp_path, kind):
    through = shares(kind)
    told = warned(tmp_path, kind, (through + 0.05) / 1.05)
    assert "no dark field is given, and the sums of views agree" in told
    share = re.search("if ([0-9.]+) of the counts of air are there without rays", told)
    assert share is not None
    assert float(share[1]) == pytest.approx(0.05 / 1.05, abs=0.004)


@pytest.mark.parametrize("kind", BEAMS)
def test_dark_fields_of_another_exposure(tmp_path, kind):
    """Five times as high as right, below what comes through the darkest part."""
    told = with_fields(tmp_path, kind, shares(kind), 0.01, 0.05)
    assert "of the counts of air are given back to all counts: are the dark fields" in told
    assert "by `dark=FILE`" in told
    made = -np.log(np.maximum(shares(kind) - 0.04, 1e-3) / 0.96)
    told = warned(tmp_path, kind, made, "line-integrals")
    assert "was too much taken away as counts without rays when they were made?" in told


def test_what_tells_nothing():
    """A round object, one that is cut off, and few views."""
    through = (shares("parallel", cases.phantom(30.0, ())) + 0.05) / 1.05
    assert list(bent(-np.log(through).transpose(1, 0, 2), "counts", dark=False)) == []
    through = (shares("parallel") + 0.05) / 1.05
    y = -np.log(through).transpose(1, 0, 2)
    assert len(list(bent(y, "counts", dark=False))) == 1
    assert list(bent(y[:, ::6], "counts", dark=False)) == []
    assert list(bent(y[..., 45:-45], "counts", dark=False)) == []


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("views", [12, 40])
def test_no_right_scan_is_called_bent(views, seed):
    """Of 250 others, by a program of its own, none was either."""
    rng = np.random.default_rng(seed)
    geometry = cases.beam("parallel", views, size=64, slices=2)
    axes = (*rng.uniform(6, 24, 2), np.inf)
    objects = [(Ellipsoid((*rng.uniform(-5, 5, 2), 0.0), axes, 0.0), 0.03)]
    objects += [(cases.cylinder(*rng.uniform(-5, 5, 2), rng.uniform(1, 4)), 0.04) for _ in range(3)]
    photons = 10 ** rng.uniform(3, 6)
    counted = cases.counts(cases.project(objects, geometry), photons, seed=seed)
    y = -np.log(np.maximum(counted, 0.3) / photons).transpose(1, 0, 2)
    for quantity in ("counts", "line-integrals"):
        assert list(bent(y, quantity, dark=False)) == []
