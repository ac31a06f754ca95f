"""Whether values are Hounsfield units is told by how many there are of each, not by one voxel."""

import numpy as np
import pytest

from diffusionblend.data.hounsfield import check_hu, check_scale
from diffusionblend.errors import UnsupportedInput

Z, Y, X = np.mgrid[-1:1:9j, -1:1:64j, -1:1:64j]
OUTSIDE = X**2 + Y**2 > 1


def body(noise=0.0):
    """A chest: air, lungs, muscle, a spine."""
    hu = np.where((X / 0.85) ** 2 + (Y / 0.65) ** 2 < 1, 40.0, -1000.0)
    hu[((np.abs(X) - 0.4) / 0.3) ** 2 + (Y / 0.45) ** 2 < 1] = -850
    hu[(X / 0.12) ** 2 + ((Y - 0.42) / 0.14) ** 2 < 1] = 700
    return (hu + np.random.default_rng(0).normal(0, noise or 1e-9, hu.shape)).astype(np.float32)


def padded(hu, value):
    return np.where(OUTSIDE, value, hu).astype(np.float32)


def one_voxel(hu, value):
    changed = hu.copy()
    changed[0, 0, 0] = value
    return changed


HU = {
    "a chest": body(),
    "noise": body(noise=80),
    "padding far below": padded(body(), -2000),
    "padding of -3024": padded(body(noise=30), -3024),
    "padding above air": padded(body(), -1024),
    "metal": one_voxel(body(), 20_000),
    "one voxel far below": one_voxel(body(), -20_000),
    "a part without lungs": body()[:, 8:20, :],
    "the brain alone, the rest far below": np.where(Y**2 + X**2 < 0.3, 35.0 + 10 * Z, -2000),
    "cut off at -1000": body(noise=80).clip(-1000),
    "lung window": body(noise=20).clip(-1350, 150),
}
NOT_HU = {
    "HU + 1024": (body() + 1024, "rescale slope and intercept"),
    "HU + 1024, padding": (padded(body() + 1024, -2000), "HU + 1024"),
    "HU + 1024, noise, padding": (padded(body(noise=40) + 1024, -3000), "HU + 1024"),
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
    "attenuation": (0.0193 * (1 + body() / 1000), "attenuation in 1/mm"),
    "one value": (np.full((3, 8, 8), -1000.0), "rescale"),
}
TO_BE_SCANNED = {
    "rescaled twice": body() - 1024,
    "rescaled twice, noise": body(noise=30) - 1024,
    "rescaled twice, only a head": np.where(Y**2 + X**2 < 0.5, -984.0 + 10 * Z, -2024),
    "grey values with a sign": (body() + 1000) * 20 - 20_000 + 500 * X,
}


@pytest.mark.parametrize("name", HU)
def test_hounsfield_units_are_taken(name):
    check_scale("v", HU[name].astype(np.float32))


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
