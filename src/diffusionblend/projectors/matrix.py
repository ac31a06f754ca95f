"""A slice-wise projector as a sparse matrix, applied to all slices at once.

The matrix and its transpose are both stored (CSR), so that the adjoint is exact and as fast.
A product wants the slices as the columns of a dense matrix. Its output is therefore a view with
the slices last in memory; elementwise arithmetic keeps that layout, and the next product takes it
without a copy, so that iterations never pay for a conversion. Many slices go through in blocks
that fit into the cache.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import OutOfMemory
from diffusionblend.geometry import Geometry
from diffusionblend.machine.memory import free_bytes
from diffusionblend.machine.quiet import quiet
from diffusionblend.projectors.base import Projector
from diffusionblend.projectors.joseph import joseph_weights

if TYPE_CHECKING:
    import scipy.sparse

_BLOCK_BYTES = 16 << 20
_MIN_BLOCK = 4
_MATRICES = 3  # both, and one more while they are made
_MOST_ENTRIES = 2**31  # which an index of four bytes can count


class MatrixProjector(Projector):
    """The projector of a beam that sees each slice by itself, along its `lines`."""

    slicewise = True
    how = "matrix"

    def __init__(
        self,
        geometry: Geometry,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(geometry, torch.device(device), dtype)
        _check_memory(geometry, dtype)
        matrix = _matrix(geometry, np.float32 if dtype == torch.float32 else np.float64)
        self._matrix = _csr(matrix).to(device)
        self._transpose = _csr(matrix.T.tocsr()).to(device)

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Multiply slices (slices, ...) by the matrix or its transpose."""
        matrix = self._transpose if transpose else self._matrix
        shape = self.volume_shape if transpose else self.sinogram_shape
        block = max(_MIN_BLOCK, _BLOCK_BYTES // (x.element_size() * self._matrix.shape[1]))
        columns = [matrix @ part.T.contiguous() for part in x.flatten(1).split(block)]
        joined = columns[0] if len(columns) == 1 else torch.cat(columns, dim=1)
        return joined.T.unflatten(1, shape[1:])


def _matrix(geometry: Geometry, kind: type) -> "scipy.sparse.csr_matrix":
    """Make the matrix, view by view, since entries take three times the memory of the result."""
    import scipy.sparse

    grid, beam = geometry.grid, geometry.beam
    pixels = math.prod(grid.shape[1:])
    views = []
    for view in range(len(beam.angles_deg)):
        bins, at, weights = joseph_weights(grid, beam, view)
        of_view = scipy.sparse.csr_matrix((weights, (bins, at)), (beam.bins, pixels))
        views.append(of_view.astype(kind))
    return scipy.sparse.vstack(views, format="csr")


def _csr(matrix: "scipy.sparse.csr_matrix") -> Tensor:
    starts, indices = (
        torch.from_numpy(a.astype(np.int32, copy=False)) for a in (matrix.indptr, matrix.indices)
    )
    values = torch.from_numpy(matrix.data)
    with quiet():  # of CSR torch says that it is "beta"; its use here is tested
        return torch.sparse_csr_tensor(starts, indices, values, size=matrix.shape)


def matrix_bytes(geometry: Geometry, dtype: torch.dtype = torch.float32) -> int:
    """Return the bytes that are taken while the matrices are made, at most."""
    return _MATRICES * _entries(geometry) * (dtype.itemsize + 4)


def _entries(geometry: Geometry) -> int:
    (_, views, bins), (_, rows, columns) = geometry.sinogram_shape, geometry.grid.shape
    return 2 * views * bins * max(rows, columns)


def fits(geometry: Geometry, dtype: torch.dtype, free: int | None) -> bool:
    """Return whether the matrices can be counted, and made in what memory is free."""
    if _entries(geometry) >= _MOST_ENTRIES:
        return False
    return free is None or matrix_bytes(geometry, dtype) <= free


def _check_memory(geometry: Geometry, dtype: torch.dtype) -> None:
    """Raise OutOfMemory before so much is taken that the system ends the process."""
    if not fits(geometry, dtype, free_bytes()):
        (_, views, bins), (_, rows, columns) = geometry.sinogram_shape, geometry.grid.shape
        raise OutOfMemory(
            f"{views} views of {bins} bins and {rows} x {columns} pixels need matrices of "
            f"{matrix_bytes(geometry, dtype) / 1e9:.0f} GB; take fewer views or larger pixels"
        )
