"""The beam of a measured scan: taken apart by views, rows and bins, and put into a geometry.

Sizes and places are those of the detector as it is read, until `place` adds the grid.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from diffusionblend import geometry
from diffusionblend.errors import InvalidValue, UnsupportedInput, UsageError
from diffusionblend.geometry import Geometry, Grid
from diffusionblend.geometry.poses import rises_deg

LEVEL_DEG = 2.0
"""Rise of the rays up to which opposite views are compared."""
MOVED = 0.05
"""Part of a detector by which its middle may lie beside the axis without a larger grid.

What the farther one sees beyond is air in most scans, and is reconstructed if it is not
(`surroundings`); a grid of as many pixels as bins halves evenly.
"""


@dataclass(frozen=True)
class Measured:
    """A beam, and the rows of its detector, which one that sees slices does not know.

    Attributes:
        model: Views, source and detector, as projectors know them.
        first_mm: Where the first row lies, from the first that was measured.
        grid: To reconstruct on, if it is given.
        left_out: How many bins of the detector are left out before the first and behind the last.
    """

    model: geometry.Beam
    rows: int
    row_mm: float
    first_mm: float = 0.0
    grid: Grid | None = None
    left_out: tuple[int, int] = (0, 0)

    @property
    def kind(self) -> str:
        """Of the beam."""
        return self.model.kind

    @property
    def angles_deg(self) -> tuple[float, ...]:
        """Direction of each view."""
        return self.model.angles_deg

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.model.bins

    @property
    def all_bins(self) -> int:
        """Number of bins of the whole detector."""
        return self.bins + sum(self.left_out)

    def number_of(self, at: float) -> float:
        """Return the number of a bin on the whole detector."""
        return at + self.left_out[0]

    def place_of(self, number: float) -> float:
        """Return which bin of those that are left has a number on the whole detector."""
        return number - self.left_out[0]

    @property
    def bin_mm(self) -> float:
        """Size of a bin."""
        return self.model.bin_mm

    @property
    def parallel(self) -> bool:
        """Whether the rays of a view are parallel, whatever the pose of the detector."""
        return isinstance(self.circle, geometry.ParallelBeam)

    @property
    def circle(self) -> geometry.Beam:
        """The upright beam on a circle that it is, or that is nearest to it."""
        beam = self.model
        return beam.nearest if isinstance(beam, geometry.PosedBeam) else beam

    @property
    def magnification(self) -> float:
        """Size of a shadow on the detector over that of the object at the axis."""
        return self.model.magnification

    @property
    def axis_bin(self) -> float:
        """Bin, counted from 0, on which the axis casts its shadow."""
        return self.model.axis_bin

    def changed(self, **fields: object) -> "Measured":
        """Return it with other fields of its model."""
        return dataclasses.replace(self, model=msgspec.structs.replace(self.model, **fields))

    @property
    def turns_on_a_circle(self) -> bool:
        """Whether opposite views see the same rays from both ends, in the middle row."""
        beam = self.model
        if not isinstance(beam, geometry.PosedBeam):
            return True
        heights = [pose.source[2] for pose in beam.poses] if beam.diverges else [0.0]
        level = np.abs(rises_deg(beam)).max() < LEVEL_DEG
        return bool(level and np.ptp(heights) < self.row_mm / self.magnification)

    @property
    def slicewise(self) -> bool:
        """Whether each row sees one slice."""
        return self.model.slicewise

    @property
    def axis_row(self) -> float:
        """Row, counted from 0, that lies in the plane of the source, where it sees many planes."""
        beam = self.model
        if isinstance(beam, geometry.PosedBeam):
            return float(beam.axis_pixel[0])
        return (self.rows - 1) / 2 - self.row_offset_mm / self.row_mm

    @property
    def row_offset_mm(self) -> float:
        """Where the middle of the detector lies along t; 0 where each row sees one slice."""
        return getattr(self.model, "row_offset_mm", 0.0)

    def with_axis_on(self, axis_bin: float) -> "Measured":
        """Move the detector so that the axis casts its shadow on a bin."""
        moved = (self.axis_bin - axis_bin) * self.bin_mm
        return self.changed(offset_mm=self.model.offset_mm + moved)

    def fan_angles(self, axis_bin: float) -> np.ndarray:
        """Return the angle of each bin's ray from that through the axis, in radians (bins,)."""
        if isinstance(beam := self.model, geometry.PosedBeam) and beam.diverges:
            far, slant, bin_mm = _slanted(beam)
            t = (np.arange(self.bins) - axis_bin) * bin_mm
            return np.arctan2(t * math.cos(slant), far + t * math.sin(slant))
        beam = self.circle
        if not isinstance(beam, geometry.PointBeam):
            return np.zeros(self.bins)
        s = (np.arange(self.bins) - axis_bin) * self.bin_mm + beam.axis_shadow_mm
        return beam.fan_angle(s) - beam.axis_angle

    def mirrored(self, axis_bin: float) -> np.ndarray:
        """Return on which bin a ray at the negative angle of each bin's falls (bins,)."""
        if isinstance(beam := self.model, geometry.PosedBeam) and beam.diverges:
            far, slant, bin_mm = _slanted(beam)
            fan = -self.fan_angles(axis_bin)
            return np.asarray(axis_bin + far * np.sin(fan) / np.cos(fan + slant) / bin_mm)
        beam = self.circle
        if not isinstance(beam, geometry.PointBeam):
            return 2 * axis_bin - np.arange(self.bins)
        s = beam.fan_place(beam.axis_angle - self.fan_angles(axis_bin))
        return axis_bin + (s - beam.axis_shadow_mm) / self.bin_mm

    def take_views(self, views: Sequence[int]) -> "Measured":
        """Keep some views."""
        return dataclasses.replace(self, model=self.model.views(views))

    def take_bins(self, first: int, last: int) -> "Measured":
        """Keep the bins `first` to `last` - 1."""
        before, behind = self.left_out
        behind += self.bins - last
        model = self.model.padded(-first, last - self.bins)
        return dataclasses.replace(self, model=model, left_out=(before + first, behind))

    def take_rows(self, first: int, last: int) -> "Measured":
        """Keep the rows `first` to `last` - 1."""
        moved = ((first + last) / 2 - self.rows / 2) * self.row_mm
        offset = self.row_offset_mm + moved
        if self.kind == "cone" and abs(offset) > (last - first) / 2 * self.row_mm:
            down = -offset / self.magnification
            raise UnsupportedInput(
                f"rows {first}:{last} do not see the plane of the source, around which a cone is "
                "reconstructed; take rows on both sides of it, or move source and detector down "
                f'to where these rows are seen, by "source_shifts_mm" [0, 0, {down:.6g}] and '
                f'"detector_shifts_mm" [0, {down:.6g}] for each view in geometry.json (every '
                "method but fbp takes that)"
            )
        grid = self.grid
        if grid is not None and (first, last) != (0, self.rows) and self.slicewise:
            if grid.shape[0] != self.rows:
                raise UnsupportedInput(
                    f"the grid has {grid.shape[0]} slices, the detector {self.rows} rows; "
                    "expected the same"
                )
            grid = grid.part((first, 0, 0), (last - first, *grid.shape[1:]))
        begin = self.first_mm + first * self.row_mm
        fields = {} if self.slicewise else {"rows": last - first, "row_offset_mm": offset}
        return dataclasses.replace(
            self.changed(**fields), rows=last - first, first_mm=begin, grid=grid
        )

    def binned(self, factor: int) -> "Measured":
        """Join `factor` x `factor` pixels; what is left over at the end is dropped."""
        if factor == 1:
            return self
        if not 1 <= factor <= self.bins:
            raise UsageError(f"`bin={factor}`: expected 1 to {self.bins}")
        if self.grid is not None:
            raise UsageError("`bin`: geometry.json states a grid; leave one of them out")
        deep = min(factor, self.rows)
        return dataclasses.replace(
            self,
            model=self.model.binned(factor, deep),
            rows=self.rows // deep,
            row_mm=self.row_mm * deep,
            first_mm=self.first_mm + (deep - 1) / 2 * self.row_mm,
        )

    def place(
        self, size: int | None = None, pixel_mm: float | None = None, slices: int | None = None
    ) -> Geometry:
        """Return the geometry, with a grid about the axis if none is given.

        Without sizes it is as large as what the rays see, from the axis to the farther end of the
        detector; except in a cone there is one slice for each row.
        """
        if self.grid is not None and (size, pixel_mm, slices) != (None, None, None):
            raise UsageError(
                "`size`, `pixel_mm` and `slices`: geometry.json states a grid; leave them out"
            )
        if slices is not None and self.slicewise:
            raise UsageError(
                f"`slices={slices}`: each row of a {self.kind} beam is a slice; choose `rows`"
            )
        grid = self.grid or self._grid(size or self._pixels(), pixel_mm, slices or self._slices())
        with placing():
            return Geometry(grid, self.model)

    def _pixels(self) -> int:
        """Return how many pixels across hold what the bins see, on both sides of the axis."""
        farther = abs(self.axis_bin - (self.bins - 1) / 2)
        if farther <= MOVED * self.bins:
            return self.bins
        reach = self.bins / 2 + farther  # in bins, which is too far for the rays of a wide fan
        circle = self.circle
        if isinstance(circle, geometry.PointBeam):
            angle = float(np.abs(self.fan_angles(self.axis_bin)).max())
            reach = 0.5 + circle.sod_mm * math.sin(angle) * self.magnification / self.bin_mm
        return max(self.bins, 2 * math.ceil(reach))

    def _slices(self) -> int:
        """Return how many slices hold what the rows see, of a cone on both sides of its plane."""
        if self.slicewise:
            return self.rows
        beam, offset = self.model, self.row_offset_mm
        if isinstance(beam, geometry.PosedBeam):  # a helix: as far as source and detector climb
            heights = [pose.middle[2] for pose in beam.poses]
            offset = float(np.ptp(heights)) / 2 * beam.magnification
        farther = abs(offset) / self.row_mm
        return self.rows if farther <= MOVED * self.rows else 2 * math.ceil(self.rows / 2 + farther)

    def _grid(self, size: int, pixel_mm: float | None, slices: int) -> Grid:
        """Return square slices about the axis, z counted from the first row measured."""
        pixel = self.bin_mm / self.magnification if pixel_mm is None else pixel_mm
        z_mm = self.row_mm / (1.0 if self.slicewise else self.magnification)
        affine = np.diag([pixel, pixel, z_mm, 1.0])
        affine[:2, 3] = -(size - 1) / 2 * pixel
        middle = -(slices - 1) / 2 * z_mm  # of a cone: its slices lie about the source's plane
        affine[2, 3] = self.first_mm if self.slicewise else middle
        return Grid.from_affine((slices, size, size), affine)


def _slanted(beam: geometry.PosedBeam) -> tuple[float, float, float]:
    """Return how a detector stands across the ray through the axis, in the plane of the source.

    Returns:
        Its distance from the source along that ray, by what angle its last bin is farther than
        across the ray, and the size of a bin in the plane; of the mean of all views.
    """
    source, middle, along = (
        np.mean([getattr(pose, name)[:2] for pose in beam.poses], axis=0)
        for name in ("source", "middle", "along")
    )
    ray = -source / np.linalg.norm(source)
    far, _ = np.linalg.solve(np.stack([ray, -along], axis=1), middle - source)
    slant = math.atan2(along @ ray, along @ (ray[1], -ray[0]))
    return float(far), slant, beam.bin_mm * float(np.linalg.norm(along))


@contextlib.contextmanager
def placing() -> Iterator[None]:
    """Say of a beam that cannot be, or not about its grid, what to do about it."""
    try:
        yield
    except InvalidValue as error:
        raise UnsupportedInput(
            f"cannot be placed: {error}; check the geometry (sdd_mm is from the source to the "
            "detector, not from the axis), or give `size` or `pixel_mm`"
        ) from error
