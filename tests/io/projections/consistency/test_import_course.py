"""Views that are not those of one object that turns by the stated angles; none of right scans."""

import json

import numpy as np
import pytest

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.projections.consistency.course import (
    PART_VIEWS,
    _in_two,
    astray,
    faster,
    interchanged,
    leap,
    turning,
    without_object,
)
from diffusionblend.io.projections.importing import import_scan
from support import cases
from support.phantoms import Ellipsoid, changed

BINS, VIEWS = 96, 60
EVEN = 3.0 * np.arange(VIEWS)
GOLDEN = 180 * (np.sqrt(5) - 1) * np.arange(VIEWS)
BODY = ((9.0, -4.0, 26.0, 0.02), (24.0, 5.0, 3.0, 0.02), (-2.0, -22.0, 4.0, 0.04))


def discs(angles_deg, objects=BODY, bins=BINS):
    """Return what five rays a bin see of discs (x, y, radius, mu): line integrals (views, bins)."""
    angles = np.radians(angles_deg)
    u = (np.arange(5 * bins) + 0.5) / 5 - bins / 2
    y = np.zeros((len(angles), 5 * bins))
    for x0, y0, radius, mu in objects:
        beside = u - (x0 * np.cos(angles) + y0 * np.sin(angles))[:, None]
        y += 2 * mu * np.sqrt(np.maximum(radius**2 - beside**2, 0))
    return -np.log(np.exp(-y).reshape(len(angles), bins, 5).mean(axis=-1))


def measured(folder, y, angles_deg, i0=None, **more):
    """Import line integrals, or counts of so many photons, by the angles that are stated."""
    values = y if i0 is None else np.random.default_rng(0).poisson(i0 * np.exp(-y))
    np.save(folder / "p.npy", values.astype(np.float32))
    data = {"file": "p.npy", "order": ["view", "bin"]}
    data |= {"quantity": "line-integrals"} if i0 is None else {"quantity": "counts", "i0": i0}
    facts = {"schema": "diffusionblend-geometry/1", "kind": "parallel", "bin_mm": 1.0}
    facts |= {"angles_deg": list(angles_deg), "data": data, "offset_mm": 0.0}
    (folder / "geometry.json").write_text(json.dumps(facts))
    return import_scan(folder / "geometry.json", **more).provenance.get("warnings", "")


@pytest.mark.parametrize("i0", [None, 3000.0])
def test_white_fields_among_the_views(tmp_path, i0):
    """They were views, through which rings of air went."""
    y = discs(EVEN)
    y[[0, 1, 30, 59]] = 0
    warned = measured(tmp_path, y, EVEN, i0)
    assert "4 of 60 views show nothing but air" in warned
    assert "`without='0,1,30,59'`" in warned
    assert "centres of mass" not in warned
    assert measured(tmp_path, y, EVEN, i0, without="0,1,30,59") == ""


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("i0", [None, 20000.0])
def test_several_pictures_of_each_view(tmp_path, times, i0):
    """Spread over the arc as views of their own, they put everything half a step aside."""
    y = np.repeat(discs(2 * EVEN), times, axis=0)
    spread = 360.0 * np.arange(len(y)) / len(y)
    told = measured(tmp_path, y, spread, i0)
    assert "are the same as those before them, though others changed" in told
    assert f"are there {times} pictures of each view? take one of each (`every={times}`)" in told
    assert measured(tmp_path, y, spread, i0, every=times) == ""
    assert "the same as those before" not in measured(tmp_path, y, np.repeat(2 * EVEN, times), i0)
    assert measured(tmp_path, discs(2 * EVEN), 2 * EVEN, i0) == ""


def test_golden_angles_in_radians(tmp_path):
    """Of many turns, the numbers alone look like degrees."""
    y = discs(GOLDEN)
    warned = measured(tmp_path, y, np.radians(GOLDEN))
    assert "bins away from any rotation by the stated angles" in warned
    assert measured(tmp_path, y, np.radians(GOLDEN), angles="radians") == ""


def test_views_in_another_order(tmp_path):
    mixed = np.random.default_rng(0).permutation(VIEWS)
    assert "views in another order" in measured(tmp_path, discs(EVEN)[mixed], EVEN, 1e4)
    assert measured(tmp_path, discs(EVEN)[mixed], EVEN[mixed], 1e4) == ""


@pytest.mark.parametrize(
    ("times", "why"),
    [(2.0, "went half as far"), (1 / 0.9, "were in grads"), (1e3, "in thousandths of a degree")],
)
@pytest.mark.parametrize("i0", [None, 3e5])
def test_angles_in_other_units_are_told_with_the_factor(tmp_path, times, why, i0):
    told = measured(tmp_path, discs(EVEN), EVEN * times, i0)
    assert f"follow the stated angles times {1 / times:.4g} far better" in told
    assert why in told


@pytest.mark.parametrize("kind", ["fan", "cone"])
@pytest.mark.parametrize("cut", [False, True])
def test_diverging_views_in_another_order(tmp_path, kind, cut):
    """Where the object is cut off, opposite rays tell it."""
    right = cases.beam(kind, 60, slices=3)
    objects = [*cases.phantom(), *([(cases.cylinder(0, 0, 90), cases.MU)] if cut else [])]
    y = cases.project(objects, right)
    mixed = np.random.default_rng(0).permutation(60)
    for place, views in (("right", y), ("mixed", y[mixed])):
        source = cases.write_case(tmp_path / place, views, right, quantity="line-integrals")
        told = import_scan(source).provenance.get("warnings", "")
        assert ("views in another order" in told) is (place == "mixed"), told


@pytest.mark.parametrize("i0", [None, 20000.0])
def test_an_object_that_moves_at_one_view_is_told(tmp_path, i0):
    """Everything was a pixel off, and no picture that is made of it disagrees with the data."""
    y = discs(EVEN)
    y[25:] = discs(EVEN, [(a + 1.0, b + 1.5, *rest) for a, b, *rest in BODY])[25:]
    told = measured(tmp_path, y, EVEN, i0)
    assert "before 75 degrees the views' centres of mass leap by" in told
    leapt = float(told.partition("leap by ")[2].split()[0])
    assert leapt == pytest.approx(np.cos(np.radians(75)) + 1.5 * np.sin(np.radians(75)), abs=0.1)
    assert measured(tmp_path, y, EVEN, i0, without="0-24") == ""
    assert measured(tmp_path, discs(EVEN), EVEN, i0) == ""


def test_views_that_were_lost_in_between_are_told(tmp_path):
    taken = np.delete(3.0 * np.arange(VIEWS + 4), [30, 31, 32, 33])
    aside = [(a + 8.0, b, *rest) for a, b, *rest in BODY]
    told = measured(tmp_path, discs(taken, aside), EVEN, 20000.0)
    assert "before 90 degrees the views' centres of mass leap by" in told
    assert "were views lost?" in told
    assert measured(tmp_path, discs(taken, aside), taken, 20000.0) == ""


def test_one_angle_for_all_views_of_a_fan_is_told(tmp_path):
    right = cases.beam("fan", 60, slices=3)
    y = cases.project(cases.phantom(), right)
    still = changed(right, angles_deg=(0.0,) * 60)
    source = cases.write_case(tmp_path, y, still, quantity="line-integrals")
    assert "away from any rotation" in import_scan(source).provenance["warnings"]


def test_it_is_said_where_no_centre_is_found(tmp_path):
    """The refusal told to give the centre, with which the scan was wrong without a word."""
    mixed = np.random.default_rng(0).permutation(VIEWS)
    y = discs(EVEN)[mixed]
    with pytest.raises(UnsupportedInput, match=r"first correct.*views in another order"):
        measured(tmp_path, y, EVEN, centre="auto")


def object_of(kind, chance, reach):
    """Return discs within a reach: a body, spots, one small disc, a tube."""
    at = chance.uniform(-0.5, 0.5, (10, 2)) * reach
    if kind == "body":
        spots = [(*at[n], chance.uniform(0.02, 0.1) * reach, 0.02) for n in range(5)]
        return [(*at[9] / 2, 0.5 * reach, 0.01), *spots]
    if kind == "spots":
        return [(*where, chance.uniform(0.02, 0.15) * reach, 0.03) for where in at]
    if kind == "small":
        return [(*at[0], 2.0, 0.3)]
    if kind == "cut off":
        return [(*where * 2, chance.uniform(0.1, 1.0) * reach, 0.01) for where in at[:4]]
    return [(*at[0] / 2, 0.6 * reach, 0.02), (*at[0] / 2, 0.55 * reach, -0.02)]


@pytest.mark.parametrize("kind", ["body", "spots", "small", "cut off", "tube"])
def test_right_scans_are_not_doubted(kind):
    """Of any object, arc, order and noise, with air that is off, flux that flickers, hardening."""
    chance = np.random.default_rng(1)
    for trial in range(120):
        bins, views = int(chance.choice([48, 96])), int(chance.choice([6, 12, 40]))
        angles = np.arange(views) * chance.choice([30, 90, 180, 200, 360]) / views
        angles = chance.permutation(angles) if trial % 3 == 0 else angles
        y = discs(angles, object_of(kind, chance, bins / 2), bins)
        top = y.max()
        y = y + (trial % 5 == 1) * chance.uniform(-0.02, 0.02) * top
        y = y + (trial % 5 == 2) * chance.uniform(-0.01, 0.01, (views, 1))
        y = y - (trial % 5 == 3) * 0.05 * y**2 / top
        photons = 10 ** chance.uniform(2, 6)
        noisy = -np.log(np.maximum(chance.poisson(photons * np.exp(-y)), 0.5) / photons)
        assert astray(noisy, angles) is None, (trial, bins, views, photons)
        assert faster(noisy, angles) is None, (trial, bins, views, photons)
        assert not without_object(noisy).size, (trial, bins, views, photons)


def test_a_board_from_its_side_is_no_air():
    """From its face it has a fortieth of that line integral, and the same mass."""
    angles = np.radians(EVEN)
    u = (np.arange(5 * BINS) + 0.5) / 5 - BINS / 2
    across = (40 * np.cos(angles)) ** 2 + np.sin(angles) ** 2
    y = 1.6 * np.sqrt(np.maximum(across[:, None] - u**2, 0)) / across[:, None]
    y = y.reshape(VIEWS, BINS, 5).mean(axis=-1)
    assert not without_object(y).size
    assert astray(y, EVEN) is None


SQUARE = 36


def square(kind, turn, seed):
    """Return line integrals of as many rows as views (views, rows, bins), and their angles."""
    rng = np.random.default_rng(seed)
    angles = turn / SQUARE * np.arange(SQUARE)
    geometry = cases.beam(kind, size=64, slices=SQUARE, angles=tuple(angles.tolist()))
    x, y = rng.uniform(-9, 9, 2)
    objects = [(cases.cylinder(x, y, rng.uniform(12, 20)), cases.MU)]
    objects += [(cases.ball(*rng.uniform(-12, 12, 3), rng.uniform(2, 6)), 0.02) for _ in range(4)]
    values = cases.counts(cases.project(objects, geometry, oversampling=1), 1e4, seed=seed)
    return -np.log(np.maximum(values, 0.5) / 1e4), angles, geometry


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "turn"), [("parallel", 180), ("parallel", 360), ("fan", 360)])
def test_rows_that_turn_and_views_that_do_not(kind, turn, seed):
    y, angles, _ = square(kind, turn, seed)
    assert interchanged(y, angles)  # its views are taken for rows
    assert not interchanged(np.ascontiguousarray(y.transpose(1, 0, 2)), angles)


def test_sinograms_that_pass_for_projections(tmp_path):
    """Of a long object they are those of rings, which explain them without any residual."""
    y, _, geometry = square("parallel", 180, 0)
    told = {"quantity": "line-integrals"}
    wrong = cases.write_case(tmp_path, y.transpose(1, 0, 2), geometry, **told)
    assert "does `order` swap view and row?" in import_scan(wrong).provenance["warnings"]
    scan = import_scan(wrong, order="row,view,bin")
    assert "warnings" not in scan.provenance
    np.testing.assert_allclose(scan.y, y.transpose(1, 0, 2), atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_board_that_is_symmetric_between_the_ends(tmp_path, sign):
    """Its first and last view are the same, and a step apart all the same."""
    angles = 18.0 * np.arange(20)
    beam = cases.beam("parallel", size=64, slices=3, angles=tuple(angles.tolist()))
    turn = sign * np.radians(9.0)  # half of a step before the first, or behind it
    board = [(Ellipsoid((0.0, 0.0, 0.0), (22.0, 9.0, np.inf), turn), 0.02)]
    y = -np.log(cases.counts(cases.project(board, beam), 4e4) / 4e4)
    path = cases.write_case(tmp_path, y, beam, quantity="line-integrals")
    assert "warnings" not in import_scan(path, centre="none").provenance


def test_a_round_object_in_noise_is_not_in_another_order(tmp_path):
    """Beyond the ends of half a turn views are continued, with more noise than others have."""
    beam = cases.beam("parallel", 180, size=64, slices=3)
    nearly = [(Ellipsoid((1.3, 0.0, 0.0), (14.0, 13.0, np.inf), 0.4), 0.011)]
    for seed in range(3):
        y = -np.log(cases.counts(cases.project(nearly, beam), 3600, seed=seed) / 3600)
        path = cases.write_case(tmp_path, y, beam, quantity="line-integrals")
        assert "warnings" not in import_scan(path, centre="none").provenance


@pytest.mark.parametrize("degrees", [-35.0, -10.0])
def test_few_views_that_look_alike_at_the_ends_of_a_turn(tmp_path, degrees):
    """Beside the axis between the first and the last view, nearly: they were called the same."""
    x, y = 20 * np.cos(np.radians(degrees)), 20 * np.sin(np.radians(degrees))
    angles = 45.0 * np.arange(8)
    assert measured(tmp_path, discs(angles, ((x, y, 12.0, 0.03),)), angles) == ""


@pytest.mark.parametrize("diverges", [True, False])
def test_all_places_of_a_leap_are_tried_at_once(diverges):
    """One by one 3000 views took a quarter of a minute; each has to be the best fit there."""
    angles = np.sort(np.random.default_rng(0).uniform(0, 300, 40))
    at = 30 + turning(angles) @ [0.5, 7.0, -3.0] + np.random.default_rng(1).normal(0, 0.1, 40)
    at[17:] += 1.0
    turn = turning(angles)
    whole = np.hstack([turn, turning(2 * angles)[:, 1:]]) if diverges else turn
    left, leaps = _in_two(at, whole, turn)
    for place in range(PART_VIEWS, len(at) - PART_VIEWS + 1):
        parts = np.hstack([whole, turn * (np.arange(len(at)) >= place)[:, None]])
        fit = np.linalg.lstsq(parts, at, rcond=None)[0]
        squares = np.square(at - parts @ fit).sum() / (len(at) - parts.shape[1])
        assert left[place] == pytest.approx(np.sqrt(squares), rel=1e-6)
        assert leaps[place] == pytest.approx(turn[place] @ fit[-3:], rel=1e-6)


def test_a_leap_among_many_views():
    angles = 0.12 * np.arange(3000)
    y = discs(angles)
    y[1500:] = np.roll(y[1500:], 1, axis=1)
    assert leap(y, angles, diverges=False) == (1500, pytest.approx(1.0, abs=0.02))
