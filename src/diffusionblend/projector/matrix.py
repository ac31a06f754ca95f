"""A slice-wise projector as a sparse matrix, applied to all slices at once.

The matrix and its transpose are both stored (CSR), so that the adjoint is exact and as fast.
A product wants the slices as the columns of a dense matrix. Its output is therefore a view with
the slices last in memory; elementwise arithmetic keeps that layout, and the next product takes it
without a copy, so that iterations never pay for a conversion. Many slices go through in blocks
that fit into the cache.
"""

import math
import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusionblend.geometry import ParallelBeam
from diffusionblend.projector.joseph import joseph_weights

_BLOCK_BYTES = 16 << 20
_MIN_BLOCK = 4


class Projector:
    """The projector A of a parallel beam: line integrals of each slice, in pixels.

    Lengths are counted in pixels, as in the released code, so that A x of a volume in x units is
    of order 100; `Scan` knows the factor to physical line integrals. A is linear,
    differentiable, and keeps the type of its input.

    Args:
        geometry: The beam.
        device: Where the matrix is held.
        dtype: Type of its numbers, float32 or float64.
    """

    def __init__(
        self,
        geometry: ParallelBeam,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.geometry = geometry
        self.volume_shape = geometry.grid.shape
        self.sinogram_shape = geometry.sinogram_shape
        _, views, bins = geometry.sinogram_shape
        rows, columns, values = joseph_weights(geometry)
        shape = (views * bins, math.prod(self.volume_shape[1:]))
        self._matrix = _csr(rows, columns, values, shape).to(device, dtype)
        self._transpose = _csr(columns, rows, values, shape[::-1]).to(device, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Project a volume (slices, rows, columns) to line integrals (slices, views, bins)."""
        _expect(x, self.volume_shape[1:], "(slices, rows, columns)")
        return _Product.apply(x, self, False).unflatten(1, self.sinogram_shape[1:])

    def T(self, y: Tensor) -> Tensor:  # noqa: N802 - the field's name
        """Apply the exact adjoint to line integrals (slices, views, bins)."""
        _expect(y, self.sinogram_shape[1:], "(slices, views, bins)")
        return _Product.apply(y, self, True).unflatten(1, self.volume_shape[1:])

    @cached_property
    def norm_squared(self) -> float:
        """Largest eigenvalue of A^T A, by the power method."""
        x = torch.ones(1, *self.volume_shape[1:], dtype=self._matrix.dtype, device=self.device)
        for _ in range(20):
            x = self.T(self(x / x.norm()))
        return float(x.norm())

    @property
    def device(self) -> torch.device:
        """Where the matrix is held."""
        return self._matrix.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrix's numbers."""
        return self._matrix.dtype

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Multiply flattened slices (slices, n) by the matrix or its transpose."""
        matrix = self._transpose if transpose else self._matrix
        block = max(_MIN_BLOCK, _BLOCK_BYTES // (x.element_size() * self._matrix.shape[1]))
        columns = [matrix @ part.T.contiguous() for part in x.split(block)]
        return (columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)).T


class _Product(torch.autograd.Function):
    """The product with a matrix, whose gradient is the product with the transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, projector: Projector, transpose: bool) -> Tensor:  # noqa: ANN401
        ctx.projector, ctx.transpose, ctx.shape = projector, transpose, x.shape
        return projector.product(x.flatten(1), transpose)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        back = _Product.apply(grad, ctx.projector, not ctx.transpose)
        return back.view(ctx.shape), None, None


def _csr(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> Tensor:
    """Make a CSR matrix; entries that meet are added."""
    import scipy.sparse

    matrix = scipy.sparse.csr_matrix((values, (rows, columns)), shape)
    starts, indices = (
        torch.from_numpy(a.astype(np.int32)) for a in (matrix.indptr, matrix.indices)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # CSR is "beta"; its use here is tested
        return torch.sparse_csr_tensor(starts, indices, torch.from_numpy(matrix.data), size=shape)


def _expect(x: Tensor, shape: tuple[int, ...], names: str) -> None:
    if x.ndim != 3 or x.shape[1:] != shape:
        expected = names.replace("rows, columns", "{}, {}").replace("views, bins", "{}, {}")
        raise ValueError(f"got the shape {tuple(x.shape)}; expected {expected.format(*shape)}")
