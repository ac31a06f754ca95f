"""What the residual says of measured data: nothing of right ones, and the fault by its name."""

import dataclasses

import msgspec
import numpy as np
import pytest
import torch

from diffusionblend.data.scan import Noise, Scan
from diffusionblend.quality import quality_from_json
from diffusionblend.quality.residual import _behind_metal
from diffusionblend.reconstruction.reconstruct import reconstruct
from diffusionblend.reconstruction.task import make_problem
from support.cases import beam, counts, cylinder, phantom, project
from support.phantoms import changed

METHODS = {"fbp": {}, "sbtv": {"iterations": 20}}
OF_DATA = {"residual-high", "bad-views", "bad-bins", "outside-view", "truncated"}
STEEL = 1.0
"""Attenuation in 1/mm: 50 times that of water."""


def scan_of(kind="parallel", views=60, *, photons=2e4, objects=None, flux=1.0, change=None):
    """Return a scan of 3 slices; `change` is given the line integrals (views, rows, bins)."""
    geometry = beam(kind, views, slices=3)
    y = project(objects or phantom(), geometry)
    y = y if change is None else change(y)
    if photons is not None:
        y = -np.log(np.maximum(counts(y, photons, flux=flux), 1) / photons)
    return Scan(y.transpose(1, 0, 2).astype(np.float32), geometry, Noise(photons), 0.02)


def judged(scan, method, **options):
    """Reconstruct, and return the quality record."""
    options = METHODS[method] | options
    return reconstruct(scan, method, device="cpu", **options).quality


def said(quality):
    return {w.code for w in quality.warnings} & OF_DATA


def text_of(quality, code):
    return " ".join(w.text for w in quality.warnings if w.code == code)


def shifted(views, bins):
    def move(y):
        y = y.copy()
        for view in views:
            y[view] = np.roll(y[view], bins, axis=-1)
        return y

    return move


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("photons", [2e4, None])
@pytest.mark.parametrize(
    ("kind", "views"),
    [("parallel", 8), ("parallel", 60), ("parallel", 180), ("fan", 20), ("fan", 90)],
)
def test_of_right_data_nothing_is_said(kind, views, photons, method):
    if method == "sbtv" and views == 8 and photons is None:
        pytest.skip("20 iterations do not suffice for it")
    assert said(judged(scan_of(kind, views, photons=photons), method)) == set()


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_noise_beside_the_grid_is_no_object(kind):
    """Of 500 photons; 2 percent of the rays were said to be attenuated there."""
    geometry = beam(kind, 90, size=96, slices=3)
    measured = counts(project(phantom(), geometry), 500)
    y = -np.log(np.maximum(measured, 1) / 500).transpose(1, 0, 2).astype(np.float32)
    assert "outside-view" not in said(judged(Scan(y, geometry, Noise(500), 0.02), "sbtv"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "views", "bins"),
    [("parallel", 60, 3), ("parallel", 25, -3), ("fan", 60, 3), ("fan", 20, -2)],
)
def test_a_wrong_centre_is_told_of(kind, views, bins, method):
    scan = scan_of(kind, views)
    offset = scan.geometry.beam.offset_mm + bins * scan.geometry.beam.bin_mm
    wrong = changed(scan.geometry, offset_mm=offset)
    quality = judged(dataclasses.replace(scan, geometry=wrong), method)
    assert "the geometry (centre, angles, sense of rotation" in text_of(quality, "residual-high")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("views", [24, 60])
def test_a_wrong_sense_of_rotation_is_told_of(views, method):
    scan = scan_of("fan", views)
    backwards = tuple(-angle for angle in scan.geometry.beam.angles_deg)
    wrong = changed(scan.geometry, angles_deg=backwards)
    quality = judged(dataclasses.replace(scan, geometry=wrong), method)
    assert "sense of rotation" in text_of(quality, "residual-high")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "views", "moved", "bins"),
    [("parallel", 60, {20}, 4), ("parallel", 180, {3, 9, 90}, -3), ("fan", 60, {11}, 4)],
)
def test_views_that_moved_are_named_and_no_others(kind, views, moved, bins, method):
    quality = judged(scan_of(kind, views, change=shifted(moved, bins)), method)
    assert {view.where[0] for view in quality.residual.bad_views} == moved
    assert "bad-views" in said(quality)
    if "residual-high" in said(quality):
        assert "named below" in text_of(quality, "residual-high")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "views", "closed"),
    [("parallel", 180, {5, 90, 171}), ("parallel", 60, {0}), ("fan", 60, {7, 8, 59})],
)
def test_views_with_a_closed_shutter_are_named_and_nothing_else_is_blamed(
    kind, views, closed, method
):
    flux = np.ones(views)
    flux[sorted(closed)] = 0.0
    quality = judged(scan_of(kind, views, flux=flux), method)
    assert {view.where[0] for view in quality.residual.bad_views} == closed
    assert said(quality) - {"residual-high"} == {"bad-views"}
    if "residual-high" in said(quality):
        assert "named below" in text_of(quality, "residual-high")


def test_of_an_interior_only_the_cut_is_told():
    """Its views differ by how much is cut off of each, which is no fault of theirs."""
    scan = scan_of(views=90)
    middle = np.s_[:, :, 61:121]
    inner = changed(scan.geometry, bins=60)
    for method in METHODS:
        cut = dataclasses.replace(scan, y=scan.y[middle].copy(), geometry=inner)
        assert said(judged(cut, method)) - {"outside-view"} == {"truncated"}


METALS = {
    "wire on the axis": [(cylinder(0, 0, 45), 0.02), (cylinder(0, 0, 3), STEEL)],
    "wire beside it": [*phantom(), (cylinder(15, -4, 3), STEEL)],
    "tube": [(cylinder(0, 0, 30), STEEL / 5), (cylinder(0, 0, 27), -STEEL / 5)],
    "rod": [(cylinder(0, 0, 20), STEEL / 5)],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("photons", [5e4, None])
@pytest.mark.parametrize("metal", METALS)
def test_pixels_behind_metal_are_not_called_dead(metal, photons, method):
    assert "bad-bins" not in said(judged(scan_of(objects=METALS[metal], photons=photons), method))


@pytest.mark.parametrize("photons", [5e4, None])
@pytest.mark.parametrize("bin_", [20, 40, 150])
def test_a_bin_that_is_off_is_named_beside_metal(bin_, photons):
    def spoil(y):
        y = y.copy()
        y[..., bin_] += 0.15
        return y

    scan = scan_of(objects=METALS["wire on the axis"], photons=photons, change=spoil)
    quality = judged(scan, "sbtv")
    assert quality.residual.bad_bins[0].where == (bin_,)
    assert f"bin {bin_}" in text_of(quality, "bad-bins")


def test_without_metal_no_bin_is_behind_it():
    """It was a median by torch of an expanded 0, which is whatever lay in memory."""
    assert _behind_metal(make_problem(scan_of(), None, torch.device("cpu"))) is False


def test_a_method_that_has_not_come_to_its_end_is_not_blamed_on_the_geometry():
    quality = judged(scan_of(), "sbtv", iterations=1, cg_steps=1)
    assert "has not converged" in text_of(quality, "residual-high")
    assert "geometry" not in text_of(quality, "residual-high")


def test_a_record_of_an_earlier_version_is_read():
    old = judged(scan_of(views=8), "sbtv")
    record = msgspec.to_builtins(old)
    for name in ("fits_data", "least"):
        del record["residual"][name]
    found = quality_from_json(msgspec.json.encode(record))
    assert found.residual.fits_data
    assert found.residual.least is None
    assert found.residual.high == old.residual.high
