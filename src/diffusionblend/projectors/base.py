"""What all projectors have in common."""

import copy
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import InvalidValue
from diffusionblend.geometry import Geometry
from diffusionblend.machine.ambient import without_autocast

Values = TypeVar("Values", np.ndarray, Tensor)


class Projector(ABC):
    """A projector A: line integrals of a volume, in pixels, and its exact adjoint.

        y = A @ x,  x = A.T @ y;  A(x) and A.T(y) are the same

    x and y are arrays of NumPy, or tensors on the projector's device; what comes out is of the
    same kind and type.
    Lengths are counted in pixels, as in the released code, so that A x of a volume in x units is
    of order 100; `Scan` knows the factor to physical line integrals. A is linear, and
    differentiable for tensors.

    Attributes:
        geometry: Grid and beam.
        volume_shape: Slices, rows, columns.
        sinogram_shape: Detector rows, views, bins.
        slicewise: Whether each slice is projected by itself, to the detector row of its number;
            such a projector takes any number of slices.
        device, dtype: Where it works, and the type of the numbers that it computes with.
        how: Where its weights come from: a `matrix`, `rays` along which they are computed, or
            `diffct`; empty where another package does it.
        weights: By how much the rays of each bin are multiplied in it (bins,); none: by nothing.
    """

    slicewise: bool
    how: str = ""
    weights: Tensor | None = None

    def __init__(self, geometry: Geometry, device: torch.device, dtype: torch.dtype) -> None:
        self.geometry, self.device, self.dtype = geometry, device, dtype
        self.volume_shape = geometry.grid.shape
        self.sinogram_shape = geometry.sinogram_shape

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: nothing changes it, and torch cannot copy sparse matrices.

        So a module that holds a projector can be copied.
        """
        del memo
        return self

    @abstractmethod
    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume, or A^T to line integrals, without a gradient."""

    def of_slices(self, part: range) -> "Projector":
        """Return the projector of some slices of a volume whose rays cross them: of what they add.

        The line integrals of a volume are the sum of those of its parts, and A^T of a part is that
        part of A^T.

        Args:
            part: Their numbers.
        """
        return self if len(part) == self.volume_shape[0] else _OfSlices(self, part)

    def __call__(self, x: Values) -> Values:
        """Project a volume (slices, rows, columns) to line integrals (det. rows, views, bins).

        Raises:
            InvalidValue: It has another shape, or does not hold numbers.
        """
        self._expect(x, self.volume_shape, "(slices, rows, columns)")
        return self._applied(x, False)

    def __matmul__(self, x: Values) -> Values:
        """Project a volume, as a call does."""
        return self(x)

    @property
    def T(self) -> "Adjoint":  # noqa: N802 - the field's name
        """The exact adjoint."""
        return Adjoint(self)

    @cached_property
    def norm_squared(self) -> float:
        """Largest eigenvalue of A^T A, by the power method."""
        slices = 1 if self.slicewise else self.volume_shape[0]
        x = torch.ones(slices, *self.volume_shape[1:], dtype=self.dtype, device=self.device)
        for _ in range(20):
            x = self.T(self(x / x.norm()))
        return float(x.norm())

    def _transposed(self, y: Values) -> Values:
        self._expect(y, self.sinogram_shape, "(detector rows, views, bins)")
        return self._applied(y, True)

    def _applied(self, x: Values, transpose: bool) -> Values:
        if isinstance(x, np.ndarray):
            made = self._applied(_tensor(x).to(self.device), transpose).cpu().numpy()
            return made.astype(x.dtype, copy=False) if x.dtype.kind == "f" else made
        if x.is_complex():
            raise InvalidValue(f"a tensor of {x.dtype}; expected real numbers")
        made = _Product.apply(x.to_dense().to(self.dtype), self, transpose)
        return made.to(x.dtype) if x.is_floating_point() else made

    def _expect(self, x: Values, shape: tuple[int, int, int], names: str) -> None:
        if not isinstance(x, np.ndarray | Tensor):
            raise InvalidValue(
                f"got a {type(x).__name__}; expected an array of NumPy or torch, {shape} {names}"
            )
        if x.ndim != 3 or x.shape[1:] != shape[1:] or (not self.slicewise and len(x) != shape[0]):
            raise InvalidValue(f"got the shape {tuple(x.shape)}; expected {shape} {names}")


class Around(Projector):
    """A projector that works by another one, and is as that one but for what a subclass changes.

    Args:
        A: The other one.
        geometry: Grid and beam, if they are not those of A.
    """

    def __init__(self, A: Projector, geometry: Geometry | None = None) -> None:
        super().__init__(geometry or A.geometry, A.device, A.dtype)
        self._A, self.slicewise, self.weights, self.how = A, A.slicewise, A.weights, A.how
        self.volume_shape = A.volume_shape


class _OfSlices(Around):
    """The projector of some slices, by that of all of them, whose volume it fills with zeros."""

    def __init__(self, A: Projector, part: range) -> None:
        super().__init__(A)
        self._part, self.slicewise = part, False
        self.volume_shape = (len(part), *A.volume_shape[1:])

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume of zeros beside these slices, or take them of A^T."""
        part = slice(self._part.start, self._part.stop)
        if transpose:
            return self._A.product(x, True)[part]
        whole = x.new_zeros(self._A.volume_shape)
        whole[part] = x
        return self._A.product(whole, False)


class AcrossSlices(Projector):
    """A projector on the CPU, without a matrix, whose rays cross slices.

    Threads are as many as torch has; their number changes no digit of the result. Volumes and
    line integrals go through fastest with slices or detector rows last in memory, as they come
    out, and as elementwise arithmetic keeps them.
    """

    slicewise = False
    how = "rays"

    def __init__(self, geometry: Geometry, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(geometry, torch.device("cpu"), dtype)

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A to a volume, or A^T to line integrals, without a gradient."""
        last = x.detach().permute(1, 2, 0)
        return (self._adjoint(last) if transpose else self._forward(last)).permute(2, 0, 1)

    def of_slices(self, part: range) -> Self:
        """Return the projector of some slices of the volume."""
        some = copy.copy(self)
        some.volume_shape = (len(part), *self.volume_shape[1:])
        return some

    @abstractmethod
    def _forward(self, u: Tensor) -> Tensor:
        """Project (rows, columns, slices) to (views, bins, detector rows)."""

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor:
        """Bring (views, bins, detector rows) back to (rows, columns, slices)."""


class Adjoint:
    """The exact adjoint of a projector: x = A.T @ y, or A.T(y).

    Attributes:
        T: The projector.
    """

    def __init__(self, A: Projector) -> None:
        self.T = A

    def __call__(self, y: Values) -> Values:
        """Apply it to line integrals (detector rows, views, bins); return a volume.

        Raises:
            InvalidValue: They have another shape, or are not numbers.
        """
        return self.T._transposed(y)

    def __matmul__(self, y: Values) -> Values:
        """Apply it, as a call does."""
        return self(y)


def _tensor(x: np.ndarray) -> Tensor:
    """Return an array of real numbers as a tensor, of the same memory where that is possible."""
    if x.dtype.kind not in "fiub":
        raise InvalidValue(f"an array of {x.dtype}; expected real numbers")
    dtype = np.dtype(np.int64) if x.dtype.kind != "f" else x.dtype.newbyteorder("=")
    dtype = min(dtype, np.dtype(np.float64), key=lambda d: d.itemsize)  # torch has no wider ones
    return torch.from_numpy(np.require(x, dtype, ["C", "W"]))


class _Product(torch.autograd.Function):
    """The product with an operator, whose gradient is the product with the adjoint."""

    @staticmethod
    def forward(x: Tensor, projector: Projector, transpose: bool) -> Tensor:
        with without_autocast(x.device.type):  # where sums of many rays would be of eight bits
            return projector.product(x, transpose)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Projector, bool], output: Tensor) -> None:  # noqa: ANN401
        del output
        _, ctx.projector, ctx.transpose = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _Product.apply(grad, ctx.projector, not ctx.transpose), None, None
