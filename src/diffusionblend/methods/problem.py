"""What a method is given: the measured data, the operator, and what is known of the object."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from diffusionblend.errors import PriorError
from diffusionblend.geometry import Grid
from diffusionblend.prior import Prior
from diffusionblend.projectors import Projector
from diffusionblend.projectors.accuracy import operator_variance


@dataclass(frozen=True, eq=False)
class Problem:
    """What is measured and what is known. There is no place for the truth.

    Attributes:
        y: Line integrals (detector rows, views, bins) of u = 1 + x = mu / mu_water, in pixels:
            y = A u.
        A: Projector.
        prior: What is known of slices; classical methods need none.
        photons: Photons a bin through air; none means no noise, or that it is not known.
        variance: Variance of y (detector rows, views, bins), in its units; none likewise.
        asked: Grid of the volume that was asked for, where A has a larger one about the same
            centre: the object goes on outside. None where A's own is that.
    """

    y: Tensor
    A: Projector
    prior: Prior | None = None
    photons: float | None = None
    variance: Tensor | None = None
    asked: Grid | None = None

    @property
    def grid(self) -> Grid:
        """Grid of the volume that was asked for."""
        return self.asked or self.A.geometry.grid

    def cropped(self, x: Tensor) -> Tensor:
        """Return what was asked for of a volume (slices, rows, columns) on the grid of A."""
        for axis, wanted in enumerate(self.asked.shape if self.asked else ()):
            if axis > 0 or not self.A.slicewise:  # such a projector takes any number of slices
                x = x.narrow(axis, (x.shape[axis] - wanted) // 2, wanted)
        return x

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of x: a slice for each row of y, if A is slice by slice."""
        slices, rows, columns = self.A.volume_shape
        return len(self.y) if self.A.slicewise else slices, rows, columns

    @property
    def required_prior(self) -> Prior:
        """The prior, for a method that needs one.

        Raises:
            PriorError: There is none.
        """
        if self.prior is None:
            raise PriorError("this method needs a prior; give one with --prior")
        return self.prior

    @cached_property
    def backprojected(self) -> Tensor:
        """A^T y (slices, rows, columns), computed once."""
        return self.A.T(self.y)

    def ray_variance(self, *, weigh: bool = True) -> Tensor:
        """Return the variance of y, including the error of the operator.

        Args:
            weigh: Whether to return it for each ray (detector rows, views, bins); if not, one
                typical number.
        """
        known = operator_variance(self.y)
        if self.variance is not None:
            known = known + self.variance
        return known if weigh else known.log().mean().exp()
