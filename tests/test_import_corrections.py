"""From counts to line integrals: closed forms, dead pixels, stripes, noise."""

import numpy as np
import pytest

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.projections import noise
from diffusionblend.projections.flat import mean_field
from diffusionblend.projections.importing import import_scan
from diffusionblend.projections.options import Options
from diffusionblend.projections.pixels import dead_pixels, repair
from diffusionblend.projections.stripes import offsets_removed, remove_stripes
from diffusionblend.scan import Noise
from measured import AIR, DARK, PARALLEL, VIEWS, air, counts, lines, write_exchange
from phantoms import changed

WISH = Options(bin_mm=1.0, row_mm=1.5, centre="none")


def imported(folder, **parts):
    return import_scan(write_exchange(folder / "a.h5", **parts), WISH)


def test_line_integrals_are_those_of_beer_and_lambert(tmp_path):
    """Counts dark + (air - dark) exp(-y) of any air give y back, whatever the pixel's gain."""
    scan = imported(tmp_path, data=counts(lines()))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines(), atol=1e-6)
    assert scan.y.dtype == np.float32


def test_one_number_for_air_and_no_dark_field(tmp_path):
    y = lines()
    np.save(tmp_path / "a.npy", 1000 * np.exp(-y))
    (tmp_path / "geometry.json").write_text(
        '{"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": 1, "row_mm": 1, '
        '"angles_deg": {"start": 0, "step": 15, "count": 12}, '
        '"data": {"quantity": "counts", "i0": 1000, "order": ["view", "row", "bin"]}}'
    )
    scan = import_scan(tmp_path / "a.npy", Options(centre="none"))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), y, atol=1e-6)


def test_a_stray_particle_in_a_field_does_not_count(tmp_path):
    white = np.repeat(air(PARALLEL.bins)[None], 10, 0)
    white[3, 1, 20] *= 50
    scan = imported(tmp_path, data_white=white)
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines(), atol=1e-5)


def test_the_mean_of_fields_without_the_extremes():
    fields = np.arange(10.0)[:, None, None] ** 3 * np.ones((10, 2, 4))
    np.testing.assert_allclose(mean_field(fields), np.mean(np.arange(2, 8.0) ** 3))
    np.testing.assert_allclose(mean_field(fields[:4]), np.mean(np.arange(4.0) ** 3))


@pytest.mark.parametrize("whole", [True, False])
def test_a_ray_that_does_not_come_through_has_the_least_that_is_known(tmp_path, whole):
    """One count of whole numbers; else the smallest share that was measured."""
    dim = counts(lines())
    dim[4, 1, 30] = DARK - 5
    data = dim.round().astype(np.uint16) if whole else dim
    scan = imported(tmp_path, data=data)
    shares = (data - DARK) / (air(PARALLEL.bins) - DARK)
    least = 1 / (air(PARALLEL.bins)[1, 30] - DARK) if whole else shares[shares > 0].min()
    assert scan.y[1, 4, 30] == pytest.approx(-np.log(least), rel=1e-4)
    assert "1 values without rays" in scan.provenance["corrections"]


# Dead pixels


def test_dead_hot_stuck_and_silent_pixels_are_interpolated(tmp_path):
    data = counts(lines())
    data[:, 0, 10] = DARK  # dead
    data[:, 1, 20] *= 30  # hot
    data[:, 1, 33] = 0.5 * AIR  # stuck
    data[:, 2, 40] = np.nan  # silent
    data[5, 0, 50] = np.inf  # once only
    scan = imported(tmp_path, data=data)
    assert "4 dead pixels" in scan.provenance["corrections"]
    assert "1 values that are no numbers" in scan.provenance["corrections"]
    expected = lines()
    error = np.abs(scan.y.transpose(1, 0, 2) - expected)
    wrong = np.zeros(error.shape, bool)
    wrong[:, [0, 1, 1, 2], [10, 20, 33, 40]] = True
    wrong[5, 0, 50] = True
    assert error[~wrong].max() < 1e-5
    around = np.abs(np.diff(expected, axis=2)).max()
    assert error[wrong].max() < around


def test_no_pixel_of_a_whole_detector_is_dead():
    """Not behind the object, not at its sharp edge, not in the noise."""
    rng = np.random.default_rng(0)
    shares = rng.poisson(2000 * np.exp(-lines() * 3)) / 2000
    assert not dead_pixels(shares, air(PARALLEL.bins)).any()


def test_a_row_that_is_mostly_dead_is_refused():
    values = np.ones((4, 2, 10))
    dead = np.zeros((2, 10), bool)
    dead[1, :4] = True
    with pytest.raises(CorruptInput, match="40% of the pixels of row 1 are dead"):
        repair(values, dead)


def test_repair_interpolates_along_the_row():
    values = np.tile(np.arange(10.0), (3, 1, 1))
    before = values.copy()
    dead = np.zeros((1, 10), bool)
    values[:, 0, [0, 4, 5]] = -99
    dead[0, [0, 4, 5]] = True
    assert repair(values, dead) == 0
    before[:, 0, 0] = 1.0  # at the edge: the neighbour
    np.testing.assert_allclose(values, before)


# Stripes


def long_lines():
    views = tuple(np.arange(90) * 2.0)
    return lines(changed(PARALLEL, angles_deg=views)).transpose(1, 0, 2).copy()


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_the_constant_offset_of_a_bin_is_removed():
    y = long_lines()
    striped = y.copy()
    striped[:, :, [12, 30, 41]] += np.array([0.05, -0.08, 0.1], np.float32)
    assert relative(remove_stripes(striped.copy(), "median"), y) < 0.5 * relative(striped, y)
    assert (remove_stripes(striped.copy(), "none") == striped).all()


def test_a_sinogram_without_stripes_stays_almost_as_it_is():
    y = long_lines()[0]
    assert relative(offsets_removed(y), y) < 0.01


@pytest.mark.parametrize("how", ["sorting", "all"])
def test_the_stripe_removals_of_algotom(how):
    """On a sinogram of the size they are made for, with the noise that they want."""
    wide = changed(PARALLEL, angles_deg=tuple(np.arange(90) * 2.0), bins=570, bin_mm=0.1)
    y = lines(wide)[:, :1].transpose(1, 0, 2).copy()
    y += np.random.default_rng(0).normal(0, 0.002, y.shape).astype(np.float32)
    striped = y.copy()
    striped[:, :, [120, 300, 410]] += np.array([0.05, -0.08, 0.1], np.float32)
    found = remove_stripes(striped.copy(), how) - y
    offset = np.abs(np.median(found[:, :, [120, 300, 410]], axis=1))
    assert offset.max() < 0.02


# Noise


@pytest.mark.parametrize(("photons", "gain"), [(500.0, 1.0), (20000.0, 0.3)])
def test_photons_are_counted_in_the_fields_of_air(photons, gain):
    """Whatever a count is worth, and though the source flickers."""
    rng = np.random.default_rng(1)
    flicker = np.linspace(0.9, 1.1, 12)[:, None, None]
    white = gain * rng.poisson(photons * flicker * np.ones((12, 8, 100))) + DARK
    dark = np.full((12, 8, 100), DARK) + gain * rng.normal(0, 6.0, (12, 8, 100))
    found = noise.from_fields(white, dark)
    assert found.photons == pytest.approx(photons, rel=0.12)
    assert found.electronic == pytest.approx(6.0, rel=0.12)


def test_a_sinogram_that_algotom_cannot_use():
    with pytest.raises(UnsupportedInput, match="--stripes all: algotom cannot use"):
        remove_stripes(np.zeros((1, 90, 570), np.float32), "all")


def test_photons_are_estimated_from_line_integrals():
    """Never too many: edges count as noise."""
    rng = np.random.default_rng(2)
    y = long_lines()
    noisy = -np.log(np.maximum(rng.poisson(5000 * np.exp(-y)), 1) / 5000)
    assert 3500 < noise.from_lines(noisy).photons < 5300
    assert noise.from_lines(np.zeros((3, 5, 40))) is None


def test_two_fields_tell_nothing_of_the_noise():
    assert noise.from_fields(np.ones((2, 3, 4)), None) is None


def test_joined_pixels_have_more_photons(tmp_path):
    path = write_exchange(tmp_path / "a.h5")
    wish = {"bin_mm": 1.0, "centre": "none", "photons": 100.0, "electronic": 2.0}
    assert import_scan(path, Options(**wish)).noise == Noise(100.0, 2.0)
    assert import_scan(path, Options(**wish, bin=3)).noise == Noise(900.0, 6.0)


def test_all_is_said(tmp_path):
    facts = imported(tmp_path).provenance
    assert facts["quantity"] == "counts"
    assert facts["measured"] == f"{VIEWS} views of 3 x {PARALLEL.bins} pixels"
    assert facts["corrections"] == "mean of 2 white fields, 2 dark fields"
    assert "the middle of the detector" in facts["centre"]
