"""From counts to line integrals: closed forms, dead pixels, stripes, noise."""

import numpy as np
import pytest

from diffusionblend.data.scan import Noise
from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.io.projections.counts import noise
from diffusionblend.io.projections.counts.flat import mean_field
from diffusionblend.io.projections.counts.pixels import (
    judge_fields,
    judge_views,
    parse_pixels,
    repair,
)
from diffusionblend.io.projections.counts.stripes import offsets_removed, remove_stripes
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from support.cases import beam, cylinder, fields, phantom, project, write_case
from support.cases import counts as counts_of
from support.measured import (
    AIR,
    DARK,
    PARALLEL,
    VIEWS,
    air,
    counts,
    lines,
    write_exchange,
    write_geometry,
)
from support.phantoms import changed

WISH = Options(bin_mm=1.0, row_mm=1.5, centre="none")


def imported(folder, **parts):
    return import_scan(write_exchange(folder / "a.h5", **parts), WISH)


def test_line_integrals_are_those_of_beer_and_lambert(tmp_path):
    """Counts dark + (air - dark) exp(-y) of any air give y back, whatever the pixel's gain."""
    scan = imported(tmp_path, data=counts(lines()))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines(), atol=1e-6)
    assert scan.y.dtype == np.float32


def test_stray_particles_are_interpolated(tmp_path):
    """They moved the level by 10 HU, and white fields were blamed; a hot pixel is told as dead."""
    geometry = beam("parallel", 60, size=96, slices=3)
    y = project(phantom(), geometry)
    seen, rng = counts_of(y), np.random.default_rng(2)
    struck = tuple(rng.integers(0, n, 150) for n in seen.shape)
    clean = seen.copy()
    seen[struck] = rng.integers(40000, 60000, 150)
    seen[:, 1, 30] = 60000
    np.save(tmp_path / "white.npy", fields(geometry))

    def made(values, name):
        case = write_case(tmp_path, values, geometry, name=name, quantity="counts")
        return import_scan(case, white=tmp_path / "white.npy")

    scan, right = made(seen, "struck"), made(clean, "clean")
    number = len(set(zip(*struck, strict=True)) - {(v, 1, 30) for v in range(60)})
    done = scan.provenance["corrections"]
    assert f"{number} single values far brighter than air taken for stray particles" in done
    assert "1 dead pixels interpolated (1:30)" in done
    assert "single values" not in right.provenance["corrections"]
    assert "warnings" not in scan.provenance
    assert abs(scan.y.mean() - right.y.mean()) < 1e-3
    assert np.abs(scan.y - right.y).max() < 0.5


@pytest.mark.parametrize("photons", [4.0, 30.0, 1e3])
def test_few_photons_are_no_stray_particles(tmp_path, photons):
    geometry = beam("parallel", 60, size=96, slices=3)
    np.save(tmp_path / "white.npy", fields(geometry, photons))
    seen = counts_of(project(phantom(), geometry), photons)
    case = write_case(tmp_path, seen, geometry, quantity="counts")
    scan = import_scan(case, white=tmp_path / "white.npy")
    assert "single values" not in scan.provenance["corrections"]


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
    white = np.repeat(air(PARALLEL.beam.bins)[None], 10, 0)
    white[3, 1, 20] *= 50
    scan = imported(tmp_path, data_white=white)
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines(), atol=1e-5)


def test_the_mean_of_fields_without_the_extremes():
    fields = np.arange(10.0)[:, None, None] ** 3 * np.ones((10, 2, 4))
    np.testing.assert_allclose(mean_field(fields), np.mean(np.arange(2, 8.0) ** 3))
    np.testing.assert_allclose(mean_field(fields[:4]), np.mean(np.arange(4.0) ** 3))


# Dead pixels


def test_dead_hot_stuck_and_silent_pixels_are_interpolated(tmp_path):
    data = counts(lines())
    white = np.repeat(air(PARALLEL.beam.bins)[None], 2, 0)
    data[:, 0, 10] = white[:, 0, 10] = DARK  # dead
    data[:, 1, 20] *= 30  # hot
    data[:, 1, 33] = 0.5 * AIR  # stuck
    data[:, 2, 40] = np.nan  # silent
    data[5, 0, 50] = np.inf  # once only
    scan = imported(tmp_path, data=data, data_white=white)
    assert "4 dead pixels" in scan.provenance["corrections"]
    assert "1 values that are not numbers" in scan.provenance["corrections"]
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
    judged = judge_views(-np.log(np.maximum(shares, 1e-3)))
    assert not judged.dead.any()
    assert not judged.suspect.any()
    white = rng.poisson(air(PARALLEL.beam.bins), (10, *air(PARALLEL.beam.bins).shape))
    assert not judge_fields(white, air(PARALLEL.beam.bins)).any()


def test_a_pixel_whose_fields_flicker_more_than_others_or_not_at_all_is_dead():
    rng = np.random.default_rng(0)
    level = air(PARALLEL.beam.bins)
    white = rng.poisson(level, (10, *level.shape)).astype(float)
    white[:, 1, 17] *= rng.uniform(0.5, 1.5, 10)
    white[:, 2, 30] = level[2, 30]
    assert np.argwhere(judge_fields(white, level)).tolist() == [[1, 17], [2, 30]]


@pytest.mark.parametrize("value", [0.3, 0.6], ids=["with little", "with much"])
def test_a_dead_pixel_with_noise_is_found_without_fields(value):
    """It hardly changes, where its neighbours do."""
    geometry = beam("parallel", 60, size=64, slices=2)
    objects = [(cylinder(9, 2, 8), 0.08), (cylinder(-3, -14, 6), 0.1)]
    shares = counts_of(project(objects, geometry), photons=1e4) / 1e4
    shares[:, 1, 28] = np.random.default_rng(0).normal(value, 0.01, 60)
    judged = judge_views(-np.log(shares))
    assert np.argwhere(judged.dead).tolist() == [[1, 28]]


STEEL = 0.7
DENSE = {
    "a wire on the axis": [(cylinder(0, 0, 1.5), STEEL)],
    "a wire beside it": [(cylinder(0.8, 0.3, 1.2), STEEL)],
    "a tube": [(cylinder(0, 0, 22.5), STEEL), (cylinder(0, 0, 21.5), -STEEL)],
    "a tube of lead": [(cylinder(0, 0, 22.0), 6.0), (cylinder(0, 0, 21.0), -6.0)],
    "a hole on the axis": [(cylinder(0, 0, 12), 0.15), (cylinder(0, 0, 0.8), -0.15)],
    "two rods": [(cylinder(1.5, 0, 1.0), 2.0), (cylinder(-1.5, 0, 1.0), 2.0)],
}


@pytest.mark.parametrize("views", [9, 60])
@pytest.mark.parametrize("kind", ["parallel", "fan"])
@pytest.mark.parametrize("name", DENSE)
def test_what_the_object_shows_is_no_defect(tmp_path, name, kind, views):
    """Dense and hollow things stay on their bins; the fields of these are as good as others'."""
    geometry = beam(kind, views, size=64, slices=2)
    objects = [(cylinder(2, 1, 26), 0.02), (cylinder(9, 4, 3), 0.02), *DENSE[name]]
    y = project(objects, geometry)
    np.save(tmp_path / "white.npy", fields(geometry, 5e4, dark=50))
    np.save(tmp_path / "dark.npy", fields(geometry, 0, dark=50))
    values = counts_of(y, 5e4, dark=50).astype(np.uint16)
    path = write_case(tmp_path, values, geometry, quantity="counts")
    scan = import_scan(path, Options(white=tmp_path / "white.npy", dark=tmp_path / "dark.npy"))
    assert "dead" not in scan.provenance["corrections"]
    measurable = y < 7
    found = scan.y.transpose(1, 0, 2)
    spread = np.sqrt((np.exp(y) + 50 * np.exp(2 * y) / 5e4) / 5e4)
    assert (np.abs(found - y) < 6 * spread + 0.02)[measurable].all()


def test_what_may_be_a_defect_is_named_and_can_be_named(tmp_path):
    """Without fields a dark pixel and a wire are alike: both are left, until the user decides."""
    geometry = beam("parallel", 60, size=64, slices=2)
    y = project(phantom(20.0), geometry).astype(np.float32)
    y[:, 1, 30] = 9 + np.random.default_rng(0).normal(0, 0.1, 60)
    path = write_case(tmp_path, y, geometry, quantity="line-integrals")
    left = import_scan(path)
    assert left.y[1, :, 30] == pytest.approx(y[:, 1, 30])
    assert "`dead='1:30'`" in left.provenance["corrections"]
    mended = import_scan(path, Options(dead="1:30"))
    assert mended.y[1, :, 30] == pytest.approx((y[:, 1, 29] + y[:, 1, 31]) / 2, abs=1e-5)
    assert "2 dead" not in mended.provenance["corrections"]
    lower = import_scan(path, Options(dead="1:30", rows="1:2"))  # rows count as the detector's
    np.testing.assert_array_equal(lower.y[0], mended.y[1])


def test_a_bin_that_may_be_dead_does_not_move_the_centre(tmp_path):
    geometry = beam("parallel", 60, slices=3)
    values = counts_of(project(phantom(), geometry)).astype(np.uint16)
    values[:, :, 120] = 0
    source = write_case(tmp_path, values, geometry, quantity="counts", i0=2e4)
    scan = import_scan(source, centre="auto")
    assert "`dead='120'`" in scan.provenance["corrections"]
    assert scan.geometry.beam.offset_mm == pytest.approx(0, abs=0.05)


def test_pixels_by_name():
    named = parse_pixels("3, 5-6,1:8", range(2), 10)
    assert np.argwhere(named).tolist() == [[0, 3], [0, 5], [0, 6], [1, 3], [1, 5], [1, 6], [1, 8]]
    assert np.argwhere(parse_pixels("4:2", range(4, 8, 2), 10)).tolist() == [[0, 2]]
    for wrong in ("10", "a", "1:", "3-", "6-5", "-1", "", "1:2:3"):
        with pytest.raises(UsageError, match=r"^`dead="):
            parse_pixels(wrong, range(2), 10)


def test_a_row_that_is_mostly_dead_is_refused():
    values = np.ones((4, 2, 10))
    dead = np.zeros((2, 10), bool)
    dead[1, :4] = True
    with pytest.raises(CorruptInput, match="40% of the pixels of row 1 are dead"):
        repair(values, dead)
    with pytest.raises(CorruptInput, match=r"of row 8 are dead .* take other `rows`"):
        repair(values, dead, range(7, 9))


@pytest.mark.parametrize("stuck", [0.0, 65535.0])
def test_a_dead_row_is_made_of_those_beside_it(tmp_path, stuck):
    """It is told, has the values of its neighbours, and their weight; others are as without it."""
    geometry = beam("parallel", 60, size=112, slices=5)
    y = project(phantom(balls=()), geometry)
    raw = [counts_of(y, dark=100.0), fields(geometry, dark=100.0)]
    raw = [a.astype(np.uint16) for a in (*raw, fields(geometry, 0, dark=100.0))]

    def made(name):
        for field, values in zip(("white", "dark"), raw[1:], strict=True):
            np.save(tmp_path / f"{name}.{field}.npy", values)
        named = {field: tmp_path / f"{name}.{field}.npy" for field in ("white", "dark")}
        path = write_case(tmp_path, raw[0], geometry, name=name, quantity="counts")
        return import_scan(path, Options(**named))

    whole = made("whole")
    for values in raw:
        values[:, 2] = stuck
    scan = made("dead")
    assert scan.provenance["warnings"].startswith("1 rows of the detector are dead ")
    assert "(from 0: 2)" in scan.provenance["warnings"]
    assert "\n" not in scan.provenance["warnings"]
    np.testing.assert_allclose(np.delete(scan.y, 2, 0), np.delete(whole.y, 2, 0), atol=0.02)
    assert abs((scan.y[2] - y[:, 2])[y[:, 2] > 1].mean()) < 1e-3


@pytest.mark.parametrize("quantity", ["line-integrals", "counts"])
@pytest.mark.parametrize("bins", [slice(None), slice(0, 30)])
def test_views_without_numbers_are_named_and_left_out(tmp_path, quantity, bins):
    y = lines()
    y[[3, 8], 1, bins] = np.nan
    np.save(tmp_path / "a.npy", y if quantity == "line-integrals" else 5e4 * np.exp(-y))
    source = write_geometry(
        tmp_path, file="a.npy", quantity=quantity, order=["view", "row", "bin"], i0=5e4
    )
    asked = {"centre": "none", "air_bins": "none"}
    with pytest.raises(
        CorruptInput, match=r": 2 of 12 views have no valid values .*`without='3,8'`"
    ):
        import_scan(source, Options(**asked))
    scan = import_scan(source, Options(without="3,8", **asked))
    expected = np.delete(lines(), [3, 8], axis=0).transpose(1, 0, 2)
    np.testing.assert_allclose(scan.y, expected, atol=1e-5)


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
    with pytest.raises(UnsupportedInput, match="`stripes='all'`: algotom cannot use"):
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
    assert facts["measured"] == f"{VIEWS} views of 3 x {PARALLEL.beam.bins} pixels"
    assert facts["corrections"] == "mean of 2 white fields, 2 dark fields"
    assert "the middle of the detector" in facts["centre"]


@pytest.mark.parametrize("readout", [0.0, 15.0])
@pytest.mark.parametrize("level", [100.0, 400.0])
def test_darks_that_were_subtracted_from_the_views_before(tmp_path, level, readout):
    """Water behind metal was wrong without a word; views as they were measured are not doubted."""
    geometry, rng = beam("parallel", 60, size=96, slices=3), np.random.default_rng(0)
    y = project([*phantom(30.0), (cylinder(8, 6, 5), 0.9)], geometry)
    white, none = fields(geometry, dark=level), fields(geometry, 0, dark=level)
    seen = counts_of(y, dark=level)
    seen, white, none = (a + rng.normal(0, readout, a.shape) for a in (seen, white, none))
    named = {"white": white, "dark": none}
    for name, values in named.items():
        np.save(tmp_path / f"{name}.npy", values)
    files = {name: tmp_path / f"{name}.npy" for name in named} | {"centre": "none"}

    def told(values):
        case = write_case(tmp_path, values, geometry, quantity="counts")
        return import_scan(case, **files).provenance.get("warnings", "")

    assert "below those without rays" not in told(seen)
    words = "of air below those without rays, as if the dark fields had been subtracted from the"
    found = told(seen - none.mean(axis=0))
    assert words in found
    share = float(found[: found.index(" of air below")].split()[-1])
    assert share == pytest.approx(level / 2e4, rel=0.3)
