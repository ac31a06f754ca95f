"""The problem that a method is given: measured data, operator, prior."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from diffusionblend.data.units import hu_from_x
from diffusionblend.data.volume import Volume
from diffusionblend.errors import PriorError
from diffusionblend.geometry import Grid
from diffusionblend.io.stacks import WHOLE, Slabs, Stack
from diffusionblend.prior import Prior
from diffusionblend.prior.facing import Checked, FrontFirst, begins_at_back
from diffusionblend.projectors import Projector
from diffusionblend.projectors.accuracy import edge_variance, operator_variance
from diffusionblend.projectors.divided import projected, slice_numbers


@dataclass(frozen=True, eq=False)
class Problem:
    """What is measured and what is known. It has no field for the truth.

    Attributes:
        y: Line integrals (detector rows, views, bins) of u = 1 + x = mu / mu_water, in pixels:
            y = A u.
        A: Projector.
        prior: The prior; classical methods need none.
        photons: Photons per bin in air; None if there is no noise or it is not known.
        variance: Variance of y (detector rows, views, bins), in its units; None likewise.
        steady: Whether air at the edges of the detector shows that all views have the same flux.
        asked: The requested grid, if A has a larger one with the same centre because the object
            goes beyond it; None if A has the requested grid.
        dense: u in and beside metal, 0 elsewhere (slices, rows, columns), as far as it is known
            before (`find_metal`); None if there is none.
        slabs: How volumes are worked on, by methods that are `slabwise`.
    """

    y: Tensor
    A: Projector
    prior: Prior | None = None
    photons: float | None = None
    variance: Tensor | None = None
    steady: bool = False
    asked: Grid | None = None
    dense: Stack | None = None
    slabs: Slabs = WHOLE

    @property
    def grid(self) -> Grid:
        """The requested grid."""
        return self.asked or self.A.geometry.grid

    def cropped(self, x: Stack) -> Stack:
        """Crop a volume (slices, rows, columns) from the grid of A to the requested grid."""
        if self.asked is None:
            return x
        slices, *sides = self.asked.shape
        if len(x) != slices and not self.A.slicewise:  # such a projector takes any number of them
            x = self.slabs.taken(x, slice_numbers(len(x)).narrow(0, (len(x) - slices) // 2, slices))

        def middle(x: Tensor) -> Tensor:
            for axis, wanted in enumerate(sides, start=1):
                x = x.narrow(axis, (x.shape[axis] - wanted) // 2, wanted)
            return x

        return self.slabs.each(middle, x)

    def volume(self, x: Stack) -> Volume:
        """Return a volume x in HU, on the requested grid; one in a file is mapped into memory."""
        hu = self.slabs.each(lambda x: hu_from_x(x).cpu(), self.cropped(x))
        return Volume(hu.numpy() if isinstance(hu, Tensor) else hu.mapped("r+"), self.grid)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of x: a slice for each row of y, if A is slice by slice."""
        slices, rows, columns = self.A.volume_shape
        return len(self.y) if self.A.slicewise else slices, rows, columns

    @property
    def required_prior(self) -> Prior:
        """The prior, for a method that needs one; it sees bodies with their front first."""
        if self.prior is None:
            raise PriorError("this method needs a prior; give one with `prior`")
        checked = Checked(self.prior)
        return FrontFirst(checked) if begins_at_back(self.grid) else checked

    def projected(self, u: Stack) -> Tensor:
        """Return A u (detector rows, views, bins) of a volume (slices, rows, columns)."""
        return projected(self.A, u, self.slabs)

    @cached_property
    def backprojected(self) -> Tensor:
        """A^T y (slices, rows, columns), computed once."""
        return self.A.T(self.y)

    @cached_property
    def behind_metal(self) -> Tensor | float:
        """Variance of y by edges of metal (detector rows, views, bins); 0 without metal."""
        return 0.0 if self.dense is None else edge_variance(self.A, self.dense, self.slabs)

    def ray_variance(self, *, weigh: bool = True) -> Tensor:
        """Return the variance of y, including the error of the operator.

        Args:
            weigh: Whether to return it for each ray (detector rows, views, bins); if not, one
                typical number.
        """
        known = operator_variance(self.y)
        if self.variance is not None:
            known = known + self.variance
        known = known + self.behind_metal
        return known if weigh else known.log().mean().exp()
