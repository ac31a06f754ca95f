"""The projector and its adjoint against others'."""

import pytest
import torch
from rivals import RIVALS, Pair

from diffusionblend.projectors import projector

ROUNDS = 3
CALLS = 5  # of ours in a round, so that it meets as much of the machine's noise as a long one


@pytest.mark.parametrize("who", ["ours", *RIVALS])
@pytest.mark.parametrize("product", ["A", "A^T"])
def test_product(benchmark, geometry, A, x, product, who):
    pair = Pair(A, A.T) if who == "ours" else RIVALS[who](geometry)
    function, reference = (pair.A, A) if product == "A" else (pair.AT, A.T)
    data = x if product == "A" else A(x).contiguous()
    part = data[: pair.slices]
    benchmark.group = "projector"
    benchmark.extra_info |= {
        "product": product,
        "views": len(geometry.beam.angles_deg),
        "who": who,
        "scale": len(data) / len(part),
    }
    calls = CALLS if who == "ours" else 1
    found = benchmark.pedantic(function, (part,), rounds=ROUNDS, iterations=calls)
    # They interpolate otherwise, and scikit-image's centre is half a pixel from ours.
    assert torch.dist(found, reference(part)) < 0.1 * found.norm()


def test_making_the_matrices(benchmark, geometry):
    record_once(benchmark, geometry, "making the matrices")
    benchmark.pedantic(projector, tuple(geometry), rounds=ROUNDS)


def test_copying_to_slices_first(benchmark, geometry, A, x):
    """What it costs to bring A^T y back to slices first in memory, for those who need that."""
    record_once(benchmark, geometry, "copying A^T y to slices first")
    benchmark.pedantic(A.T(A(x)).contiguous, rounds=ROUNDS, iterations=CALLS)


def record_once(benchmark, geometry, what):
    benchmark.group = "projector-once"
    benchmark.extra_info |= {"views": len(geometry.beam.angles_deg), "what": what}
