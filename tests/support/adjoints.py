"""How well a projector and its adjoint agree."""

import torch

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def noise(shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def mismatch(A, dtype):
    """Return |<A x, y> - <x, A^T y>| beside |A x| |y|, of noise."""
    x, y = noise(A.volume_shape, dtype), noise(A.sinogram_shape, dtype, seed=1)
    ax = A(x)
    assert ax.norm() > 0
    return float(abs((ax * y).sum() - (x * A.T(y)).sum()) / (ax.norm() * y.norm()))
