"""What `import` makes of values: few counts, clipped ones, flux, and wrong quantities."""

import contextlib
import re

import h5py
import numpy as np
import pytest
from scipy.ndimage import convolve1d

from diffusionblend.data.scan import Noise
from diffusionblend.errors import (
    CorruptInput,
    DiffusionBlendWarning,
    UnsupportedInput,
    UsageError,
)
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.io.projections.counts.flat import lifted
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.reconstruction.reconstruct import reconstruct
from support.cases import (
    beam,
    counts,
    cylinder,
    fields,
    measure,
    phantom,
    project,
    write_case,
)
from support.commands import command
from support.phantoms import changed, placed

MU = 0.02
GEOMETRY = beam("parallel", 60, size=128, slices=9)


@pytest.fixture(scope="module")
def y():
    return project(phantom(), GEOMETRY)


def imported(folder, values, geometry=GEOMETRY, *, white=None, dark=None, say=None, **options):
    """Import values with fields that are given as arrays."""
    for name, field in (
        ("white", white),
        ("dark", dark),
        ("white_after", options.get("white_after")),
    ):
        if field is not None:
            np.save(folder / f"{name}.npy", field)
            options[name] = folder / f"{name}.npy"
    said = {"quantity": "counts"} if say is None else say
    path = write_case(folder, values, geometry, **said)
    return import_scan(path, Options(**options))


def warnings(scan):
    return scan.provenance.get("warnings", "")


def levels(scan):
    """Return the water in HU and the worst ball, by filtered back-projection."""
    return measure(reconstruct(scan, "fbp", mu_water=MU).volume)


# Few counts


@pytest.mark.parametrize(
    ("expected", "readout", "bias"),
    [
        *[(0.3, 0, 0.85), (1, 0, 0.2), (3, 0, 0.02), (10, 0, 0.01), (100, 0, 0.01)],
        *[(3, 1, 0.08), (10, 5, 0.08), (30, 5, 0.02), (100, 20, 0.03), (1000, 5, 0.002)],
    ],
)
def test_the_logarithm_of_few_counts_is_nearly_right_in_the_mean(expected, readout, bias):
    """Plain -ln of at least one is off by more: 1.23, 0.22, 0.15, 0.06 of the first four."""
    rng = np.random.default_rng(0)
    measured = rng.poisson(expected, 200_000) + readout * rng.standard_normal(200_000)
    found = np.log(lifted(measured, 1.0, readout))
    assert abs(found.mean() - np.log(expected)) < bias


@pytest.mark.parametrize("unit", [0.02, 1.0, 50.0])
def test_lifted_counts_have_no_unit_and_keep_their_order(unit):
    measured = np.linspace(-40, 400, 2001)
    found = lifted(unit * measured, unit, 5.0 * unit)
    np.testing.assert_allclose(found, unit * lifted(measured, 1.0, 5.0), rtol=1e-9)
    assert (found > 0).all()
    assert (np.diff(found) >= -1e-12).all()
    assert (found[measured > 130] == unit * measured[measured > 130]).all()  # many are exact


@pytest.mark.parametrize("readout", [0.0, 6.0])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_ray_that_does_not_come_through_is_hardly_more_than_one_photon(
    tmp_path, whole, readout, known
):
    """With fields or without, whole numbers or not; a ray of -ln(1 / 2e4) = 9.9 is all it says."""
    geometry = beam("parallel", 60, size=64, slices=2)
    y = project([(cylinder(2, 1, 20), MU), (cylinder(5, 5, 6), 3.0)], geometry)
    rng = np.random.default_rng(1)
    values = counts(y, dark=100.0) + rng.normal(0, readout, y.shape)
    white, dark = (
        fields(geometry, photons, dark=100.0) + rng.normal(0, readout, (10, *y.shape[1:]))
        for photons in (2e4, 0)
    )
    if whole:
        values, white, dark = (a.round().astype(np.int32) for a in (values, white, dark))
    if not known:
        white = white.mean(axis=0, keepdims=True)
    scan = imported(tmp_path, values, geometry, white=white, dark=dark)
    found = scan.y.transpose(1, 0, 2)
    starved = y > 15
    assert starved.mean() > 0.02
    assert 6.5 < found[starved].mean() < 9.0  # the dark level has noise of 10 to 12 counts
    assert found.max() < 10.7
    variance = scan.noise.variance(scan.y).transpose(1, 0, 2)
    assert np.median(variance[starved]) > 100 * np.median(variance[~starved])
    lit = y < 3
    assert abs((found - y)[lit].mean()) < 1e-3


def test_a_ray_without_photons_has_next_to_no_weight():
    noise = Noise(2e4, 0.0)
    none, many = noise.variance(np.array([np.log(2 * 2e4), 1.0], np.float32))
    assert none == pytest.approx(2.0)
    assert many < none / 1e4


@pytest.mark.parametrize("top", [200, 255])
@pytest.mark.parametrize("photons", [None, 2e4, 1e3])
def test_a_range_of_few_counts_is_not_of_few_photons(tmp_path, y, top, photons):
    """Shares of rays that a program scaled to 8 bits, which are no photons: not to be lifted."""
    shares = np.exp(-y) if photons is None else counts(y, photons) / photons
    scan = imported(tmp_path, (top * shares).round().clip(max=255).astype(np.uint8), i0=float(top))
    dark = (y > 1.4) & (y < 2)
    bias = 0.006 if photons == 1e3 else 0.002  # that of 200 photons without any lift, or of none
    assert abs((scan.y.transpose(1, 0, 2) - y)[dark].mean()) < bias
    assert abs(levels(scan).water) < (4 if photons == 1e3 else 2)


def test_few_photons_that_are_counted_one_by_one_are_lifted(tmp_path, y):
    scan = imported(tmp_path, counts(y, 200).astype(np.uint16), i0=200.0)
    dark = (y > 1.4) & (y < 2)
    assert abs((scan.y.transpose(1, 0, 2) - y)[dark].mean()) < 0.002


# The detector's electronics


@pytest.mark.parametrize("clip", [4095, 65535, 16000], ids=["12 bits", "16 bits", "anywhere"])
def test_air_that_is_clipped_everywhere_is_refused(tmp_path, y, clip):
    """A fifth is lost at the top: nobody knows how much."""
    white, values = fields(GEOMETRY, 1.25 * clip), counts(y, 1.25 * clip)
    with pytest.raises(CorruptInput, match=f"white fields are clipped at {clip:.6g}.*`i0`"):
        imported(tmp_path, values.clip(max=clip), white=white.clip(max=clip))
    scan = imported(tmp_path, values.clip(max=clip), white=white.clip(max=clip), i0=1.25 * clip)
    assert f"clipped at {clip:.6g}" in warnings(scan)


@pytest.mark.parametrize("clip", [20050, 20200])
def test_air_that_is_clipped_in_part_is_told(tmp_path, y, clip):
    scan = imported(
        tmp_path, counts(y).clip(max=clip), white=fields(GEOMETRY).clip(max=clip), air_bins="none"
    )
    assert f"clipped at {clip}" in warnings(scan)
    assert "white fields" in warnings(scan)


@pytest.mark.parametrize("known", [True, False])
def test_a_hot_column_is_dead_and_not_clipped(tmp_path, y, known):
    values, white = counts(y).astype(np.uint16), fields(GEOMETRY).astype(np.uint16)
    values[:, :, 70] = white[:, :, 70] = 65535
    options = {
        "white": white,
        "dark": np.where(np.arange(182) == 70, 65535, 0) * np.ones((2, 9, 1)),
    }
    scan = imported(tmp_path, values, **(options if known else {"i0": 2e4}))
    assert "(70)" in scan.provenance["corrections"]
    assert warnings(scan) == ""
    assert np.abs((scan.y.transpose(1, 0, 2) - y)[:, :, 70]).mean() < 0.1


@pytest.mark.parametrize("rounded", [True, False])
def test_counts_without_noise_are_not_clipped(tmp_path, y, rounded):
    """All of air is the largest there, and a field without noise is one value."""
    values = 20000 * np.exp(-y)
    white = np.full((5, *y.shape[1:]), 20000)
    scan = imported(tmp_path, values.round().astype(np.uint16) if rounded else values, white=white)
    assert warnings(scan) == ""
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), y, atol=2e-4 if rounded else 1e-6)


def test_a_range_that_is_used_up_without_noise_is_told(tmp_path, y):
    """A scan that was computed so that air is the end of the range is right."""
    values = (65535 * np.exp(-y)).round().astype(np.uint16)
    scan = imported(tmp_path, values, white=np.full((1, *y.shape[1:]), 65535, np.uint16))
    assert "clipped at 65535" in warnings(scan)
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), y, atol=1e-4)


@pytest.mark.parametrize("top", [255, 4095, 65535])
@pytest.mark.parametrize("photons", [None, 1e4])
def test_air_that_is_said_to_be_the_end_of_the_range(tmp_path, y, top, photons):
    """Without noise a program made shares of rays fill the range, and nothing was brighter.

    With noise a half of air was: that is still told.
    """
    shares = np.exp(-y) if photons is None else counts(y, photons) / photons
    values = (top * shares).round().clip(max=top).astype(np.uint16)
    scan = imported(tmp_path, values, i0=float(top))
    if photons is None:
        assert warnings(scan) == ""
        shares = np.exp(-scan.y.transpose(1, 0, 2))
        np.testing.assert_allclose(shares, np.exp(-y), atol=1 / top)
    else:
        assert f"clipped at {top}" in warnings(scan)


@pytest.mark.parametrize("stored", ["all", "views", "air just below zero"])
def test_signed_numbers_that_wrapped_are_read_as_unsigned(tmp_path, y, stored):
    photons = 65000 if stored == "air just below zero" else 60000
    values, white = counts(y, photons).clip(max=65535).astype(np.uint16), fields(GEOMETRY, photons)
    white = white.astype(np.int32 if stored == "views" else np.uint16)
    if stored != "views":
        white = white.view(np.int16)
    scan = imported(tmp_path, values.view(np.int16), white=white)
    assert "views stored as int16 read as uint16" in scan.provenance["corrections"]
    right = imported(tmp_path, values, white=white.astype(np.int64) % 65536)
    np.testing.assert_array_equal(scan.y, right.y)


@pytest.mark.parametrize("down", [32768, 22768])
def test_signed_numbers_that_were_moved_down_are_right_by_their_fields(tmp_path, y, down):
    """They cross zero without a leap, from no rays far below it to air far above it."""
    values, white, dark = (
        (2 * a).astype(np.int32)
        for a in (
            counts(y, dark=100.0),
            fields(GEOMETRY, dark=100.0),
            fields(GEOMETRY, 0, dark=100),
        )
    )
    right = imported(tmp_path, values, white=white, dark=dark)
    values, white, dark = (
        (a - down).clip(max=32767).astype(np.int16) for a in (values, white, dark)
    )
    found = imported(tmp_path, values, white=white, dark=dark)
    np.testing.assert_allclose(found.y, right.y, atol=1e-5)


def test_numbers_whose_bytes_are_in_the_other_order_are_refused(tmp_path, y):
    values, white = counts(y).astype(np.uint16), fields(GEOMETRY).astype(np.uint16)
    with pytest.raises(CorruptInput, match=r"two bytes of each .* other order; .*byteswap"):
        imported(tmp_path, values.byteswap(), white=white.byteswap())
    eight_bits = [(a // 100 * 256).astype(np.uint16) for a in (values, white)]
    imported(tmp_path, eight_bits[0], white=eight_bits[1])  # moved up, and in order


def test_numbers_that_fall_with_the_rays_are_told_as_such(tmp_path, y):
    values, white, dark = (
        65535 - a
        for a in (counts(y, dark=100.0), fields(GEOMETRY, dark=100.0), fields(GEOMETRY, 0))
    )
    with pytest.raises(CorruptInput, match="numbers fall with the rays, subtract"):
        imported(tmp_path, values, white=white, dark=dark)


def test_counts_below_the_dark_level_are_not_unsigned(tmp_path, y):
    """Electronics that take the dark level away themselves leave noise on both sides of zero."""
    values = (counts(4 * y) + np.random.default_rng(0).normal(0, 20, y.shape)).round()
    scan = imported(tmp_path, values.astype(np.int16), white=fields(GEOMETRY).astype(np.int16))
    assert "int16" not in scan.provenance["corrections"]


@pytest.mark.parametrize("stored", [np.uint16, np.uint32])
def test_unsigned_numbers_that_went_below_zero_are_read_as_signed(tmp_path, y, stored):
    """The same noise, stored by electronics that know no sign: two less than none is 65534."""
    values = (counts(4 * y) + np.random.default_rng(0).normal(0, 20, y.shape)).round()
    white = fields(GEOMETRY)
    scan = imported(tmp_path, values.astype(np.int64).astype(stored), white=white)
    assert f"stored as {np.dtype(stored)} read as int" in scan.provenance["corrections"]
    np.testing.assert_array_equal(scan.y, imported(tmp_path, values, white=white).y)


def test_a_few_values_that_wrapped_are_enough(tmp_path, y):
    values = counts(y, 32600)
    assert 0 < (values > 32767).mean() < 0.15
    scan = imported(tmp_path, values.astype(np.int16), white=fields(GEOMETRY, 32600))
    right = imported(tmp_path, values, white=fields(GEOMETRY, 32600))
    np.testing.assert_array_equal(scan.y, right.y)


def test_bright_air_and_hot_pixels_are_not_below_zero(tmp_path, y):
    values = counts(y, 64500).clip(max=65535)
    values[:, 3, 40] = 65535
    values[:, 5, 70] = 65000 + np.arange(60)
    scan = imported(tmp_path, values.astype(np.uint16), white=fields(GEOMETRY, 64500))
    assert "int16" not in scan.provenance["corrections"]


@pytest.mark.parametrize("photons", [1000, 2000])
def test_few_photons_behind_a_wide_object_are_no_other_order_of_the_views(tmp_path, photons):
    """There is more noise behind it than in the air that most bins see; 9 of 12 scans warned."""
    grid = Grid.from_spacing((3, 128, 128), (2.0, 2.0, 2.0))
    geometry = placed(parallel_beam, grid, sparse_view(180))
    values = counts(project([(cylinder(4, -3, 90.0), MU)], geometry), photons)
    scan = imported(tmp_path, values, geometry, white=fields(geometry, photons, seed=50))
    assert warnings(scan) == ""


# The flux of each view

FLUX = {
    "drift of 5 percent": 1 - 0.05 * np.arange(60) / 60,
    "flicker of 3 percent": 1 + 0.03 * np.random.default_rng(5).normal(size=60),
    "top-up": 1 - 0.02 * (np.arange(60) % 12) / 12,
    "a view of half the flux": np.where(np.arange(60) == 17, 0.5, 1.0),
}


@pytest.mark.parametrize("name", FLUX)
def test_the_flux_of_each_view_is_read_off_air_at_the_edges(tmp_path, y, name):
    scan = imported(tmp_path, counts(y, flux=FLUX[name]), white=fields(GEOMETRY))
    assert "taken for air in each view" in scan.provenance["corrections"]
    assert warnings(scan) == ""
    error = (scan.y.transpose(1, 0, 2) - y).mean(axis=(1, 2))
    assert np.abs(error).max() < 2e-3
    assert abs(levels(scan).water) < 1


@pytest.mark.parametrize("quantity", ["counts", "line-integrals"])
def test_air_whose_noise_neighbours_share_is_still_air(tmp_path, quantity):
    """A scintillator spreads a photon over bins: means have more noise than single ones say.

    So the edges of two measured scans of wood and of neutrons were not taken for air.
    """
    geometry = beam("parallel", 240, size=384, slices=1)
    y = project(phantom(100.0), geometry)
    rng = np.random.default_rng(0)
    flux = 0.97 * (1 + 0.003 * rng.standard_normal(240))
    noise = convolve1d(rng.standard_normal(y.shape), np.full(4, 0.5), axis=2)
    air = 2e4 * flux[:, None, None] * np.exp(-y)
    values, options = air + noise * np.sqrt(air), {"white": fields(geometry, number=100)}
    if quantity == "line-integrals":
        values, options = -np.log(values / 2e4), {"say": {"quantity": quantity}}
    scan = imported(tmp_path, values, geometry, **options)
    assert "taken for air in each view" in scan.provenance["corrections"]
    assert warnings(scan) == ""
    error = (scan.y.transpose(1, 0, 2) - y)[:, :, [*range(90), *range(-90, 0)]].mean(axis=(1, 2))
    assert error.std() < 0.5 * flux.std()
    assert abs(error.mean()) < 1e-3


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
def test_steady_flux_is_left_alone(tmp_path, kind):
    geometry = beam(kind, 30, size=128, slices=5)
    values = counts(project(phantom(34.0), geometry))
    scan = imported(tmp_path, values, geometry, white=fields(geometry))
    assert scan.provenance["corrections"] == "mean of 10 white fields, no dark field"
    assert warnings(scan) == ""


def test_what_no_edge_shows_is_said_where_it_was_asked_for(tmp_path):
    y = project(phantom(130.0), GEOMETRY)
    scan = imported(tmp_path, counts(y), white=fields(GEOMETRY), air_bins="auto")
    assert "nothing was taken for air" in warnings(scan)


def test_an_object_that_the_detector_cuts_off_is_not_air(tmp_path):
    """Its shadow lies on the edges, though they flicker alike."""
    y = project(phantom(130.0), GEOMETRY)
    values = counts(y, flux=FLUX["flicker of 3 percent"])
    scan = imported(tmp_path, values, white=fields(GEOMETRY))
    assert "air" not in scan.provenance["corrections"]


@pytest.mark.parametrize("quantity", ["counts", "line-integrals"])
@pytest.mark.parametrize("flux", ["drift of 5 percent", "flicker of 3 percent", "steady"])
def test_the_middle_of_a_wide_object_is_not_air(tmp_path, quantity, flux):
    """Both edges show the same in every view, and flicker alike: the water became -680 HU."""
    geometry, mu = changed(GEOMETRY, bins=80), 0.0015
    wide = [(cylinder(0.0, 0.0, 150.0), mu), *phantom(mu=mu)[1:]]
    y, by_view = project(wide, geometry), FLUX.get(flux, np.ones(60))
    values, options = counts(y, flux=by_view), {"white": fields(geometry)}
    if quantity == "line-integrals":
        values, options = -np.log(np.maximum(values, 1) / 2e4), {"say": {"quantity": quantity}}
    scan = imported(tmp_path, values, geometry, **options)
    assert "taken for air" not in scan.provenance["corrections"]
    assert re.search(r"at both edges .* the object is wider than the detector", warnings(scan))
    error = (scan.y.transpose(1, 0, 2) - y).mean(axis=(1, 2))
    assert np.abs(error + np.log(by_view)).max() < 3e-3


def test_a_source_that_changed_is_told_from_an_object_by_a_view_near_air(tmp_path, y):
    """Air that lacks a tenth in all views is named; one that lacks as much as it varies is used."""
    for flux, used in (
        (0.9 - 0.01 * np.arange(60) / 60, False),
        (FLUX["drift of 5 percent"], True),
    ):
        scan = imported(tmp_path, counts(y, flux=flux), white=fields(GEOMETRY))
        assert ("taken for air in each view" in scan.provenance["corrections"]) == used
        assert bool(re.search(r"has 0\.89\d* of the white .*'auto'", warnings(scan))) != used


@pytest.mark.parametrize("side", ["first", "last"])
@pytest.mark.parametrize("quantity", ["counts", "line-integrals"])
@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_air_at_one_edge_that_is_darker_than_its_fields_is_told(tmp_path, y, side, quantity, drift):
    """A half acquisition by a source at 0.9: water was 28 HU too dense, and nothing was said."""
    half = y[:, :, 80:] if side == "last" else y[:, :, :-80]
    geometry, bins = changed(GEOMETRY, bins=half.shape[2]), half.shape[2]
    flux = 0.9 * (1 - drift * np.arange(60) / 60)
    values, options = counts(half, flux=flux), {"white": fields(geometry)}
    if quantity == "line-integrals":
        values, options = -np.log(np.maximum(values, 1) / 2e4), {"say": {"quantity": quantity}}
    told = warnings(imported(tmp_path, values, geometry, **options))
    named = re.search(r"`air_bins='(\d+):(\d+)'` takes this for air", told)
    assert named, told
    first, last = map(int, named.groups())
    assert (first == 0) if side == "first" else (last == bins)
    scan = imported(tmp_path, values, geometry, air_bins=f"{first}:{last}", **options)
    assert np.abs((scan.y.transpose(1, 0, 2) - half).mean(axis=(1, 2))).max() < 3e-3


@pytest.mark.parametrize("side", ["first", "last"])
@pytest.mark.parametrize("quantity", ["counts", "line-integrals"])
@pytest.mark.parametrize("flux", FLUX)
def test_one_edge_is_enough_if_the_other_sees_the_object(tmp_path, y, side, quantity, flux):
    """As in a half acquisition."""
    half = y[:, :, 80:] if side == "last" else y[:, :, :-80]
    geometry = changed(GEOMETRY, bins=half.shape[2])
    values, options = counts(half, flux=FLUX[flux]), {"white": fields(geometry)}
    if quantity == "line-integrals":
        values = -np.log(np.maximum(values, 1) / 2e4)
        options = {"say": {"quantity": quantity}}
    scan = imported(tmp_path, values, geometry, **options)
    assert f"air in the {side} " in scan.provenance["corrections"]
    assert np.abs((scan.y.transpose(1, 0, 2) - half).mean(axis=(1, 2))).max() < 3e-3
    left = imported(tmp_path, values, geometry, air_bins="none", **options)
    assert np.abs((left.y.transpose(1, 0, 2) - half).mean(axis=(1, 2))).max() > 0.015


@pytest.mark.parametrize("first", [20, 60, 80, 100])
def test_a_steady_source_is_left_alone_where_one_edge_sees_air(tmp_path, y, first):
    half = y[:, :, first:]
    geometry = changed(GEOMETRY, bins=half.shape[2])
    scan = imported(tmp_path, counts(half), geometry, white=fields(geometry))
    assert "taken for air" not in scan.provenance["corrections"]


@pytest.mark.parametrize("last", [70, 90, 103])
def test_an_object_cut_off_at_both_ends_is_not_air_at_one(tmp_path, y, last):
    inside = project(phantom(60.0), GEOMETRY)[:, :, 50:last]
    geometry = changed(GEOMETRY, bins=inside.shape[2])
    values = counts(inside, flux=FLUX["drift of 5 percent"])
    scan = imported(tmp_path, values, geometry, white=fields(geometry))
    assert "taken for air" not in scan.provenance["corrections"]


def test_bins_of_air_can_be_named(tmp_path, y):
    """On one side only, for a detector that an object leaves on the other."""
    values = counts(y[:, :, 80:], flux=FLUX["drift of 5 percent"])
    geometry = beam("parallel", 60, size=128, slices=9)
    geometry = changed(geometry, bins=values.shape[2])
    options = {"geometry": geometry, "white": fields(geometry)}
    left = imported(tmp_path, values, air_bins="none", **options)
    assert "taken for air" not in left.provenance["corrections"]
    scan = imported(tmp_path, values, air_bins="86:100", **options)
    assert np.abs((scan.y.transpose(1, 0, 2) - y[:, :, 80:]).mean(axis=(1, 2))).max() < 3e-3
    for wrong in ("98", "5:5", "0:103", "a:b", "-1:3", ""):
        with pytest.raises(UsageError, match=r"^`air_bins="):
            imported(tmp_path, values, air_bins=wrong, **options)


def test_air_that_is_not_as_bright_as_its_fields_is_told(tmp_path, y):
    values, white = counts(y, flux=0.9), fields(GEOMETRY)
    scan = imported(tmp_path, values, white=white)
    assert re.search(r"air at both edges of the detector has 0\.9\d* of the white", warnings(scan))
    mended = imported(tmp_path, values, white=white, air_bins="auto")  # the cure that it names
    assert warnings(mended) == ""
    assert abs(levels(mended).water) < 1
    assert warnings(imported(tmp_path, values, white=white, air_bins="none")) == ""


@pytest.mark.parametrize("air", [30300, 30500])
def test_a_wrong_number_for_air_is_told_with_the_right_one(tmp_path, y, air):
    """One percent too few are 15 HU at the rim."""
    values, dark = counts(y, air, dark=200.0), fields(GEOMETRY, 0, dark=200.0)
    told = warnings(
        imported(tmp_path, values, say={"quantity": "counts", "i0": 30200.0}, dark=dark)
    )
    right = re.search(r"`i0=(\d+)` is what they show", told)
    assert right
    assert abs(int(right[1]) - 200 - air) < 1e-3 * air
    said = {"quantity": "counts", "i0": float(right[1])}
    mended = imported(tmp_path, values, say=said, dark=dark)
    assert warnings(mended) == ""
    assert abs(levels(mended).water) < 1


def test_views_that_are_brighter_than_air_are_told_where_no_edge_shows_air(tmp_path, y):
    """Of an object that the detector cuts off on one side."""
    part = y[:, :, 80:]
    geometry = changed(GEOMETRY, bins=part.shape[2])
    for air, told in ((20000.0, False), (20500.0, True)):
        said = {"quantity": "counts", "i0": 20000.0}
        scan = imported(tmp_path, counts(part, air), geometry, say=said)
        assert ("nothing lets more through than air" in warnings(scan)) == told
    number = re.search(r"`i0=(\d+)` is what they show", warnings(scan))
    assert abs(int(number[1]) / 20500 - 1) < 5e-3


@pytest.mark.parametrize(
    ("behind", "words"),
    [(3, "the white fields differ from each other"), (10, "with an object in the white fields")],
    ids=["some", "all"],
)
def test_an_object_in_the_white_fields_is_told(tmp_path, y, behind, words):
    white = fields(GEOMETRY).astype(float)
    white[:behind] *= np.exp(-y[:1])
    said = warnings(imported(tmp_path, counts(y), white=white, fields="together"))
    assert words in said
    assert ("differ from each other" in said) == (behind < 10)


def test_values_that_are_wrong_are_told_where_the_centre_is_not_found(tmp_path, y):
    with pytest.raises(
        UnsupportedInput, match=r"first correct what its values show: air at both .*`i0="
    ):
        imported(tmp_path, counts(y).astype(np.uint16), i0=1.0, centre="auto")


def test_views_without_rays_are_named(tmp_path, y):
    values = counts(y)
    values[[7, 31]] = np.random.default_rng(0).poisson(3, values[:2].shape)
    scan = imported(tmp_path, values, white=fields(GEOMETRY))
    assert "2 of 60 views" in warnings(scan)
    assert "`without='7,31'` leaves them out" in warnings(scan)
    others = np.delete(scan.y.transpose(1, 0, 2) - y, [7, 31], axis=0)
    assert np.abs(others.mean(axis=(1, 2))).max() < 2e-3
    left = imported(tmp_path, values, white=fields(GEOMETRY), without="7,31")
    assert warnings(left) == ""
    assert len(left.geometry.beam.angles_deg) == 58
    np.testing.assert_allclose(left.y, np.delete(scan.y, [7, 31], axis=1))
    assert abs(levels(left).water) < 1


def test_views_that_are_left_out_are_counted_as_they_were_measured(tmp_path, y):
    """Their numbers stay, and so does the time of the fields."""
    flux = 1 - 0.2 * (np.arange(60) + 0.5) / 60
    values = counts(y, flux=flux)
    values[50] = 3
    white = {"white": fields(GEOMETRY), "white_after": fields(GEOMETRY, 16000, seed=2)}
    first = imported(tmp_path, values, air_bins="none", **white)
    some = imported(tmp_path, values, without="0-19", air_bins="none", **white)
    assert "`without='50'` leaves" in warnings(some)
    np.testing.assert_allclose(some.y[:, 1:20], first.y[:, 21:40], atol=6e-3)
    for wrong in ("60", "5-3", "a", "", "0-59", "-1"):
        with pytest.raises(UsageError, match=r"^`without="):
            imported(tmp_path, values, without=wrong, **white)


# Fields before and after


@pytest.mark.parametrize("how", ["one file", "two files", "by word", "after only"])
def test_fields_before_and_after_follow_a_source_that_loses_a_fifth(tmp_path, how):
    """An object that leaves no air at the edges, so that fields alone tell."""
    y = project(phantom(130.0), GEOMETRY)
    flux = 1 - 0.2 * (np.arange(60) + 0.5) / 60
    before, after = fields(GEOMETRY), fields(GEOMETRY, 0.8 * 2e4, seed=2)
    options = {"white": np.concatenate([before, after])}
    if how == "two files":
        options = {"white": before, "white_after": after}
    if how == "by word":
        options["fields"] = "before-after"
    if how == "after only":
        options = {"white": before[:1], "white_after": after[:1]}
    scan = imported(tmp_path, counts(y, flux=flux), **options)
    assert "the last with 0.8 of the first's counts" in scan.provenance["corrections"]
    error = (scan.y.transpose(1, 0, 2) - y).mean(axis=(1, 2))
    assert np.abs(error).max() < 0.012  # of y to 5.2: 100 photons have a bias of 0.005
    few = imported(tmp_path, counts(y, flux=flux), every=7, **options)
    np.testing.assert_array_equal(few.y, scan.y[:, ::7])


def test_fields_that_flicker_are_taken_together(tmp_path, y):
    white = np.concatenate(
        [
            fields(GEOMETRY, 2e4 * f, number=1, seed=i)
            for i, f in enumerate((1, 0.98, 1.01, 1.02, 0.99, 1))
        ]
    )
    scan = imported(tmp_path, counts(y), white=white)
    assert "interpolated" not in scan.provenance["corrections"]
    assert (
        "interpolated"
        not in imported(
            tmp_path, counts(y), white=np.concatenate([white, 0.8 * white]), fields="together"
        ).provenance["corrections"]
    )


@pytest.mark.parametrize("how", ["together", "before-after", None])
def test_fields_behind_a_closed_shutter_are_no_air(tmp_path, y, how):
    white, dark = fields(GEOMETRY), np.full((2, *y.shape[1:]), 100.0)
    white[:2] = 0
    known = {"dark": dark} | ({} if how is None else {"fields": how})
    with pytest.raises(CorruptInput, match=r"2 of \d+ white fields .* \(from 0: 0, 1\); give"):
        imported(tmp_path, counts(y) + 100, white=white + 100, **known)
    scan = imported(tmp_path, counts(y) + 100, white=white[2:] + 100, **known)
    assert abs(levels(scan).water) < 1


def test_fields_of_data_exchange_before_and_after(tmp_path, y):
    flux = 1 - 0.2 * (np.arange(60) + 0.5) / 60
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = counts(y, flux=flux).astype(np.uint16)
        white = np.concatenate([fields(GEOMETRY), fields(GEOMETRY, 16000)])
        file["exchange/data_white"] = white.astype(np.uint16)
        file["exchange/theta"] = np.array(GEOMETRY.beam.angles_deg)
    scan = import_scan(tmp_path / "a.h5", Options(bin_mm=1.0, row_mm=1.0, centre="none"))
    assert "by their levels" in scan.provenance["corrections"]
    assert abs(levels(scan).water) < 1


# What numbers are


@pytest.mark.parametrize("constant", [0.3, -0.2, 0.05, 2.5])
def test_a_constant_that_was_added_to_line_integrals_is_told(tmp_path, y, constant):
    noisy = y + np.random.default_rng(0).normal(0, 0.02, y.shape) + constant
    lines = {"quantity": "line-integrals"}
    scan = imported(tmp_path, noisy, say=lines)
    told = re.search(r"line integrals are (\S+) at both edges", warnings(scan))
    assert float(told[1]) == pytest.approx(constant, abs=1e-3)
    mended = imported(tmp_path, noisy, say=lines, air_bins="auto")
    assert warnings(mended) == ""
    assert abs(levels(mended).water) < 1


@pytest.mark.parametrize("top", [1.0, 255.0, 30000.0])
def test_counts_said_to_be_line_integrals_are_refused(tmp_path, y, top):
    """Counts, and shares of rays; the cure that is named gives the right values."""
    values = counts(y, 30000) * (top / 30000)
    with pytest.raises(CorruptInput, match="counts or transmissions; give `quantity='counts'`"):
        imported(tmp_path, values, say={"quantity": "line-integrals"})
    scan = imported(tmp_path, values, say={}, quantity="counts", i0=top)
    assert warnings(scan) == ""
    assert abs(levels(scan).water) < 1


def test_shares_without_air_that_are_said_to_be_line_integrals_are_remarked(tmp_path, y):
    """Nothing tells them from line integrals: they passed without a word."""
    inside = changed(GEOMETRY, bins=40)
    lines = y[:, :, GEOMETRY.beam.bins // 2 - 20 :][:, :, :40]
    lines = lines + np.random.default_rng(0).normal(0, 0.01, lines.shape)
    integrals = {"quantity": "line-integrals"}
    shares = imported(tmp_path, np.exp(-lines), inside, say=integrals, centre="none")
    assert "may just as well be transmissions: if they are" in shares.provenance["corrections"]
    assert "warnings" not in shares.provenance
    right = imported(tmp_path, np.exp(-lines), inside, centre="none", i0=1)
    np.testing.assert_allclose(right.y.transpose(1, 0, 2), lines, atol=1e-4)
    for whole in (lines, y / 2):
        scan = imported(tmp_path, whole, inside if whole is lines else GEOMETRY, say=integrals)
        assert "transmissions" not in scan.provenance["corrections"]


def test_counts_that_began_again_at_zero(tmp_path, y):
    """Sums of frames in 16 bits: they were thought to be line integrals."""
    values, white = counts(y, 8e4) % 65536, fields(GEOMETRY, 8e4) % 65536
    with pytest.raises(CorruptInput, match="overflowed 16 bits, write them with 32"):
        imported(tmp_path, values.astype(np.uint16), white=white.astype(np.uint16))


@pytest.mark.parametrize("level", [100, 5000])
def test_dark_fields_that_are_too_high_are_told(tmp_path, y, level):
    """A third of the values had no rays by them, and only that was noted."""
    values = counts(y, dark=100)
    white, dark = fields(GEOMETRY, dark=100), np.full((1, *y.shape[1:]), level)
    told = warnings(imported(tmp_path, values, white=white, dark=dark))
    assert ("the dark fields are too high, as with another exposure" in told) == (level > 100)


@pytest.mark.parametrize("kind", ["counts", "line-integrals"])
def test_an_axis_that_lies_down_is_thought_of(tmp_path, kind):
    """The object lies on both edges in every view: its values were blamed for it."""
    geometry = beam("parallel", 60, size=96, slices=96)
    rng = np.random.default_rng(0)
    lying = np.rot90(project(phantom(), geometry), 1, (1, 2))
    counted = kind == "counts"
    values = rng.poisson(2e4 * np.exp(-lying)) if counted else rng.normal(lying, 0.01)
    known = changed(geometry, bins=lying.shape[2], bin_mm=1.0)
    say = {"quantity": kind} | ({"i0": 2e4} if counted else {})
    try:
        told = warnings(imported(tmp_path, values, known, say=say, centre="none"))
    except CorruptInput as refused:
        told = str(refused)
    assert "rows show air: does `order` swap row and bin?" in told


def test_line_integrals_of_the_wrong_sign_are_refused(tmp_path, y):
    with pytest.raises(CorruptInput, match="sign is wrong"):
        imported(tmp_path, -y, say={"quantity": "line-integrals"})


@pytest.mark.parametrize("i0", [1.0, 3.0, 100.0])
def test_line_integrals_said_to_be_counts_are_refused(tmp_path, y, i0):
    noisy = y + np.random.default_rng(0).normal(0, 0.005, y.shape)
    with pytest.raises(CorruptInput, match="state that by `quantity='line-integrals'`"):
        imported(tmp_path, noisy, say={"quantity": "counts", "i0": i0})


@pytest.mark.parametrize("kind", ["parallel", "fan"])
@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("top", [5, 60, 900, 65535])
def test_values_of_any_unit_are_imported_and_their_noise_is_not_known(tmp_path, kind, offset, top):
    """Fluorescence, electrons, emission: what follows works, in the unit of the data."""
    geometry = beam(kind, 40, size=64, slices=2)
    y = project([(cylinder(2, 1, 20), 1 / 40), (cylinder(5, 5, 4), 1 / 20)], geometry)
    rng = np.random.default_rng(0)
    values = top * (y + offset + 0.02 * rng.standard_normal(y.shape))
    scan = imported(
        tmp_path, values.astype(np.float32), geometry, say={"quantity": "line-integrals"}
    )
    assert scan.noise == Noise()
    assert ("`mu_water=X`" in warnings(scan)) == (top > 35)
    assert ("at both edges" in warnings(scan)) == (offset > 0)
    scan = imported(tmp_path, values, geometry, say={"quantity": "line-integrals"}, air_bins="auto")
    assert "at both edges" not in warnings(scan)
    stated = None if top > 1e4 else top / 40  # it is estimated where no mu_water is allowed
    warns = pytest.warns(DiffusionBlendWarning) if stated is None else contextlib.nullcontext()
    with warns:
        volume = reconstruct(scan, "fbp", mu_water=stated)
    x = np.arange(volume.hu.shape[2]) - (volume.hu.shape[2] - 1) / 2
    body = np.hypot(x - 2, x[:, None] - 1) < 15
    body &= np.hypot(x - 5, x[:, None] - 5) > 8
    assert abs(volume.hu[:, body].mean()) < 30


@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_noise_that_photons_do_not_make_is_not_known(tmp_path, y, spread):
    """It is the same in air and behind 160 mm of water, where photons make five times as much."""
    values = 2 * y + np.random.default_rng(0).normal(0, spread, y.shape)
    scan = imported(tmp_path, values, say={"quantity": "line-integrals"})
    assert scan.noise == Noise()
    assert scan.provenance["noise"].startswith("not known")


def test_the_command_prints_its_warnings(tmp_path, y, caplog):
    path = write_case(tmp_path, y + 0.3, GEOMETRY, quantity="line-integrals")
    ended = command("import", path, "-o", tmp_path / "scan.h5")
    assert ended.code == 0
    assert "warning: line integrals are 0.3 at both edges" in caplog.text
    assert "warnings" not in ended.out
    ended = command("import", path, "-o", tmp_path / "scan.h5", "--json")
    assert '"warnings": ["line integrals are 0.3' in ended.out


def test_infinity_is_what_others_make_of_no_rays(tmp_path):
    """Behind metal; a single pixel that never says anything else is dead."""
    y = project([(cylinder(2, 1, 40), MU), (cylinder(9, 5, 6), 1.0)], GEOMETRY)
    with np.errstate(divide="ignore"):
        lines = -np.log(counts(y) / 2e4)
    lines[:, 4, 60] = np.inf
    dark = np.isinf(lines)
    dark[:, 4, 60] = False
    scan = imported(tmp_path, lines, say={"quantity": "line-integrals"})
    found = scan.y.transpose(1, 0, 2)
    assert (found[dark] == found.max()).all()
    assert found.max() == pytest.approx(np.log(2e4), abs=0.01)
    assert "1 dead pixels interpolated (4:60)" in scan.provenance["corrections"]


def test_fields_may_hold_what_is_no_number(tmp_path, y):
    white = fields(GEOMETRY).astype(float)
    white[2, 3, 40] = np.nan
    white[:, 5, 70] = np.nan
    scan = imported(tmp_path, counts(y), white=white)
    assert "5:70" in scan.provenance["corrections"]
    assert np.abs(scan.y.transpose(1, 0, 2) - y).mean() < 0.01
