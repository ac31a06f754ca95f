"""The arc that views cover: even, uneven and few views, gaps, turns and fans."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam
from diffusionblend.geometry.arc import Directions, find_arc
from diffusionblend.methods.sbtv import TUNED_LIMITED, tuned_weights
from support.phantoms import changed, placed

GRID = Grid.from_spacing((1, 64, 64))
FAN = {"sod_mm": 150.0, "sdd_mm": 260.0}
FEW = range(1, 13)


def even(views, arc):
    return arc * np.arange(views) / views


def moved(angles, part, seed=0):
    """Return angles with errors of up to a part of a step."""
    step = np.diff(angles).mean() if len(angles) > 1 else 1.0
    return angles + part * step * np.random.default_rng(seed).uniform(-1, 1, len(angles))


@pytest.mark.parametrize("circle", [180, 360])
@pytest.mark.parametrize("views", [*FEW, 60, 359, 360])
def test_views_all_around_leave_nothing_out(views, circle):
    golden = circle * (math.sqrt(5) - 1) / 2 * np.arange(views)
    twice = np.concatenate([even(views, circle), even(views, circle) + circle])
    for angles in (even(views, circle), golden, twice, moved(even(views, circle), 0.2) - 777):
        assert Directions(angles, circle).missing == 0
    half = 180 if views == 1 else circle  # for which a single view stands
    assert Directions(even(views, circle), circle).length == pytest.approx(math.radians(half))


@pytest.mark.parametrize("views", [n for n in FEW if n > 1])
@pytest.mark.parametrize("arc", [60, 90])
def test_few_views_over_a_part_leave_the_rest_out(views, arc):
    """3, 4 or 5 views over 90 degrees are tuned for none, if a hole is told by the mean gap."""
    missing = Directions(even(views, arc), 180).missing
    assert missing == pytest.approx(180 - arc)
    assert placed(parallel_beam, GRID, even(views, arc)).arc.missing_deg == pytest.approx(180 - arc)
    assert tuned_weights(placed(parallel_beam, GRID, even(views, arc))) == TUNED_LIMITED


@pytest.mark.parametrize("views", [n for n in FEW if n > 1])
def test_few_views_over_half_a_turn_are_no_full_turn(views):
    arc = Directions(even(views, 180))
    assert not arc.closed
    assert arc.length == pytest.approx(math.pi)
    assert Directions(even(views + 1, 360)).closed


@pytest.mark.parametrize("views", [3, 4, 5, 8, 12, 60])
@pytest.mark.parametrize("seed", range(5))
def test_errors_of_the_angles_change_little(views, seed):
    limited = moved(even(views, 90), 0.15, seed)
    assert Directions(limited, 180).missing == pytest.approx(90, abs=2 * 90 / views * 0.15 + 3)
    assert Directions(moved(even(views, 360), 0.2, seed)).closed


@pytest.mark.parametrize(
    ("angles", "missing"),
    [
        (np.concatenate([even(40, 60), 90 + even(40, 60)]), 30),  # one of two gaps, as wide
        (np.concatenate([even(90, 90), [135.0]]), 45),
        (np.concatenate([even(60, 180), [45.0] * 9]), 0),
        (np.concatenate([even(60, 180), 45.0 + 1e-3 * np.arange(9)]), 0),
        (np.concatenate([even(60, 90), 90 + even(120, 90)]), 0),
        (np.concatenate([even(90, 180), even(90, 180) + 0.1]), 0),
        (np.arange(0, 400, 1.0), 0),
        (np.concatenate([even(60, 60), 240 + even(60, 60)]), 60),  # the opposite of 60 to 120
    ],
)
def test_uneven_views_leave_out_their_widest_gap(angles, missing):
    assert Directions(angles, 180).missing == pytest.approx(missing, abs=1.1)


def test_a_turn_that_lacks_some_views_is_not_quite_full():
    assert Directions(np.arange(0, 359, 1.0)).closed
    assert math.degrees(Directions(np.arange(0, 340, 1.0)).length) == pytest.approx(340)
    assert Directions(np.concatenate([np.arange(180, 360), np.arange(180)])).closed


@pytest.mark.parametrize("views", [2, 3, 4, 5, 8, 60, 480])
def test_fans_that_turn_around_miss_nothing_and_others_what_no_ray_has(views):
    for angles in (even(views, 360), even(views, 720), moved(even(views, 360), 0.2)):
        assert placed(fan_beam, GRID, angles, **FAN).arc.missing_deg == 0
    limited = placed(fan_beam, GRID, even(views, 90), **FAN).arc.missing_deg
    assert 90 < limited < 90 + 2 * math.degrees(math.asin(0.9 * 32 / 150)) + 0.1


@pytest.mark.parametrize("views", [8, 21, 60])
def test_the_mean_gap_counts_the_rays_through_a_point(views):
    """As many in a full turn as in half of one, though then most lines are seen twice."""
    for make, turn in (
        (parallel_beam, 180),
        (parallel_beam, 360),
        (partial(fan_beam, **FAN), 360),
    ):
        arc = placed(make, GRID, even(views, turn)).arc
        assert arc.mean_deg == pytest.approx(180 / views)
        assert arc.widest_deg >= arc.mean_deg - 1e-6
    whole = placed(fan_beam, GRID, even(views, 360), **FAN)
    beside = changed(whole, offset_mm=0.45 * whole.beam.bins * whole.beam.bin_mm)
    assert beside.arc.mean_deg == pytest.approx(360 / views)  # near the edge half of them see it


@pytest.mark.parametrize("shape", [(64, 64), (64, 40), (48, 64)])
def test_a_fan_on_a_short_arc_misses_twice_its_angle_near_the_edge(shape):
    """At nine tenths of the way to the nearer sides."""
    grid = Grid.from_spacing((1, *shape), (1.0, 1.5, 1.5))
    limited = placed(fan_beam, grid, even(60, 90), **FAN).arc.missing_deg
    at_edge = math.degrees(math.asin(0.9 * min(shape) / 2 * 1.5 / FAN["sod_mm"]))
    assert limited == pytest.approx(90 + 2 * at_edge, abs=0.02)


# Properties: the arc is one of directions, however they are told


views_of_a_scan = st.lists(st.integers(0, 359), min_size=2, max_size=24, unique=True)
makers = st.sampled_from([parallel_beam, partial(fan_beam, **FAN), partial(cone_beam, **FAN)])


def told(make, angles):
    arc = placed(make, GRID, angles).arc
    views = arc.views
    return [
        arc.missing_deg, arc.widest_deg, arc.axis.missing, arc.full_turn, arc.same,
        views.widest, views.typical, views.span, views.closed,
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(views_of_a_scan, makers, st.randoms(), st.integers(-1000, 1000), st.integers(-3, 3))
def test_order_offset_turns_and_repeats_change_no_arc(angles, make, order, offset, turns):
    expected = told(make, angles)
    others = [a + offset for a in angles]
    others += [a + 360 * turns for a in others[: len(others) // 2]]
    order.shuffle(others)
    assert told(make, others) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(views_of_a_scan, makers)
def test_the_sense_of_rotation_changes_no_arc(angles, make):
    assert told(make, [-a for a in angles]) == pytest.approx(told(make, angles), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(views_of_a_scan)
def test_what_is_missing_is_the_widest_gap_if_it_is_three_times_the_others(angles):
    """By the rule itself, from sorted directions."""
    gaps = np.diff(sorted(angles), append=min(angles) + 360)
    others = np.sort(gaps)[:-1]
    others = others[others >= others.mean() / 4]
    hole = gaps.max() >= 3 * np.median(others)
    expected = gaps.max() - np.median(others) if hole else 0
    assert Directions(np.array(angles, float)).missing == pytest.approx(expected, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 5), st.floats(-720, 720), st.randoms(), makers)
def test_three_to_five_views_of_a_quarter_have_a_missing_arc(views, first, order, make):
    angles = [*(first + even(views, 90))]
    order.shuffle(angles)
    arc = placed(make, GRID, angles).arc
    assert arc.axis.missing == pytest.approx(90, abs=1e-3)
    assert arc.missing_deg >= 90 - 1e-3
    assert not arc.full_turn


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 40), st.floats(-720, 720), makers)
def test_even_views_of_a_turn_miss_nothing(views, first, make):
    arc = placed(make, GRID, [*(first + even(views, 360))]).arc
    assert arc.full_turn
    assert (arc.missing_deg, arc.axis.missing) == (0, 0)
    np.testing.assert_allclose(arc.views.shares, 2 * math.pi / views, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(views_of_a_scan, st.randoms(), st.integers(-1000, 1000))
def test_a_view_keeps_its_share_and_depth_whatever_the_order_and_offset(angles, order, offset):
    """Where two gaps are as wide, either may be the one between the ends."""
    gaps = np.sort(np.diff(sorted(angles), append=min(angles) + 360))
    assume(gaps[-1] > gaps[-2])
    number = order.sample(range(len(angles)), len(angles))
    views = Directions(np.array(angles, float))
    others = Directions(np.array([angles[n] + offset for n in number], float))
    np.testing.assert_allclose(others.shares, views.shares[number], atol=1e-6)
    depth = views.depth(np.radians(angles))
    np.testing.assert_allclose(others.depth(np.radians(others.degrees)), depth[number], atol=1e-6)


def test_shares_and_depth_by_hand():
    """Each view stands for half of the gaps beside it, and those at the ends for as much beyond."""
    views = Directions(np.array([100.0, 20.0, 0.0, 60.0]))
    np.testing.assert_allclose(np.degrees(views.shares), [40, 30, 20, 40])
    assert math.degrees(views.length) == pytest.approx(130)
    angles = np.radians([-10.0, 0.0, 20.0, 55.0, 100.0, 120.0])
    np.testing.assert_allclose(np.degrees(views.depth(angles)), [0, 10, 30, 65, 20, 0], atol=1e-9)


@pytest.mark.parametrize("arc", [90, 180, 200, 300])
def test_at_the_axis_a_fan_misses_what_its_lines_there_do(arc):
    """However wide it is: asked for no other place, it has the directions of its views."""
    angles = even(60, arc)
    beam = changed(placed(fan_beam, GRID, angles, **FAN), axis_mm=20.0).beam
    found = find_arc(beam, reach_mm=0.0)
    assert found.missing_deg == pytest.approx(max(180 - arc, 0), abs=1e-6)
    assert found.missing_deg == pytest.approx(found.axis.missing, abs=1e-6)


def test_opposite_views_are_the_same_of_a_parallel_beam_that_reaches_as_far():
    parallel = placed(parallel_beam, GRID, even(8, 360))
    assert parallel.arc.same
    assert not changed(parallel, offset_mm=3.0).arc.same
    assert not placed(fan_beam, GRID, even(8, 360), **FAN).arc.same


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12), st.sampled_from([180.0, 360.0]))
def test_any_views_have_an_arc(angles, circle):
    arc = Directions(np.array(angles), circle)
    assert 0 < arc.length <= math.radians(circle) + 1e-9
    assert (arc.shares > 0).all()
    assert arc.shares.sum() == pytest.approx(arc.length)
    assert (arc.depth(np.radians(angles)) >= -1e-7).all()
