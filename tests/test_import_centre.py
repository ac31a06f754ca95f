"""The centre of rotation is found: for every beam, from many views and few, with noise."""

import msgspec
import numpy as np
import pytest

from diffusionblend.beams import cone_beam, fan_beam, limited_angle, parallel_beam, sparse_view
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.projections.beam import Beam
from diffusionblend.projections.centre import find_centre
from phantoms import Ellipsoid

GRID = Grid.from_spacing((1, 64, 64))
BODIES = [
    (0.03, Ellipsoid((4.0, -3.0, 0.0), (22.0, 16.0, np.inf))),
    (0.04, Ellipsoid((-7.0, 5.0, 0.0), (5.0, 3.0, np.inf), 1.1)),
    (-0.03, Ellipsoid((12.0, -6.0, 0.0), (4.0, 6.0, np.inf), 0.2)),
]
PLACE = {"sod_mm": 150.0, "sdd_mm": 260.0}
FULL = sparse_view(72, 360)
GEOMETRIES = {
    "parallel, 180 views": parallel_beam(GRID, sparse_view(180)),
    "parallel, both ends of the half turn": parallel_beam(GRID, tuple(np.arange(91) * 2.0)),
    "parallel, 20 views": parallel_beam(GRID, sparse_view(20)),
    "parallel, 100 degrees": parallel_beam(GRID, limited_angle(100)),
    "parallel, uneven": parallel_beam(GRID, (0.0, 11.0, 40.0, 62.0, 99.0, 130.0, 171.0)),
    "parallel, full turn": parallel_beam(GRID, FULL),
    "flat fan": fan_beam(GRID, FULL, **PLACE),
    "curved fan": fan_beam(GRID, FULL, **PLACE, detector="curved"),
    "fan, clockwise": fan_beam(GRID, tuple(-a for a in FULL), **PLACE),
    "fan, source shifted": msgspec.structs.replace(fan_beam(GRID, FULL, **PLACE), axis_mm=2.0),
    "cone": cone_beam(GRID, FULL, **PLACE),
}


def beam_of(geometry):
    apart = {name: getattr(geometry, name, 0.0) for name in ("sod_mm", "sdd_mm", "axis_mm")}
    return Beam(
        kind=type(geometry).__name__.removesuffix("Beam").lower(),
        angles_deg=geometry.angles_deg,
        bins=geometry.bins,
        rows=1,
        bin_mm=geometry.bin_mm,
        row_mm=1.0,
        offset_mm=geometry.offset_mm,
        curved=getattr(geometry, "detector", "flat") == "curved",
        **apart,
    )


def moved(geometry, bins):
    """Move the detector so that the axis falls so many bins further."""
    return msgspec.structs.replace(geometry, offset_mm=-bins * geometry.bin_mm)


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
    assert abs(found.axis_bin - beam.axis_bin) < 0.2
    assert f"{len(geometry.angles_deg)} views" in found.how


def test_a_source_that_flickers_moves_no_centre():
    geometry = moved(GEOMETRIES["parallel, 20 views"], 3.0)
    y = measured(geometry, 1e5)
    y += np.random.default_rng(1).normal(0, 0.02, (1, 20, 1)).astype(np.float32)
    assert abs(find_centre(y, beam_of(geometry)).axis_bin - beam_of(geometry).axis_bin) < 0.2


def test_an_object_that_is_cut_off_is_searched_by_the_method_of_vo():
    geometry = moved(GEOMETRIES["parallel, 180 views"], 3.0)
    y, geometry = measured(geometry, 1e5)[..., 26:-26], msgspec.structs.replace(geometry, bins=39)
    found = find_centre(y, beam_of(geometry))
    assert found.how == "by Vo's search, 180 views"
    assert abs(found.axis_bin - beam_of(geometry).axis_bin) < 0.5


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("parallel, 20 views", {"bins": 39}, "an object that is not cut off"),
        ("parallel, 100 degrees", {"angles_deg": limited_angle(40)}, "over 90 degrees"),
        ("flat fan", {"angles_deg": sparse_view(40, 200)}, "spread evenly over 360 degrees"),
        ("parallel, 20 views", {"offset_mm": 20.0}, "was not found within"),
    ],
)
def test_views_that_do_not_tell_the_centre(name, change, words):
    whole = msgspec.structs.replace(GEOMETRIES[name], **change)
    y = measured(whole, 1e5)
    with pytest.raises(UnsupportedInput, match="give --centre BIN, or --centre none") as caught:
        find_centre(y, beam_of(whole))
    assert words in str(caught.value)


def test_nothing_has_no_centre():
    geometry = GEOMETRIES["parallel, 20 views"]
    with pytest.raises(UnsupportedInput, match="--centre auto: these views do not tell"):
        find_centre(np.zeros((1, 20, geometry.bins), np.float32), beam_of(geometry))
