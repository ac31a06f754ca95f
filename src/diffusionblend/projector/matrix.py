"""A slice-wise projector as a sparse matrix, applied to all slices at once.

The matrix and its transpose are both stored (CSR), so that the adjoint is exact and as fast.
A product wants the slices as the columns of a dense matrix. Its output is therefore a view with
the slices last in memory; elementwise arithmetic keeps that layout, and the next product takes it
without a copy, so that iterations never pay for a conversion. Many slices go through in blocks
that fit into the cache.
"""

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from diffusionblend.geometry import FanBeam, ParallelBeam
from diffusionblend.projector.base import Projector
from diffusionblend.projector.joseph import joseph_weights

_BLOCK_BYTES = 16 << 20
_MIN_BLOCK = 4


class MatrixProjector(Projector):
    """The projector of a beam that sees each slice with one detector row, parallel or fan.

    Args:
        geometry: The beam.
        device: Where the matrix is held.
        dtype: Type of its numbers, float32 or float64.
    """

    slicewise = True

    def __init__(
        self,
        geometry: ParallelBeam | FanBeam,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(geometry, torch.device(device), dtype)
        _, views, bins = self.sinogram_shape
        rows, columns, values = joseph_weights(geometry)
        shape = (views * bins, math.prod(self.volume_shape[1:]))
        self._matrix = _csr(rows, columns, values, shape).to(device, dtype)
        self._transpose = _csr(columns, rows, values, shape[::-1]).to(device, dtype)

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Multiply slices (slices, ...) by the matrix or its transpose."""
        matrix = self._transpose if transpose else self._matrix
        shape = self.volume_shape if transpose else self.sinogram_shape
        block = max(_MIN_BLOCK, _BLOCK_BYTES // (x.element_size() * self._matrix.shape[1]))
        columns = [matrix @ part.T.contiguous() for part in x.flatten(1).split(block)]
        joined = columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)
        return joined.T.unflatten(1, shape[1:])


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
