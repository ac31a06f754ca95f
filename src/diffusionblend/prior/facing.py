"""Slices as a prior knows them: bodies lie with their front in the first rows, as DICOM has them.

Most NIfTI begin at the back. A prior of bodies that are one way up makes the others 1 dB worse
(docs/prior.md), so that it is shown them the other way up, in training and in use.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from diffusionblend.data.volume import Volume
from diffusionblend.errors import PriorError
from diffusionblend.geometry import Grid
from diffusionblend.prior import Prior

_ALONG_Y = {"axial": -2, "sagittal": -1}
"""Which axis of a slice runs from front to back; coronal slices have none."""


def begins_at_back(grid: Grid) -> bool:
    """Return whether the rows of a volume run from the back of a body to its front."""
    along = np.array(grid.affine)[:3, 1]
    return bool(along[1] > 0 and np.abs(along).argmax() == 1)


def front_first(volume: Volume) -> Volume:
    """Return a volume whose rows do not run from back to front: itself, or its mirror image."""
    if not begins_at_back(volume.grid):
        return volume
    return Volume(np.ascontiguousarray(volume.hu[:, ::-1]), volume.grid.reversed((1,)))


@dataclass(frozen=True)
class FrontFirst:
    """A prior that is shown each slice the other way up, and gives it back as it was.

    Attributes:
        prior: The prior.
    """

    prior: Prior

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Estimate clean groups of three slices (see `Prior`)."""
        axes = (_ALONG_Y[plane],) if plane in _ALONG_Y else ()
        return self.prior.denoise(x.flip(axes), sigma, gap, plane, scale).flip(axes)


@dataclass(frozen=True)
class Checked:
    """A prior whose answers are of the shape and type of what it is asked, or are refused.

    One slice of three, or one group of many, would be taken for all of them without a word.

    Attributes:
        prior: The prior.
    """

    prior: Prior

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Estimate clean groups of three slices (see `Prior`)."""
        where: dict[str, Any] = {"plane": plane} if plane != "axial" else {}
        where |= {"scale": scale} if scale != 1 else {}  # a prior may know no others
        clean = self.prior.denoise(x, sigma, gap, **where)
        shape = getattr(clean, "shape", None)
        if not isinstance(clean, Tensor) or shape != x.shape:
            found = type(clean).__name__ + ("" if shape is None else f" of the shape {(*shape,)}")
            raise PriorError(
                f"{type(self.prior).__name__}.denoise returned a {found}; expected a Tensor of the "
                f"shape {(*x.shape,)}, clean groups as those that it was given"
            )
        return clean.to(x)
