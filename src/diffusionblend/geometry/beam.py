"""Beams: the views, the source and the detector of a scanner; see the package for the formulas.

A beam does not know the grid: it is given points in millimetres from the axis, as arrays of NumPy
or torch, and returns the same kind.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import msgspec
import numpy as np

from diffusionblend.arguments import check_fields
from diffusionblend.errors import InvalidValue
from diffusionblend.geometry.grid import Grid

Points = Any
"""Numbers, or an array of NumPy or torch."""
Pair = tuple[Points, Points]


class Beam(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The base of all beams, with the formulas of parallel rays; other beams override them.

    A beam of another package is a subclass with its own `tag`, which becomes its `kind`
    (docs/how-to/add-a-beam.md).

    Attributes:
        angles_deg: Direction of each view, in degrees.
        bins: Number of detector bins in a row.
        bin_mm: Size of a bin, on the detector.
        offset_mm: Where the middle of the detector lies along s; for a parallel beam this is also
            how far the centre of rotation is from the middle of the detector, with the other sign.
    """

    slicewise: ClassVar[bool] = True
    """Whether each slice is seen by itself, by the detector row of its number."""

    angles_deg: tuple[float, ...]
    bins: int
    bin_mm: float
    offset_mm: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self)
        if not self.angles_deg or not all(map(math.isfinite, self.angles_deg)):
            raise InvalidValue(
                f"angles_deg is {self.angles_deg}; expected one finite number or more"
            )
        if self.bins < 1 or not self.bin_mm > 0 or not math.isfinite(self.bin_mm):
            raise InvalidValue(f"{self.bins} bins of {self.bin_mm} mm; expected positive numbers")
        if not math.isfinite(self.offset_mm):
            raise InvalidValue(f"offset_mm is {self.offset_mm}; expected a finite number")

    @property
    def kind(self) -> str:
        """Name of the kind of beam in files: parallel, fan, cone, or that of another package."""
        return str(self.__struct_config__.tag)

    @property
    def angles(self) -> tuple[float, ...]:
        """Direction of each view, in radians."""
        return tuple(map(math.radians, self.angles_deg))

    @property
    def source_mm(self) -> float:
        """Distance from the source to the axis: infinite where rays are parallel."""
        return math.inf

    def source_in(self, grid: Grid) -> bool:
        """Return whether the source is inside the slices, up to their corners."""
        return self.source_mm <= grid.radius_mm

    @property
    def magnification(self) -> float:
        """Size of a shadow on the detector over that of the object at the axis."""
        return 1.0

    @property
    def curved(self) -> bool:
        """Whether the detector is curved about the source."""
        return False

    def sinogram_shape(self, grid: Grid) -> tuple[int, int, int]:
        """Return the shape of the line integrals of a volume: detector rows, views, bins."""
        return getattr(self, "rows", grid.shape[0]), len(self.angles_deg), self.bins

    def positions_mm(self) -> np.ndarray:
        """Return where the bins lie along s, in mm (bins,)."""
        return (np.arange(self.bins) - (self.bins - 1) / 2) * self.bin_mm + self.offset_mm

    # Rays

    def fan_angle(self, s_mm: np.ndarray) -> np.ndarray:
        """Return the angles in radians of the rays to places along s from the central ray."""
        return np.zeros_like(s_mm)

    @property
    def fan_angles(self) -> np.ndarray:
        """Angle of each bin's ray from the central ray, in radians (bins,)."""
        return self.fan_angle(self.positions_mm())

    def distances_mm(self) -> np.ndarray:
        """Return how far each bin's ray passes from the axis, with the sign of s (bins,)."""
        return self.positions_mm()

    def lines(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return phi and s in mm of the rays x cos(phi) + y sin(phi) = s of a view (bins,)."""
        return math.radians(self.angles_deg[view]) - self.fan_angles, self.distances_mm()

    # Shadows

    def cast(self, x: Points, y: Points, angle: float, unit_mm: float = 1.0) -> Pair:
        """Return where points of a slice cast their shadows, on a detector at distance 1.

        Args:
            x: The points, from the axis, in units of `unit_mm`; an array or a tensor.
            y: Likewise.
            angle: Of the view, in radians.
            unit_mm: The unit of lengths.

        Returns:
            Places, of which a bin covers `bin_size`, 0 being on the central ray; and how far the
            points are from the source: along the central ray to a flat detector. In a parallel
            beam places are lengths along s, and distances are 1.
        """
        along = x * math.cos(angle) + y * math.sin(angle)
        return along, functions_of(along).ones_like(along)

    def bin_size(self, unit_mm: float = 1.0) -> float:
        """Return the size of a bin on the detector of `cast`."""
        return self.bin_mm / unit_mm

    def shadow(self, x: Points, y: Points, z: Points, view: int) -> Pair:
        """Return where points fall on the detector in a view, in mm.

        Args:
            x: The points, from the axis, in mm; an array or a tensor of any shape.
            y: Likewise.
            z: From the middle of the volume.
            view: The view.

        Returns:
            s along the bins, and t along the rows; where slices are seen by themselves t is z.
        """
        places, _ = self.cast(x, y, math.radians(self.angles_deg[view]))
        return places, z

    @property
    def axis_shadow_mm(self) -> float:
        """Where along s the axis casts its shadow."""
        return 0.0

    @property
    def axis_bin(self) -> float:
        """Bin, counted from 0, on which the axis casts its shadow."""
        return (self.bins - 1) / 2 + (self.axis_shadow_mm - self.offset_mm) / self.bin_mm

    @property
    def farther_bins(self) -> int:
        """How many bins farther the detector reaches beyond the axis than before it.

        Less than a bin counts as 0; below zero it reaches farther before the axis.
        """
        edges = self.offset_mm + self.bins * self.bin_mm / 2 * np.array([-1, 1])
        farther = float((edges - self.axis_shadow_mm).sum()) / self.bin_mm
        bins = 0 if abs(farther) <= 1 else math.ceil(abs(farther) - 1e-6)  # but for rounding
        return bins if farther > 0 else -bins

    # Other detectors and views

    def views(self, chosen: Sequence[int]) -> Self:
        """Return the beam of some views, by their numbers, in that order."""
        return msgspec.structs.replace(
            self, angles_deg=tuple(self.angles_deg[view] for view in chosen)
        )

    def binned(self, bins: int, rows: int = 1) -> Self:
        """Return the beam of a coarser detector; what is left over at its end is dropped.

        Args:
            bins: How many neighbouring bins are joined.
            rows: How many rows; where slices are seen by themselves the rows are the grid's.

        Raises:
            InvalidValue: There are fewer.
        """
        del rows
        if not 1 <= bins <= self.bins:
            raise InvalidValue(f"{bins} bins to join; expected 1 to {self.bins}")
        joined, left_over = divmod(self.bins, bins)
        return msgspec.structs.replace(
            self,
            bins=joined,
            bin_mm=self.bin_mm * bins,
            offset_mm=self.offset_mm - left_over * self.bin_mm / 2,
        )

    def padded(self, before: int, behind: int) -> Self:
        """Return the beam of a detector with bins added before its first and behind its last."""
        offset_mm = float(self.offset_mm + (behind - before) / 2 * self.bin_mm)
        bins = int(self.bins + before + behind)
        return msgspec.structs.replace(self, bins=bins, offset_mm=offset_mm)


class ParallelBeam(Beam, frozen=True, kw_only=True, tag="parallel"):
    """A parallel beam that turns about the axis of the slices."""


def functions_of(values: Any) -> Any:  # noqa: ANN401 - a module
    """Return the module whose functions take such an array: torch for its tensors, or NumPy."""
    return sys.modules["torch"] if type(values).__module__ == "torch" else np
