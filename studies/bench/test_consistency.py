"""A data-consistency step, from an estimate: the paper's, and that of diffusionblend-fast."""

import itertools

import pytest
import torch

from diffusionblend.solvers.consistency import data_consistency
from diffusionblend.solvers.proximal import WeightedProximal

STEPS = {"CG for pixels": 5, "preconditioned CG": 3}  # as the methods take them
R = 0.1


@pytest.mark.parametrize("step", STEPS)
def test_data_consistency(benchmark, A, x, step):
    # Far enough that CG does not stop before its last step, and not the same twice: the second
    # method starts where its last call ended.
    y, estimates = A(x), itertools.cycle([x.roll(9, dims=1), x.roll(-9, dims=2)])
    weighted = WeightedProximal(A, y, torch.tensor(0.04), cg_steps=3, tolerance=1e-6)
    calls = {
        "CG for pixels": lambda: data_consistency(A, y, next(estimates), steps=5),
        "preconditioned CG": lambda: weighted(next(estimates), R),
    }
    benchmark.group = "consistency"
    benchmark.extra_info |= {"views": A.sinogram_shape[1], "step": step, "steps": STEPS[step]}
    benchmark.pedantic(calls[step], rounds=5, warmup_rounds=1)
