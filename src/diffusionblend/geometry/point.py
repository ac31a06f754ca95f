"""Beams from a point: fans and cones; see the package for the formulas."""

import math
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np

from diffusionblend.errors import InvalidValue
from diffusionblend.geometry.beam import Beam, Pair, Points, functions_of


class PointBeam(Beam, frozen=True, kw_only=True):
    """A beam from a point that turns about the axis.

    Attributes:
        sod_mm: Distance from the source to the axis.
        sdd_mm: Distance from the source to the detector.
        axis_mm: How far the axis lies from the central ray, along s at the axis.
    """

    sod_mm: float
    sdd_mm: float
    axis_mm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = (self.sod_mm, self.sdd_mm, self.axis_mm)
        if not all(map(math.isfinite, lengths)) or not 0 < self.sod_mm <= self.sdd_mm:
            raise InvalidValue(
                f"sod_mm, sdd_mm and axis_mm are {lengths}; expected 0 < sod_mm <= sdd_mm, finite"
            )

    @property
    def source_mm(self) -> float:
        """Distance from the source to the axis."""
        return self.sod_mm

    @property
    def magnification(self) -> float:
        """Size of a shadow on the detector over that of the object at the axis."""
        return self.sdd_mm / self.sod_mm

    def fan_angle(self, s_mm: np.ndarray) -> np.ndarray:
        """Return the angles in radians of the rays to places along s from the central ray."""
        ratio = s_mm / self.sdd_mm
        return ratio if self.curved else np.arctan(ratio)

    def fan_place(self, fan_angle: np.ndarray) -> np.ndarray:
        """Return where along s the rays of some fan angles fall: the inverse of `fan_angle`."""
        return self.sdd_mm * (fan_angle if self.curved else np.tan(fan_angle))

    @property
    def axis_angle(self) -> float:
        """Fan angle of the ray through the axis, in radians."""
        return math.atan2(self.axis_mm, self.sod_mm)

    def distances_mm(self) -> np.ndarray:
        """Return how far each bin's ray in the plane of the source passes from the axis (bins,)."""
        fan = self.fan_angles
        return self.sod_mm * np.sin(fan) - self.axis_mm * np.cos(fan)

    def source_at(self, angle: Points) -> Pair:
        """Return x and y of the source in mm, at angles of views in radians."""
        cos, sin = np.cos(angle), np.sin(angle)
        return (
            self.sod_mm * sin - self.axis_mm * cos,
            -self.sod_mm * cos - self.axis_mm * sin,
        )

    def cast(self, x: Points, y: Points, angle: float, unit_mm: float = 1.0) -> Pair:
        """Return where points of a slice cast their shadows, on a detector at distance 1."""
        along = x * math.cos(angle) + y * math.sin(angle) + self.axis_mm / unit_mm
        depth = y * math.cos(angle) - x * math.sin(angle) + self.sod_mm / unit_mm
        ratio = along / depth
        if not self.curved:
            return ratio, depth
        functions = functions_of(ratio)
        return functions.arctan(ratio), functions.hypot(along, depth)

    def bin_size(self, unit_mm: float = 1.0) -> float:
        """Return the size of a bin on the detector of `cast`."""
        del unit_mm
        return self.bin_mm / self.sdd_mm

    def shadow(self, x: Points, y: Points, z: Points, view: int) -> Pair:
        """Return where points fall on the detector in a view, in mm."""
        places, _ = self.cast(x, y, math.radians(self.angles_deg[view]))
        return self.sdd_mm * places, z

    @property
    def axis_shadow_mm(self) -> float:
        """Where along s the axis casts its shadow."""
        ratio = self.axis_mm / self.sod_mm
        return self.sdd_mm * (math.atan(ratio) if self.curved else ratio)


class FanBeam(PointBeam, frozen=True, kw_only=True, tag="fan"):
    """A fan in the plane of each slice.

    Attributes:
        detector: `flat`, or `curved` about the source, with bins measured along the arc.
    """

    detector: Literal["flat", "curved"] = "flat"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detector not in ("flat", "curved"):
            raise InvalidValue(f"`detector={self.detector!r}`: expected flat or curved")

    @property
    def curved(self) -> bool:
        """Whether the detector is curved about the source."""
        return self.detector == "curved"


class Panel:
    """A flat detector of several rows, for beams whose rays cross the slices.

    Attributes:
        rows: Number of detector rows.
        row_mm: Size of a row.
        row_offset_mm: Where the middle of the detector lies along its rows, on the detector.
    """

    __slots__ = ()  # the fields are those of the beam
    slicewise: ClassVar[bool] = False
    rows: int
    row_mm: float
    row_offset_mm: float

    def check_rows(self) -> None:
        """Raise InvalidValue if there can be no such rows."""
        if self.rows < 1 or not self.row_mm > 0 or not math.isfinite(self.row_mm):
            raise InvalidValue(f"{self.rows} rows of {self.row_mm} mm; expected positive numbers")
        if not math.isfinite(self.row_offset_mm):
            raise InvalidValue(f"row_offset_mm is {self.row_offset_mm}; expected a finite number")

    def row_positions_mm(self) -> np.ndarray:
        """Return where the rows lie along t, in mm (rows,)."""
        return (np.arange(self.rows) - (self.rows - 1) / 2) * self.row_mm + self.row_offset_mm

    def joined_rows(self, rows: int) -> dict[str, Any]:
        """Return the fields of a detector with this many neighbouring rows joined."""
        if not 1 <= rows <= self.rows:
            raise InvalidValue(f"{rows} rows to join; expected 1 to {self.rows}")
        joined, left_over = divmod(self.rows, rows)
        return {
            "rows": joined,
            "row_mm": self.row_mm * rows,
            "row_offset_mm": self.row_offset_mm - left_over * self.row_mm / 2,
        }


class ConeBeam(Panel, PointBeam, frozen=True, kw_only=True, tag="cone"):
    """A cone on a flat detector, from a source that runs on a circle.

    Attributes:
        rows: Number of detector rows.
        row_mm: Size of a row.
        row_offset_mm: Where the middle of the detector lies along z, on the detector.
    """

    rows: int
    row_mm: float
    row_offset_mm: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_rows()

    def shadow(self, x: Points, y: Points, z: Points, view: int) -> Pair:
        """Return where points fall on the detector in a view, in mm."""
        places, depth = self.cast(x, y, math.radians(self.angles_deg[view]))
        return self.sdd_mm * places, self.sdd_mm * z / depth

    def binned(self, bins: int, rows: int = 1) -> Self:
        """Return the beam of a coarser detector; what is left over at its ends is dropped."""
        return msgspec.structs.replace(super().binned(bins), **self.joined_rows(rows))
