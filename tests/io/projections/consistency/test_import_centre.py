"""The centre of rotation is found: for every beam, from many views and few, with noise."""

import contextlib

import numpy as np
import pytest

from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import (
    cone_beam,
    fan_beam,
    limited_angle,
    parallel_beam,
    sparse_view,
)
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.consistency.centre import find_centre
from diffusionblend.io.projections.formats.recognise import find_geometry, open_source
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.projections.rows_apart import read_rows
from diffusionblend.io.projections.understand import understand
from support import cases
from support.phantoms import Ellipsoid, changed, placed

GRID = Grid.from_spacing((1, 64, 64))
BODIES = [
    (0.03, Ellipsoid((4.0, -3.0, 0.0), (22.0, 16.0, np.inf))),
    (0.04, Ellipsoid((-7.0, 5.0, 0.0), (5.0, 3.0, np.inf), 1.1)),
    (-0.03, Ellipsoid((12.0, -6.0, 0.0), (4.0, 6.0, np.inf), 0.2)),
]
PLACE = {"sod_mm": 150.0, "sdd_mm": 260.0}
FULL = sparse_view(72, 360)
GEOMETRIES = {
    "parallel, 180 views": placed(parallel_beam, GRID, sparse_view(180)),
    "parallel, both ends of the half turn": placed(parallel_beam, GRID, tuple(np.arange(91) * 2.0)),
    "parallel, 20 views": placed(parallel_beam, GRID, sparse_view(20)),
    "parallel, 100 degrees": placed(parallel_beam, GRID, limited_angle(100)),
    "parallel, uneven": placed(parallel_beam, GRID, (0.0, 11.0, 40.0, 62.0, 99.0, 130.0, 171.0)),
    "parallel, full turn": placed(parallel_beam, GRID, FULL),
    "flat fan": placed(fan_beam, GRID, FULL, **PLACE),
    "curved fan": placed(fan_beam, GRID, FULL, **PLACE, detector="curved"),
    "fan, clockwise": placed(fan_beam, GRID, tuple(-a for a in FULL), **PLACE),
    "fan, source shifted": changed(placed(fan_beam, GRID, FULL, **PLACE), axis_mm=2.0),
    "cone": placed(cone_beam, GRID, FULL, **PLACE),
}


def beam_of(geometry):
    return Measured(geometry.beam, rows=1, row_mm=1.0)


def moved(geometry, bins):
    """Move the detector so that the axis falls so many bins further."""
    return changed(geometry, offset_mm=-bins * geometry.beam.bin_mm)


def measured(geometry, photons, seed=0):
    """Return line integrals of the middle row (1, views, bins), as bins average them."""
    y = sum(mu * body.mean_chords(geometry) for mu, body in BODIES)
    y = y[[len(y) // 2]]
    counts = np.random.default_rng(seed).poisson(photons * np.exp(-y))
    return -np.log(np.maximum(counts, 1) / photons).astype(np.float32)


@pytest.mark.parametrize("bins", [3.0, -4.6])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_shifted_centre_is_found_within_a_fifth_of_a_bin(name, bins):
    geometry = moved(GEOMETRIES[name], bins)
    beam = beam_of(geometry)
    found = find_centre(measured(geometry, 1e4), beam)
    assert abs(found.axis.at(0) - beam.axis_bin) < 0.2
    assert f"{len(geometry.beam.angles_deg)} views" in found.how


def test_a_source_that_flickers_moves_no_centre():
    geometry = moved(GEOMETRIES["parallel, 20 views"], 3.0)
    y = measured(geometry, 1e5)
    y += np.random.default_rng(1).normal(0, 0.02, (1, 20, 1)).astype(np.float32)
    assert abs(find_centre(y, beam_of(geometry)).axis.at(0) - beam_of(geometry).axis_bin) < 0.2


def test_an_object_that_is_cut_off_is_seen_from_both_ends_of_the_half_turn():
    geometry = moved(GEOMETRIES["parallel, 180 views"], 3.0)
    y, geometry = measured(geometry, 1e5)[..., 26:-26], changed(geometry, bins=39)
    found = find_centre(y, beam_of(geometry))
    assert found.how.startswith("by opposite rays, 180 views; opposite rays differ by 0.00")
    assert abs(found.axis.at(0) - beam_of(geometry).axis_bin) < 0.1


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("parallel, 20 views", {"bins": 39}, "of an object that is not cut off"),
        (
            "parallel, 100 degrees",
            {"angles_deg": limited_angle(40)},
            "90 degrees of an object that is not cut off",
        ),
        *(
            (
                "parallel, 20 views",
                {"angles_deg": (0.0, 50.0, 90.0, 130.0, 170.0)[:n]},
                "dense views",
            )
            for n in (1, 3, 5)  # three are three unknowns: no misfit, whatever the place
        ),
        ("flat fan", {"angles_deg": sparse_view(40, 160)}, "a fan's short scan"),
        (
            "parallel, 180 views",
            {"bins": 39, "angles_deg": limited_angle(160)},
            "half a turn of dense views",
        ),
        ("parallel, full turn", {"offset_mm": 60.0}, "no place on the detector fits"),
    ],
)
def test_views_that_do_not_tell_the_centre(name, change, words):
    whole = changed(GEOMETRIES[name], **change)
    y = measured(whole, 1e5)
    with pytest.raises(UnsupportedInput, match="give `centre=BIN`, or `centre='none'`") as caught:
        find_centre(y, beam_of(whole))
    assert words in str(caught.value)


def test_nothing_has_no_centre():
    geometry = GEOMETRIES["parallel, 20 views"]
    with pytest.raises(UnsupportedInput, match="`centre='auto'`: these views do not determine"):
        find_centre(np.zeros((1, 20, geometry.beam.bins), np.float32), beam_of(geometry))


# The axis anywhere on the detector


def body(kind, views, bins, axis_bin, *, photons=2e4, angles=None, rows=1, seed=0):
    """Return line integrals of a body of water (rows, views, bins), their beam and the axis."""
    if angles is None:
        angles = tuple(np.arange(views) * 360 / views)
    geometry = cases.beam(kind, slices=rows, angles=tuple(angles))
    bin_mm = 1.0 if kind == "parallel" else 1.6
    offset = ((bins - 1) / 2 - axis_bin) * bin_mm
    geometry = changed(geometry, bins=bins, bin_mm=bin_mm, offset_mm=offset)
    seen = cases.counts(cases.project(cases.phantom(), geometry), photons, seed=seed)
    y = -np.log(np.maximum(seen, 1) / photons).transpose(1, 0, 2).astype(np.float32)
    return y[[len(y) // 2]], beam_of(geometry)


def assert_found(y, beam, tolerance=0.1):
    found = find_centre(y, beam)
    assert abs(found.axis.at(0) - beam.axis_bin) < tolerance
    return found


@pytest.mark.parametrize("axis_bin", [6.3, 12.3, 25.8, 39.5, 60.2, 73.6])
@pytest.mark.parametrize(("kind", "views"), [("parallel", 360), ("fan", 180), ("cone", 121)])
def test_half_acquisitions(kind, views, axis_bin):
    """The detector sees a band about the axis from both ends, and the object is cut off."""
    found = assert_found(*body(kind, views, 80, axis_bin))
    assert "opposite rays differ by 0." in found.how


@pytest.mark.parametrize("photons", [1e3, 1e5])
@pytest.mark.parametrize("bins", [64, 128, 300])
def test_anywhere_or_refused(bins, photons):
    """No centre is far off in silence, wherever it is: found, or said not to be distinct."""
    refused = []
    for number, share in enumerate(np.linspace(-0.1, 1.1, 13)):
        y, beam = body("parallel", 120, bins, share * bins, photons=photons, seed=number)
        try:
            assert_found(y, beam, 0.3)
        except UnsupportedInput as error:
            refused.append(str(error))
    assert all("the centre is not distinct" in words for words in refused)
    assert 2 <= len(refused) <= (6 if bins == 64 else 4)  # two are beside the detector


GOLDEN = 360 * (np.sqrt(5) - 1) / 2


@pytest.mark.parametrize(
    "angles",
    [
        np.linspace(0, 360, 91),  # the last repeats the first
        np.linspace(-180, 180, 91),
        np.linspace(0, 1080, 271),
        np.arange(100) * GOLDEN,
        np.random.default_rng(0).permutation(72) * 5.0,
        np.concatenate([np.arange(0, 180, 3), np.arange(180, 360, 5)]),
    ],
)
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_a_full_turn_in_any_order(kind, angles):
    assert_found(*body(kind, len(angles), 128, 70.4, angles=angles))


@pytest.mark.parametrize("axis_bin", [50.2, 115.0, 260.3])
def test_centres_of_mass_have_no_limit(axis_bin):
    found = assert_found(*body("parallel", 40, 320, axis_bin, angles=np.arange(40) * 4.5))
    assert "by centres of mass" in found.how


@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.72, 0.85])
@pytest.mark.parametrize(
    ("kind", "bins", "angles"),
    [
        ("parallel", 84, np.arange(180) * 1.0),
        ("parallel", 84, np.arange(181) * 1.0),
        ("parallel", 84, -30 - np.arange(90) * 2.0),
        ("parallel", 84, np.random.default_rng(0).permutation(135) * 2.0),
        ("fan", 128, np.arange(105) * 2.0),
        ("fan", 84, np.arange(110) * 2.0 + 77),
        ("fan", 84, -np.arange(150) * 2.0),
    ],
)
def test_less_than_a_full_turn_that_is_cut_off(kind, bins, angles, share):
    """Half a turn is compared at its ends alone, and what lies beyond it with its opposite."""
    tolerance = 0.1 if np.ptp(angles) > 190 else 0.25
    assert_found(*body(kind, 0, bins, share * bins, angles=angles), tolerance)


def test_ends_of_half_a_turn_in_noise_are_refused_or_right():
    for seed in range(3):
        for share in (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9):
            half = np.arange(180) * 1.0
            y, beam = body("parallel", 0, 84, share * 84, angles=half, photons=1e3, seed=seed)
            with contextlib.suppress(UnsupportedInput):
                assert_found(y, beam, 0.6)


@pytest.mark.parametrize("photons", [200, 50])
def test_noise_at_the_edges_is_no_object_that_is_cut_off(photons):
    """Of so few photons air at the edges deviates by more than a twentieth of the object."""
    half = np.arange(60) * 3.0
    assert_found(*body("parallel", 0, 112, 55.5, angles=half, photons=photons), 5 / photons**0.5)


def test_a_centre_that_is_lost_in_noise_is_said_to_be_uncertain(tmp_path):
    """A small object beside the axis: the centre was off by up to 1.3 bins without a word."""
    geometry = cases.beam("parallel", 60, size=112, slices=5)
    small = [(cases.cylinder(30, 10, 8), 0.02)]
    right = (geometry.beam.bins - 1) / 2
    for photons, seed in ((2e3, 0), (2e3, 1), (2e3, 2), (2e4, 0), (2e4, 1), (2e4, 2)):
        values = cases.counts(cases.project(small, geometry), photons, seed=seed)
        path = cases.write_case(tmp_path, values, geometry, quantity="counts")
        with contextlib.suppress(UnsupportedInput):
            scan = import_scan(path, Options(i0=photons, centre="auto"))
            told = "the axis is known to about" in scan.provenance.get("warnings", "")
            assert told or abs(scan.geometry.beam.axis_bin - right) < 0.25
    body = cases.counts(cases.project(cases.phantom(), geometry))
    path = cases.write_case(tmp_path, body, geometry, quantity="counts")
    assert "warnings" not in import_scan(path, Options(i0=2e4, centre="auto")).provenance


def test_noise_has_no_centre():
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 72, 64)).astype(np.float32)
    for kind in ("parallel", "fan"):
        with pytest.raises(UnsupportedInput, match="the centre is not distinct"):
            find_centre(noise, body(kind, 72, 64, 31.5)[1])


def test_rows_of_air_do_not_count():
    y, beam = body("fan", 90, 128, 70.0)
    found = find_centre(np.concatenate([y * 0, y, y * 0]), beam)
    assert abs(found.axis.at(0) - 70) < 0.1
    assert "2 of 3 rows do not show it" in found.how


DEAD = {"no counts": 0.0, "full": 65535.0, "one count": 700.0, "no numbers": np.nan}


@pytest.mark.parametrize("what", DEAD)
@pytest.mark.parametrize("kind", ["cone", "fan"])
def test_a_dead_row_does_not_hide_the_centre(tmp_path, kind, what):
    """The row in the plane of the source was searched alone, and the centre called not distinct."""
    geometry = changed(cases.beam(kind, 60, size=96, slices=7), offset_mm=3.2)
    whole = Measured(geometry.beam, rows=1, row_mm=1.0).axis_bin
    y = cases.project(cases.phantom(), geometry)
    counts = cases.counts(y).astype(np.float32)
    row = counts.shape[1] // 2 if kind == "cone" else 1  # of a fan the first that is searched
    counts[:, row] = DEAD[what]
    case = cases.write_case(tmp_path, counts, geometry, quantity="counts", i0=2e4)
    scan = import_scan(case, centre="auto")
    assert abs(scan.geometry.beam.axis_bin - whole) < 0.1
    words = f"1 rows of the detector are dead or not numbers (from 0: {row}): each is the mean of"
    assert scan.provenance["warnings"] == f"{words} those beside it"
    shares = np.exp(-scan.y)
    np.testing.assert_allclose(shares[row], (shares[row - 1] + shares[row + 1]) / 2, atol=1e-5)


@pytest.mark.parametrize("kind", ["cone", "fan"])
def test_a_row_of_zeros_does_not_hide_the_centre(tmp_path, kind):
    """Line integrals of 0 may be a gap in the object: they are kept."""
    geometry = changed(cases.beam(kind, 60, size=96, slices=7), offset_mm=3.2)
    whole = Measured(geometry.beam, rows=1, row_mm=1.0).axis_bin
    y = cases.project(cases.phantom(), geometry)
    row = y.shape[1] // 2
    y[:, row] = 0
    case = cases.write_case(tmp_path, y, geometry, quantity="line-integrals")
    scan = import_scan(case, centre="auto")
    assert abs(scan.geometry.beam.axis_bin - whole) < 0.1
    assert "warnings" not in scan.provenance
    assert (scan.y[row] == 0).all()


def test_rows_that_lie_apart_are_not_made_of_each_other(tmp_path):
    """Of rows 1, 4 and 7 the last alone may be searched; the dead one has neighbours of its own."""
    geometry = cases.beam("fan", 36, size=64, slices=9)
    y = np.repeat(np.arange(9.0)[None, :, None], 36, 0) + cases.project(cases.phantom(), geometry)
    y[:, 4] = np.nan
    case = cases.write_case(tmp_path, y, geometry, quantity="line-integrals")
    facts, path, options = find_geometry(case, Options())
    source = open_source(tmp_path / "case.npy", facts, None)
    meaning = understand(source, facts, path, options)
    options = Options(air_bins="none")
    found = read_rows(meaning, range(36), range(1, 9, 3), options)
    np.testing.assert_allclose(found[1], (y[:, 3] + y[:, 5]) / 2, atol=1e-5)
    np.testing.assert_allclose(found[[0, 2]], y[:, [1, 7]].swapaxes(0, 1), atol=1e-5)


def test_a_stated_grid_does_not_forbid_the_search_on_many_bins():
    """Joining bins for the search was refused as if the user had asked for it."""
    grid = Grid.from_spacing((1, 200, 200), (1.0, 0.3, 0.3))
    geometry = moved(placed(fan_beam, grid, FULL, **PLACE), 3.0)
    assert geometry.beam.bins > 256
    beam = Measured(geometry.beam, rows=1, row_mm=1.0, grid=grid)
    found = find_centre(measured(geometry, 1e5), beam)
    assert abs(found.axis.at(0) - beam.axis_bin) < 0.2
