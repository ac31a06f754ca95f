"""Bins that see no rays, as behind a collimator's blades: left out, as the white fields show."""

import numpy as np
import pytest

from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.reconstruction.reconstruct import reconstruct
from support.cases import beam, counts, fields, measure, phantom, project, write_case
from support.phantoms import changed

MU, OFFSET, DARK = 0.02, 100.0, 100
GEOMETRY = beam("parallel", 60, size=128, slices=9)
BINS = GEOMETRY.beam.bins


@pytest.fixture(scope="module")
def measured():
    """Counts of views, of air and of no rays, with an offset of the detector."""
    views = counts(project(phantom(), GEOMETRY), dark=OFFSET)
    return views, fields(GEOMETRY, dark=OFFSET), fields(GEOMETRY, 0, dark=OFFSET, seed=2)


def covered(measured, hidden, level=DARK):
    """Return the same where some pixels (rows, bins) see the detector's offset alone."""
    views, white, dark = (values.copy() for values in measured)
    rng = np.random.default_rng(3)
    for values in (views, white):
        values[:, hidden] = rng.poisson(level, values[:, hidden].shape)
    return views, white, dark


def blades(first, last):
    """Return the pixels (rows, bins) that blades cover on both sides."""
    hidden = np.zeros(GEOMETRY.sinogram_shape[::2], bool)
    hidden[:, :first] = hidden[:, BINS - last :] = True
    return hidden


def imported(folder, parts, geometry=GEOMETRY, name="case", **options):
    for kind, values in zip(("white", "dark"), parts[1:], strict=True):
        np.save(folder / f"{name}_{kind}.npy", values)
        options[kind] = folder / f"{name}_{kind}.npy"
    path = write_case(folder, parts[0], geometry, name=name, quantity="counts")
    return import_scan(path, Options(**options))


def cropped(folder, parts, first, last, **options):
    """Import what is left if the arrays are cut by hand."""
    shift = (first - last) / 2 * GEOMETRY.beam.bin_mm
    bins = BINS - first - last
    offset = GEOMETRY.beam.offset_mm + shift
    parts = [values[:, :, first : BINS - last] for values in parts]
    return imported(folder, parts, changed(GEOMETRY, bins=bins, offset_mm=offset), "cut", **options)


@pytest.mark.parametrize(("first", "last"), [(3, 3), (15, 15), (12, 0), (0, 40)])
@pytest.mark.parametrize("level", [DARK, DARK + 200])
def test_bins_without_rays_are_left_out_as_if_the_detector_ended_there(
    tmp_path, measured, first, last, level
):
    """Their noise was taken for an object in the fields: water was off by 23 to 350 HU."""
    parts = covered(measured, blades(first, last), level)
    scan = imported(tmp_path, parts)
    right = cropped(tmp_path, parts, first, last)
    assert scan.geometry == right.geometry
    np.testing.assert_allclose(scan.y, right.y, rtol=1e-5, atol=1e-6)
    assert scan.noise.photons == pytest.approx(right.noise.photons)
    assert f"bins {first}:{BINS - last} of {BINS} taken" in scan.provenance["corrections"]
    assert "warnings" not in scan.provenance


def test_the_picture_is_that_of_a_detector_without_blades(tmp_path, measured):
    right, found = (
        measure(reconstruct(imported(tmp_path, parts), "fbp", mu_water=MU).volume)
        for parts in (measured, covered(measured, blades(15, 15)))
    )
    assert abs(found.water) < 1
    assert found.balls == pytest.approx(right.balls, abs=0.002)


@pytest.mark.parametrize("centre", ["auto", "none", "90.25"])
def test_bins_are_counted_on_the_whole_detector(tmp_path, measured, centre):
    first, last = 20, 5
    scan = imported(tmp_path, covered(measured, blades(first, last)), centre=centre)
    axis = 90.25 if centre == "90.25" else (BINS - 1) / 2
    place = scan.geometry.beam.axis_bin + first
    assert place == pytest.approx(axis, abs=0.03 if centre == "auto" else 1e-9)
    assert f"axis on bin {place:.6g} of {BINS} " in scan.provenance["centre"]


def test_what_is_left_is_joined_from_the_first_bin_on(tmp_path, measured):
    parts = covered(measured, blades(15, 10))
    scan = imported(tmp_path, parts, bin=2)
    right = cropped(tmp_path, parts, 15, 10, bin=2)
    assert scan.geometry == right.geometry
    np.testing.assert_allclose(scan.y, right.y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("radius", "cut"), [(95, False), (55, True)])
def test_a_round_field_of_view_fills_its_shorter_rows(tmp_path, measured, radius, cut):
    """With air, if that is beside them; else it says that the object goes on there."""
    rows, bins = np.indices(GEOMETRY.sinogram_shape[::2])
    across, down = bins - (BINS - 1) / 2, 10 * (rows - 4)
    hidden = np.hypot(across, down) > radius
    scan = imported(tmp_path, covered(measured, hidden))
    whole = imported(tmp_path, measured, name="whole")
    first = int(np.argmin(hidden[4]))
    assert scan.geometry.beam.bins == BINS - 2 * first
    seen = ~hidden[:, first : BINS - first]
    for view in range(0, 60, 13):
        error = scan.y[:, view] - whole.y[:, view, first : BINS - first]
        np.testing.assert_allclose(error[seen], 0, atol=1e-5)
        if not cut:
            assert np.abs(error).max() < 0.05  # air's noise
    assert ("round field of view" in scan.provenance.get("warnings", "")) == cut


def test_one_dead_pixel_at_an_edge_is_dead(tmp_path, measured):
    hidden = blades(0, 0)
    hidden[2, 0] = hidden[1, -2:] = True
    scan = imported(tmp_path, covered(measured, hidden))
    assert scan.geometry.beam.bins == BINS
    named = f"3 dead pixels interpolated (1:{BINS - 2},1:{BINS - 1},2:0)"
    assert named in scan.provenance["corrections"]


def test_rows_that_see_different_halves_are_warned_of(tmp_path, measured):
    hidden = blades(0, 0)
    hidden[:4, : BINS // 2 + 5] = hidden[4:, BINS // 2 - 5 :] = True
    scan = imported(tmp_path, covered(measured, hidden), centre="none")
    assert "in some rows more bins see no rays" in scan.provenance["warnings"]


def test_rows_without_rays_leave_no_bins_out(tmp_path, measured):
    hidden = blades(6, 6)
    hidden[2] = True
    scan = imported(tmp_path, covered(measured, hidden))
    assert scan.geometry.beam.bins == BINS - 12
