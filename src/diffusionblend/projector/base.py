"""What all projectors have in common."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffusionblend.geometry import Geometry


class Projector(ABC):
    """A projector A: line integrals of a volume, in pixels, and its exact adjoint.

    Lengths are counted in pixels, as in the released code, so that A x of a volume in x units is
    of order 100; `Scan` knows the factor to physical line integrals. A is linear,
    differentiable, and keeps the type of its input.

    Attributes:
        geometry: The beam.
        volume_shape: Slices, rows, columns.
        sinogram_shape: Detector rows, views, bins.
        slicewise: Whether each slice is projected by itself, to the detector row of its number;
            such a projector takes any number of slices.
        device, dtype: Where it works, and the type of its numbers.
        weights: By how much the rays of each bin are multiplied in it (bins,); none: by nothing.
    """

    slicewise: bool
    weights: Tensor | None = None

    def __init__(self, geometry: Geometry, device: torch.device, dtype: torch.dtype) -> None:
        self.geometry, self.device, self.dtype = geometry, device, dtype
        self.volume_shape = geometry.grid.shape
        self.sinogram_shape = geometry.sinogram_shape

    @abstractmethod
    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume, or A^T to line integrals, without a gradient."""

    def __call__(self, x: Tensor) -> Tensor:
        """Project a volume (slices, rows, columns) to line integrals (det. rows, views, bins)."""
        self._expect(x, self.volume_shape, "(slices, rows, columns)")
        return _Product.apply(x, self, False)

    def T(self, y: Tensor) -> Tensor:  # noqa: N802 - the field's name
        """Apply the exact adjoint to line integrals (detector rows, views, bins)."""
        self._expect(y, self.sinogram_shape, "(detector rows, views, bins)")
        return _Product.apply(y, self, True)

    @cached_property
    def norm_squared(self) -> float:
        """Largest eigenvalue of A^T A, by the power method."""
        slices = 1 if self.slicewise else self.volume_shape[0]
        x = torch.ones(slices, *self.volume_shape[1:], dtype=self.dtype, device=self.device)
        for _ in range(20):
            x = self.T(self(x / x.norm()))
        return float(x.norm())

    def _expect(self, x: Tensor, shape: tuple[int, int, int], names: str) -> None:
        if x.ndim != 3 or x.shape[1:] != shape[1:] or (not self.slicewise and len(x) != shape[0]):
            raise ValueError(f"got the shape {tuple(x.shape)}; expected {shape} {names}")


class _Product(torch.autograd.Function):
    """The product with an operator, whose gradient is the product with the adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, projector: Projector, transpose: bool) -> Tensor:  # noqa: ANN401
        ctx.projector, ctx.transpose = projector, transpose
        return projector.product(x, transpose)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _Product.apply(grad, ctx.projector, not ctx.transpose), None, None
