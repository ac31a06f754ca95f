"""Whether values are Hounsfield units is told by how many there are of each, not by one voxel."""

import numpy as np
import pytest

from diffusionblend.data.hounsfield import check_hu, check_scale, tell_of_scale
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.io.volumes import write_volume
from support.commands import command

Z, Y, X = np.mgrid[-1:1:9j, -1:1:64j, -1:1:64j]
OUTSIDE = X**2 + Y**2 > 1


def body(noise=0.0):
    """A chest: air, lungs, muscle, a spine."""
    hu = np.where((X / 0.85) ** 2 + (Y / 0.65) ** 2 < 1, 40.0, -1000.0)
    hu[((np.abs(X) - 0.4) / 0.3) ** 2 + (Y / 0.45) ** 2 < 1] = -850
    hu[(X / 0.12) ** 2 + ((Y - 0.42) / 0.14) ** 2 < 1] = 700
    return (hu + np.random.default_rng(0).normal(0, noise or 1e-9, hu.shape)).astype(np.float32)


def head(noise=20.0):
    """A brain in a skull, whose thick bone is where a second rescale puts soft tissue."""
    rng = np.random.default_rng(0)
    radius = np.hypot(X, Y * 1.2)
    skull = rng.normal(np.where(np.abs(radius - 0.78) < 0.03, 800, 1350), 250)
    hu = np.where(radius < 0.7, 35.0, np.where(radius < 0.86, skull, -1000))
    hu += rng.normal(0, noise, hu.shape)
    return hu.astype(np.float32)


def padded(hu, value):
    return np.where(OUTSIDE, value, hu).astype(np.float32)


def one_voxel(hu, value):
    changed = hu.copy()
    changed[0, 0, 0] = value
    return changed


def in_slices(hu, indices, offset):
    changed = hu.copy()
    changed[indices] += offset
    return changed


def without_sign(hu):
    """Whole numbers of 16 bits, the negative ones beyond 32767."""
    return hu.round() % 65536


def swapped(hu, kind="<i2"):
    """Whole numbers with their two bytes in the other order."""
    return hu.round().astype(kind).byteswap().astype(np.float32)


HU = {
    "a chest": body(),
    "noise": body(noise=80),
    "padding far below": padded(body(), -2000),
    "padding of -3024": padded(body(noise=30), -3024),
    "padding above air": padded(body(), -1024),
    "padding of -32768, rescaled, too": padded(body(noise=30), -33792),
    "metal": one_voxel(body(), 20_000),
    "a phantom of water and bone": np.where(X**2 + Y**2 < 0.5, np.where(Y > 0, 900, 0), -1000),
    "one voxel far below": one_voxel(body(), -20_000),
    "a part without lungs": body()[:, 8:20, :],
    "a head": head(),
    "a head in padding of -2048": padded(head(), -2048),
    "a head of 12 bits in padding of -2048": padded(head().clip(-1024), -2048),
    "a chest in padding of -2024": padded(body(noise=20), -2024),
    "the brain alone, the rest far below": np.where(Y**2 + X**2 < 0.3, 35.0 + 10 * Z, -2000),
    "cut off at -1000": body(noise=80).clip(-1000),
    "padding of -9999": padded(body(noise=20), -9999),
    "a head in padding of -10000": padded(head(), -10_000),
    "a phantom in padding of -10000": padded(body(), -10_000),
    "lung window": body(noise=20).clip(-1350, 150),
}
NOT_HU = {
    "HU + 1024": (body() + 1024, "rescale slope and intercept"),
    "HU + 1024, padding": (padded(body() + 1024, -2000), "HU + 1024"),
    "HU + 1024, noise, padding": (padded(body(noise=40) + 1024, -3000), "HU + 1024"),
    "HU + 1024, padding of -1000": (padded(body(noise=20) + 1024, -1000), "HU + 1024"),
    "HU + 1024, padding of -1024": (padded(body() + 1024, -1024), "HU + 1024"),
    "HU + 1024, clipped below air": ((body(noise=40) + 1024).clip(-9), "HU + 1024"),
    "HU + 1024, one voxel": (one_voxel(body() + 1024, -1000), "rescale slope and intercept"),
    "HU + 1000, padding": (padded(body() + 1000, -1500), "HU + 1024"),
    "windowed": (body().clip(-160, 240), "windowed"),
    "windowed, bone": (body().clip(-150, 500), "windowed"),
    "windowed, little bone": (one_voxel(body(), 2000).clip(-160, 900), "windowed"),
    "windowed, wide": (body(noise=20).clip(-450, 1050), "windowed"),
    "windowed, of a head": (
        np.where(X**2 + Y**2 < 0.4, 35 + 5 * Z, -1000).clip(-700, 80),
        "windowed",
    ),
    "grey values": ((body() + 1000) / 1700 * 255, "grey values"),
    "attenuation": (0.0193 * (1 + body() / 1000), "attenuation, mu, in 1/mm"),
    "attenuation, noise": (
        0.0193 * (1 + body(noise=50).clip(-1050) / 1000),
        "attenuation, mu, in 1/mm",
    ),
    "attenuation in 1/cm": (0.193 * (1 + body(noise=50) / 1000), "or 1/cm"),
    "-1 to 1": (body(noise=20).clip(-1000, 400) / 700 + 3 / 7, "as for a network"),
    "padding of no number": (padded(body(), -3e38), "may be padding"),
    "as unsigned": (body(noise=20).round() % 65536, "as unsigned"),
    "without their sign, and rescaled": (body(noise=20).round() % 65536 - 24, "as unsigned"),
    "few without their sign": (without_sign(body(30) + 1024) - 1024, "as unsigned"),
    "few without their sign, in padding": (
        padded(without_sign(body(30) + 1024) - 1024, 64_000),
        "as unsigned",
    ),
    "bytes swapped": (swapped(body(noise=20)), "bytes are in the other order"),
    "bytes swapped, a phantom": (swapped(body()), "bytes are in the other order"),
    "bytes swapped, a head in padding": (
        swapped(np.where(X**2 + Y**2 > 0.75, -2048, head())),
        "`ElementByteOrderMSB` of MetaImage",
    ),
    "bytes of HU + 1024 swapped": (swapped(body(noise=9) + 1024, "<u2"), "in the other order"),
    "a mask": (body() > -500, "the labels of a mask"),
    "labels": (np.digitize(body(), [-900, -500, 0, 300]) * 20, "the labels of a mask"),
    "rescaled twice": (body().clip(-1000) - 1024, "rescaled twice"),
    "rescaled twice, a head": (head().clip(-1000) - 1024, "rescaled twice"),
    "rescaled twice, 12 bits": (head(noise=60).clip(-1024) - 1024, "rescaled twice"),
    "rescaled twice, in padding": (padded(head().clip(-1000) - 1024, -3024), "rescaled twice"),
    "times ten": (10 * body(noise=20), "HU times ten: divide"),
    "times ten, a phantom": (10 * body(), "HU times ten: divide"),
    "times ten, 12 bits": (10 * body(noise=60).clip(-1024), "HU times ten: divide"),
    "times ten, in padding": (padded(10 * body(noise=20), -30_000), "HU times ten: divide"),
    "times ten, a head": (10 * head(), "HU times ten: divide"),
    "times ten, air taken out": (10 * body()[:, 8:20].clip(-1000), "HU times ten: divide"),
    "a tenth": (body(noise=20).clip(-1024) / 10, "HU divided by ten: multiply"),
    "a tenth, a phantom": (body() / 10, "HU divided by ten: multiply"),
    "a tenth, a head": (head() / 10, "HU divided by ten: multiply"),
    "windowed from -100": (body(noise=20).clip(-100, 400), "windowed"),
    "windowed from -100, a head": (head().clip(-100, 240), "windowed"),
    "one value": (np.full((3, 8, 8), -1000.0), "rescale"),
}
TO_BE_SCANNED = {
    "rescaled twice": body() - 1024,
    "rescaled twice, noise": body(noise=30) - 1024,
    "rescaled twice, only a head": np.where(Y**2 + X**2 < 0.5, -984.0 + 10 * Z, -2024),
    "rescaled twice in one slice": in_slices(body(noise=30), [4], -1024),
    "one slice without an intercept": in_slices(body(noise=30), [4], 1024),
    "half of the slices without an intercept": in_slices(body(), range(5), 1024),
    "grey values with a sign": (body() + 1000) * 20 - 20_000 + 500 * X,
}


@pytest.mark.parametrize("name", HU)
def test_hounsfield_units_are_taken(name):
    check_scale("v", HU[name].astype(np.float32))


@pytest.mark.parametrize("noise", [500, 2000, 5000, 10_000])
def test_a_picture_from_hardly_any_photons_may_be_looked_at(noise):
    check_hu("v", body(noise=noise))


@pytest.mark.parametrize("name", NOT_HU)
def test_other_values_are_refused_with_what_they_may_be(name):
    values, word = NOT_HU[name]
    with pytest.raises(UnsupportedInput, match=r"v: values from .* are not Hounsfield units") as e:
        check_hu("v", values.astype(np.float32))
    assert word in str(e.value)


@pytest.mark.parametrize("name", TO_BE_SCANNED)
def test_a_wrong_scale_is_neither_scanned_nor_learned_from(name):
    with pytest.raises(UnsupportedInput, match="are not Hounsfield units"):
        check_scale("v", TO_BE_SCANNED[name].astype(np.float32))


@pytest.mark.parametrize("index", [0, 4, 8])
def test_a_slice_with_a_scale_of_its_own_is_named(index):
    with pytest.raises(UnsupportedInput, match=f"v: slice {index}: values from"):
        check_scale("v", in_slices(body(noise=30), [index], 1024).astype(np.float32))


MULTIPLIED = {
    "two": 2 * body(noise=20),
    "two, 12 bits": 2 * body(noise=20).clip(-1024),
    "two, in padding": padded(2 * body(noise=20), -6048),
    "one and a half": 1.5 * body(noise=20),
    "three": 3 * head(),
}


@pytest.mark.parametrize("name", MULTIPLIED)
def test_multiplied_hu_are_not_scanned_and_told_where_they_are_looked_at(name, caplog):
    hu = MULTIPLIED[name].astype(np.float32)
    air = np.median(hu[(hu > hu.min()) & (hu < -1300)])
    with pytest.raises(UnsupportedInput) as refused:
        check_scale("v", hu)
    assert f"air is at about {air:.0f}: they may be HU times {air / -1000:.2g}" in str(
        refused.value
    )
    check_hu("v", hu)
    tell_of_scale("v", hu)
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith(
        f"v: what looks like air is at about {air:.0f} HU; expected air at -1000"
    )


@pytest.mark.parametrize("top", [100, 400, 1000])
def test_values_cut_off_at_the_top_are_told_with_their_share(top, caplog):
    hu = (body(noise=20) + np.where(body() > 600, 400, 0)).clip(-1000, top).astype(np.float32)
    check_scale("v", hu)
    share = 100 * np.mean(hu == top)
    assert [record.getMessage() for record in caplog.records] == [
        f"v: {share:.2g} % of its voxels have the highest value, {top} HU: denser values were cut "
        "off there; give the volume as it was before that"
    ]


LIGHT = {
    "rescaled twice, and cut off": (body(noise=20) - 1024).clip(-1024),
    "lowered, and cut off": (body(noise=20) - 1000).clip(-1000),
}


@pytest.mark.parametrize("name", LIGHT)
def test_a_body_without_water_is_told(name, caplog):
    """It may be wood, or a foam, and is scanned."""
    hu = LIGHT[name].astype(np.float32)
    check_scale("v", hu)
    low, high = np.percentile(hu, (10, 90))
    assert caplog.messages == [
        f"v: hardly any of its voxels are as dense as water (0 HU), and most are from {low:.0f} "
        f"to {high:.0f} HU; if it is a body, its values are not in HU: give them in HU"
    ]


FILLED = {
    "0, as water": padded(body(noise=20), 0),
    "0, as water, all but the body": np.where(body() < -900, 0, body(noise=20)),
    "0, in two corners": np.where(X > 0.9, 0, body(noise=20)),
    "the largest of 12 bits": padded(body(), 3071),
    "-2000 read without a sign": padded(body(), 62512),
    "inverted": -body(noise=20),
}


@pytest.mark.parametrize("name", FILLED)
def test_what_is_outside_of_the_scanned_field_is_air(name):
    with pytest.raises(UnsupportedInput, match=r"v: the corners of 9 slices are .*; expected air"):
        check_scale("v", FILLED[name].astype(np.float32))
    check_hu("v", FILLED[name].astype(np.float32))  # a result may be looked at


@pytest.mark.parametrize("name", FILLED)
def test_of_corners_that_no_dense_object_fills_those_who_look_are_told(name, caplog):
    hu = FILLED[name].astype(np.float32)
    tell_of_scale("v", hu)
    told = [record.getMessage() for record in caplog.records]
    padding = "largest" in name or "sign" in name  # beside air: as an object that fills them
    assert [words.partition(" are")[0] for words in told] == (
        [] if padding else ["v: the corners of 9 slices"]
    )


@pytest.mark.parametrize("name", HU)
def test_of_hu_nothing_is_told(name, caplog):
    check_scale("v", HU[name].astype(np.float32))
    tell_of_scale("v", HU[name].astype(np.float32))
    words = [record.getMessage() for record in caplog.records]
    assert [w for w in words if "cut off there" not in w] == []
    assert (len(words) == 1) == (name == "lung window")


@pytest.mark.parametrize("noise", [200, 500, 2000, 5000])
def test_of_a_picture_from_hardly_any_photons_nothing_is_told(noise, caplog):
    tell_of_scale("v", body(noise=noise))
    assert not caplog.records


@pytest.fixture
def doubled(place):
    """The file of a chest whose HU were multiplied by two."""
    hu = MULTIPLIED["two"].astype(np.float32)
    write_volume(Volume(hu, Grid.from_spacing(hu.shape, (3, 5, 5))), place / "two.nii.gz")
    return place / "two.nii.gz"


def test_commands_that_compare_or_show_a_volume_tell_of_its_scale(doubled, place, caplog):
    for words in (("info",), ("evaluate", doubled), ("report", "-o", place / "r.html")):
        caplog.clear()
        ended = command(words[0], doubled, *words[1:])
        assert ended.code == 0, ended.err
        told = [text for text in caplog.messages if "expected air at -1000" in text]
        assert len(told) == 1 + (words[0] == "evaluate")
        assert all(text.startswith(f"{doubled}: what looks like air") for text in told)
    ended = command("simulate", doubled, "--size", 64, "-o", place / "s.h5")
    assert (ended.code, "they may be HU times 2: divide" in ended.err) == (4, True)
