"""How well a projector and its adjoint agree."""

import torch

from support.projected import noise

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def mismatch(A, dtype):
    """Return |<A x, y> - <x, A^T y>| beside |A x| |y|, of noise."""
    x, y = noise(A.volume_shape, dtype), noise(A.sinogram_shape, dtype, seed=1)
    ax = A(x)
    assert ax.norm() > 0
    return float(abs((ax * y).sum() - (x * A.T(y)).sum()) / (ax.norm() * y.norm()))
