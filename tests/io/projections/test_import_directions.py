"""The views that `--views` takes: evenly spread directions, whatever the order of measurement."""

import numpy as np
import pytest

from diffusionblend.io.projections.directions import spread
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from support import cases

GOLDEN = 180 * (np.sqrt(5) - 1) / 2
RANDOM = np.sort(np.random.default_rng(3).uniform(0, 180, 400))


def gaps(angles, circle):
    """Return the steps between directions around a circle, in units of the even step."""
    around = np.sort(np.mod(angles, circle))
    return np.diff(around, append=around[0] + circle) / (circle / len(around))


SCANS = {
    "half a turn": np.arange(180) * 1.0,
    "both ends of the half turn": np.arange(181) * 1.0,
    "a full turn": np.arange(360) * 1.0,
    "a full turn, clockwise": 90 - np.arange(360) * 1.0,
    "a full turn of odd number": np.arange(721) * 360 / 721,
    "both ends of the full turn": np.linspace(0, 360, 361),
    "three turns": np.arange(0, 1080, 1.7),
    "270 degrees": np.arange(270) * 1.0,
    "golden angles": np.arange(400) * GOLDEN,
    "golden angles, a full turn": np.arange(400) * GOLDEN * 2,
    "half of it twice as dense": np.concatenate([np.arange(0, 90, 0.5), np.arange(90, 180, 1.0)]),
    "at random": RANDOM,
    "in no order": np.random.default_rng(0).permutation(360) * 1.0,
}


@pytest.mark.parametrize("number", [8, 11, 20, 21])
@pytest.mark.parametrize("name", SCANS)
def test_parallel_views_have_directions_of_their_own(name, number):
    taken = spread(tuple(SCANS[name]), number, "parallel")
    assert taken == sorted(set(taken))
    assert len(taken) == number
    steps = gaps(SCANS[name][taken], 180)
    assert 0.7 < steps.min() <= steps.max() < 1.3
    assert taken == spread(tuple(SCANS[name]), number, "parallel")


@pytest.mark.parametrize("number", [8, 11, 20, 21])
@pytest.mark.parametrize(
    "name", ["a full turn", "a full turn, clockwise", "both ends of the full turn", "three turns",
             "golden angles, a full turn", "in no order"]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
def test_a_full_turn_is_spread_over_the_turn(name, number, kind):
    """Half of a half acquisition's rays are on the other side."""
    steps = gaps(SCANS[name][spread(tuple(SCANS[name]), number, kind)], 360)
    assert (0.4 if kind == "parallel" else 0.8) < steps.min()
    assert steps.max() < (1.6 if kind == "parallel" else 1.2)


@pytest.mark.parametrize("kind", ["parallel", "fan"])
@pytest.mark.parametrize(
    "angles", [np.arange(90) * 1.0, np.arange(300, 390) * 1.0, np.arange(90, 0, -1) * 1.0]
)
def test_what_was_not_measured_is_not_asked_for(angles, kind):
    taken = np.sort(angles[spread(tuple(angles), 9, kind)])
    assert np.diff(taken) == pytest.approx(10, abs=1)


def test_a_missing_wedge_in_the_middle():
    angles = np.concatenate([np.arange(0, 60), np.arange(120, 180)]) * 1.0
    taken = np.sort(angles[spread(tuple(angles), 12, "parallel")])
    assert np.diff(taken) == pytest.approx([10] * 5 + [70] + [10] * 5, abs=1.5)


@pytest.mark.parametrize("kind", ["parallel", "fan", "cone"])
@pytest.mark.parametrize("name", SCANS)
def test_all_and_one(name, kind):
    angles = tuple(SCANS[name])
    assert spread(angles, len(angles), kind) == list(range(len(angles)))
    assert len(spread(angles, 1, kind)) == 1
    assert len(spread(angles, len(angles) - 3, kind)) == len(angles) - 3
    assert spread((7.0, 7.0), 2, kind) == [0, 1]


def test_every_kth_view_of_a_full_turn_is_said_to_see_lines_twice(tmp_path):
    geometry = cases.beam("parallel", size=48, slices=1, angles=tuple(np.arange(72) * 5.0))
    y = cases.project(cases.phantom(radius=18), geometry, oversampling=1)
    source = cases.write_case(tmp_path, y, geometry, quantity="line-integrals")
    for options, words in (
        (Options(every=6), "12 views have 6 directions, some opposite others; `views=12`"),
        (Options(views=12), None),
        (Options(), None),
    ):
        remarks = import_scan(source, options).provenance.get("remarks")
        assert words in remarks if words else remarks is None
