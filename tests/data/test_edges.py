"""What the edges of the detector say of the flux, of measured line integrals."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from diffusionblend.data.edges import error_of_means
from diffusionblend.data.scan import Noise, Scan
from diffusionblend.data.truncation import is_steady
from diffusionblend.methods import DiffusionBlendFast
from diffusionblend.reconstruction.task import make_task
from support.cases import beam, counts, phantom, project
from support.oracle import GaussianPrior
from support.phantoms import changed

VIEWS = 60
FLUX = {
    "steady": np.ones(VIEWS),
    "too low in all views": np.full(VIEWS, 0.9),
    "three closed shutters": np.isin(np.arange(VIEWS), (3, 30, 55), invert=True).astype(float),
    "flicker": 1 + 0.01 * np.random.default_rng(5).standard_normal(VIEWS),
    "drift": np.linspace(1, 0.98, VIEWS),
}
NOT_STEADY = {"flicker", "drift"}


def lines(kind="parallel", flux=1.0, *, radius=40.0, slices=3):
    """Return line integrals (views, rows, bins), and their geometry."""
    geometry = beam(kind, VIEWS, slices=slices)
    measured = counts(project(phantom(radius), geometry), flux=flux)
    return -np.log(np.maximum(measured, 0.5) / 2e4), geometry


def task_of(y, geometry):
    scan = Scan(y.transpose(1, 0, 2).astype(np.float32), geometry, Noise(2e4), 0.02)
    prior = GaussianPrior(mean=-0.9, std=0.05)  # who sees haze everywhere
    return make_task(scan, geometry.grid, prior, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["parallel", "fan"])
@pytest.mark.parametrize("name", FLUX)
def test_air_says_whether_the_flux_is_steady(kind, name):
    y, geometry = lines(kind, FLUX[name])
    assert is_steady(y.transpose(1, 0, 2), geometry) == (name not in NOT_STEADY)


def test_noise_that_neighbours_share_is_no_flux():
    geometry = beam("fan", 90, size=136, slices=3)
    y = project(phantom(34.0), geometry)
    noise = np.random.default_rng(0).standard_normal(y.shape)
    for axis in (1, 2):
        noise = convolve1d(noise, (0.25, 0.5, 0.25), axis=axis) / 0.375**0.5
    lines = (y + noise * np.sqrt(np.exp(y) / 1e3)).transpose(1, 0, 2)
    assert is_steady(lines, geometry)
    flicker = 0.03 * np.random.default_rng(1).standard_normal((1, 90, 1))
    assert not is_steady(lines + flicker, geometry)


@pytest.mark.parametrize("name", ["steady", "flicker", "drift"])
def test_so_does_the_outer_edge_of_a_half_acquisition(name):
    whole = beam("fan", VIEWS, slices=3)
    bins, bin_mm = whole.beam.bins, whole.beam.bin_mm
    geometry = changed(whole, bins=bins - 80, offset_mm=whole.beam.offset_mm + 40 * bin_mm)
    y = -np.log(counts(project(phantom(), geometry), flux=FLUX[name]) / 2e4)
    assert is_steady(y.transpose(1, 0, 2), geometry) == (name not in NOT_STEADY)


def test_an_object_at_the_edges_says_nothing_of_the_flux():
    y, geometry = lines(radius=130.0)
    assert not is_steady(y.transpose(1, 0, 2), geometry)
    assert not task_of(y, geometry).problem.steady
    y, geometry = lines()
    middle = changed(geometry, bins=60)
    assert not task_of(y[:, :, 61:121], middle).problem.steady  # the ends are extrapolated


def flux_learned(problem):
    """Return the largest variance of the flux that the default method learns in six steps."""
    learned = []
    DiffusionBlendFast(steps=6)(problem, callback=lambda step: learned.append(step.state))
    return max(float(state["flux"]) for state in learned if state)


def test_what_a_picture_leaves_is_no_flux_where_air_is_steady():
    """A scan of neutrons: 7 HU of haze were taken for a flux, and stayed; 32 times the noise."""
    problem, flickers = (task_of(*lines(flux=FLUX[name])).problem for name in ("steady", "flicker"))
    assert flux_learned(problem) == 0
    assert flux_learned(dataclasses.replace(problem, steady=False)) > 0
    assert flux_learned(flickers) > 0


@pytest.mark.parametrize("shared", [1, 4])
def test_the_error_of_a_mean_is_that_of_noise_that_neighbours_share(shared):
    noise = np.random.default_rng(0).standard_normal((200, 2, 512))
    noise = convolve1d(noise, np.full(shared, shared**-0.5), axis=2)
    error = error_of_means(noise, 32, 512)
    assert error == pytest.approx(noise[:, :, :32].mean((1, 2)).std(), rel=0.25)
