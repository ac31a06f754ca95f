"""What is to be reconstructed, as far as memory, disk and time depend on it."""

import dataclasses
from dataclasses import dataclass

from diffusionblend.geometry import Geometry
from diffusionblend.methods import Method


@dataclass(frozen=True)
class Request:
    """A reconstruction that is asked for.

    Attributes:
        geometry: Beam and grid that are worked on.
        method: The method.
        samples: Number of samples.
        classical: Whether the classical reconstruction is wanted, too.
    """

    geometry: Geometry
    method: Method
    samples: int = 1
    classical: bool = True

    @property
    def compares(self) -> bool:
        """Whether another reconstruction is made, to compare with."""
        return self.classical and not self.method.classical

    def on(self, geometry: Geometry) -> "Request":
        """Return the same, worked on another beam and grid."""
        return dataclasses.replace(self, geometry=geometry)

    @property
    def words(self) -> str:
        """The volume, by its size, for messages."""
        slices, rows, columns = self.geometry.grid.shape
        return f"a volume of {slices} slices of {rows} x {columns} pixels"
