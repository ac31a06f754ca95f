"""A small problem whose prior is Gaussian, so that its posterior is known."""

import math

import torch

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import parallel_beam, sparse_view
from diffusionblend.methods import Problem
from diffusionblend.projectors import projector
from diffusionblend.sampling.schedule import END, Schedule
from support.oracle import GaussianPrior
from support.phantoms import placed

SCHEDULE = Schedule()


MEAN, STD = -0.3, 0.4


def tiny_problem(slices=90, views=3, size=8):
    """Every slice has the same line integrals, so that slices are samples of one posterior."""
    grid = Grid.from_spacing((slices, size, size))
    A = projector(*placed(parallel_beam, grid, sparse_view(views)))
    truth = 1 + MEAN + STD * torch.randn(1, size, size, generator=torch.Generator().manual_seed(5))
    return Problem(A(truth).expand(slices, -1, -1).contiguous(), A, GaussianPrior(MEAN, STD))


def posterior(problem):
    """Return the posterior's mean (pixels,) and the projector onto what is not measured."""
    size = problem.A.volume_shape[1]
    eye = torch.eye(size * size).view(-1, size, size)
    dense = problem.A(eye).flatten(1).T.double()
    inverse = torch.linalg.pinv(dense, rtol=1e-4)
    y = problem.y[0].flatten().double()
    prior_mean = torch.full((size * size,), 1 + MEAN, dtype=torch.float64)
    mean = prior_mean + inverse @ (y - dense @ prior_mean)
    return mean, torch.eye(size * size, dtype=torch.float64) - inverse @ dense


def predicted_std(steps, eta):
    """Follow the variance of an unmeasured direction through the sampler, in closed form."""
    mean, variance = 0.0, 1.0
    for t, t_next in SCHEDULE.pairs(steps):
        a, b = SCHEDULE.alpha_bar(t), SCHEDULE.alpha_bar(t_next)
        gain = math.sqrt(a) * STD**2 / (a * STD**2 + 1 - a)  # x0 = MEAN + gain (x - sqrt(a) MEAN)
        slope = (1 - math.sqrt(a) * gain) / math.sqrt(1 - a)  # eps = slope (x - sqrt(a) MEAN)
        if t_next == END:
            return gain * math.sqrt(variance)
        kept = math.sqrt(b) * gain + math.sqrt((1 - b) * (1 - eta**2)) * slope
        variance = kept**2 * variance + (1 - b) * eta**2
    raise AssertionError(mean)
