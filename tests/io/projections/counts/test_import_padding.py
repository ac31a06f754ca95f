"""Bins that were added to what was measured, and numbers that no ray can have."""

import numpy as np
import pytest

from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.counts.padding import padded
from diffusionblend.io.projections.importing import import_scan
from support import cases

WIDE = [(cases.cylinder(3, -2, 80), cases.MU)]  # more than 64 bins see
GAP = slice(50, 53)
ADDED = ((0, 0), (0, 0), (20, 20))


def imported(folder, y, geometry, **data):
    source = cases.write_case(folder, y, geometry, **{"quantity": "line-integrals"} | data)
    return import_scan(source)


def with_fields(folder, right, dark=0.0, gap=None):
    """Write fields of air and of no rays; return how geometry.json names them."""
    folder.mkdir(exist_ok=True)
    for name, photons in (("white", 2e4), ("dark", 0.0)):
        field = cases.fields(right, photons, dark=dark)
        if gap is not None:
            field[:, :, GAP] = gap
        np.save(folder / f"{name}.npy", field)
    return {"quantity": "counts", "white": "white.npy", "dark": "dark.npy"}


def told(folder, y, geometry, **data):
    return imported(folder, y, geometry, **data).provenance.get("warnings", "")


@pytest.mark.parametrize("how", ["constant", "edge", "nan"])
@pytest.mark.parametrize("sides", ["both", "one"])
def test_padding_beside_an_object_that_is_cut_off(how, sides):
    """Zeros there were taken for air: water came out 100 HU too dense, and nothing was said."""
    y = cases.project(WIDE, cases.beam(size=64, slices=3))
    wide = ADDED if sides == "both" else (*ADDED[:2], (20, 0))
    filled = np.pad(y, wide, mode="edge" if how == "edge" else "constant")
    if how == "nan":
        filled[:, :, :20] = np.nan
    (warning,) = padded(filled).warnings
    assert f"bins 20:{20 + y.shape[2]}" in warning
    assert not padded(y).warnings


@pytest.mark.parametrize(
    "objects",
    [
        cases.phantom(),
        [(cases.cylinder(0, 0, 30), cases.MU)],
        [(cases.cylinder(0, 0, 30), 0.7), (cases.cylinder(0, 0, 29), -0.7)],
        [(cases.cylinder(20, 5, 3), cases.MU)],
    ],
    ids=["body", "disc on the axis", "tube on the axis", "rod"],
)
def test_air_beside_an_object_is_no_padding(objects):
    """Padding it with more air changes nothing, and is right."""
    y = cases.project(objects, cases.beam(size=96, slices=3))
    assert not padded(y).warnings
    assert not padded(np.pad(y, ADDED)).warnings


def test_padding_is_told_by_import(tmp_path):
    right = cases.beam(size=104, slices=3)
    y = np.pad(cases.project(WIDE, cases.beam(size=64, slices=3)), ADDED)
    assert "20 first and 20 last bins" in told(tmp_path, y, right)


def test_a_logarithm_that_was_taken_twice(tmp_path):
    """Its infinities at the edges were taken for dead pixels."""
    right = cases.beam(size=86, slices=3)
    y = cases.project(cases.phantom(), right)
    with np.errstate(divide="ignore"):
        assert "was the logarithm taken twice" in told(tmp_path, -np.log(y), right)


@pytest.mark.parametrize("value", [65535, 0])
def test_gaps_between_modules_are_filled(tmp_path, value):
    """Where air was far below the number that stands in the gap, it was taken for rays."""
    right = cases.beam(slices=3)
    y = cases.project(cases.phantom(), right)
    counts = cases.counts(y, dark=100)
    fields = with_fields(tmp_path / "whole", right, 100)
    whole = imported(tmp_path / "whole", counts, right, **fields)
    counts[:, :, GAP] = value
    fields = with_fields(tmp_path / "gaps", right, 100, value)
    scan = imported(tmp_path / "gaps", counts, right, **fields)
    assert "dead pixels interpolated (50,51,52)" in scan.provenance["corrections"]
    assert "warnings" not in scan.provenance
    assert np.abs(scan.y - whole.y).max() < 0.3


def test_counts_that_were_divided_by_their_fields_already(tmp_path):
    """They were told as views whose shutter was closed."""
    right = cases.beam(slices=3)
    shares = np.exp(-cases.project(cases.phantom(), right)).astype(np.float32)
    fields = with_fields(tmp_path, right, 100)
    with pytest.raises(CorruptInput, match="divided by their fields, give `i0=1`"):
        imported(tmp_path, shares, right, **fields)
