"""geometry.json: what a stack of TIFF or a NumPy array does not say of itself.

The schema is that of `geometry`, without what a file of projections knows already (`bins`, `rows`)
and what need not be decided (`grid`), with evenly spread angles in short, and with a part `data`
that says what the numbers are. Degrees and millimetres; what is not named is not guessed.
"""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta

from diffusionblend.data.scan import Noise
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import Beam, FanBeam, Grid, Pose, PosedBeam
from diffusionblend.geometry.kinds import find_beam
from diffusionblend.geometry.posed import Vector
from diffusionblend.geometry.poses import helix, laminography, posed
from diffusionblend.geometry.tools.vectors import Taken
from diffusionblend.io.files import read_small, reading_cure
from diffusionblend.io.projections.formats.stack import AXES
from diffusionblend.io.projections.options import Quantity

if TYPE_CHECKING:
    from diffusionblend.io.projections.beam import Measured

NAME = "geometry.json"
TO_FILL = "FILL IN: "
"""What begins a place that a template leaves open."""
MAX_BYTES = 2**26
MAX_VIEWS = 100_000
Kind = Literal["parallel", "fan", "cone", "posed"]
_TURNS = ("roll_deg", "tilt_deg", "slant_deg")
Length = Annotated[float, Meta(gt=0, le=1e12)]  # in any unit
Number = Annotated[int, Meta(ge=1, le=2**20)]


class Even(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Angles spread evenly: start, start + step, ..., `count` of them, in degrees."""

    start: float
    step: float
    count: Annotated[int, Meta(ge=1, le=MAX_VIEWS)]


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the numbers are.

    Attributes:
        file: Name of the projections, beside geometry.json or below.
        quantity: `counts` or `line-integrals`.
        order: What the axes of the array are.
        array: Which of several arrays of a .npz or a .mat, or its place in HDF5.
        white: Name of projections of air, for counts; of an array in a file FILE:ARRAY.
        dark: Name of projections without rays.
        i0: Counts through air, where there are no projections of it.
        sha256: Of the file (or folder), if it is to be checked.
    """

    file: str | None = None
    quantity: Quantity | None = None
    order: tuple[Literal["view", "row", "bin"], ...] | None = None
    array: str | None = None
    white: str | None = None
    dark: str | None = None
    i0: Length | None = None
    sha256: str | None = None


class Facts(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What all beams have; see `geometry` for the conventions.

    Attributes:
        angles_deg: Direction of each view, in degrees.
        bins: Number of detector bins; none takes that of the data.
        bin_mm: Size of a bin, on the detector.
        rows: Number of detector rows; none takes that of the data.
        row_mm: Size of a row; of a parallel beam or a fan, the distance of the slices.
        offset_mm: Where the middle of the detector lies along s; None if it is not known.
        grid: Grid to reconstruct on; none makes one.
        data: What the numbers are.
        noise: How they were measured.
        mu_water_per_mm: Attenuation of water.
        detector_roll_degrees, detector_tilt_degrees, detector_slant_degrees: By how much the
            detector is turned, in all views or in each (see `geometry.poses`).
        detector_shifts_mm: How far it is shifted along its bins and rows in each view.
        source_shifts_mm: How far the source is shifted along the bins, the rays and the axis.
        helix_pitch_mm: By how much source and detector rise in a turn.
        axis_tilt_degrees: By how much the rays rise, in laminography.
    """

    kind: ClassVar[Kind]
    schema: Literal["diffusionblend-geometry/1"]
    angles_deg: tuple[float, ...] | Even | None = None
    bins: Number | None = None
    bin_mm: Length | None = None
    rows: Number | None = None
    row_mm: Length | None = None
    offset_mm: float | None = None
    grid: Grid | None = None
    data: Data = Data()
    noise: Noise | None = None
    mu_water_per_mm: float | None = None
    detector_roll_degrees: float | tuple[float, ...] = 0.0
    detector_tilt_degrees: float | tuple[float, ...] = 0.0
    detector_slant_degrees: float | tuple[float, ...] = 0.0
    detector_shifts_mm: tuple[tuple[float, float], ...] = ()
    source_shifts_mm: tuple[Vector, ...] = ()
    helix_pitch_mm: float = 0.0
    axis_tilt_degrees: float = 0.0

    def beam(
        self, angles_deg: tuple[float, ...], bins: int, bin_mm: float, rows: int, row_mm: float
    ) -> Beam:
        """Return the beam with a detector of this many bins and rows."""
        cls = find_beam(self.kind)
        measured = {"angles_deg": angles_deg, "bins": bins, "bin_mm": bin_mm}
        measured |= {"offset_mm": self.offset_mm or 0.0, "rows": rows, "row_mm": row_mm}
        stated = {n: getattr(self, n) for n in cls.__struct_fields__ if hasattr(self, n)}
        beam = cls(**stated | {n: v for n, v in measured.items() if n in cls.__struct_fields__})
        return beam if isinstance(beam, PosedBeam) else self._posed(beam, rows, row_mm)

    def _posed(self, circle: Beam, rows: int, row_mm: float) -> Beam:
        """Return a beam on a circle, posed where its detector is not upright or parts move."""
        turns: dict[str, Any] = {n: getattr(self, f"detector_{n[:-4]}_degrees") for n in _TURNS}
        shifts = (self.detector_shifts_mm, self.source_shifts_mm)
        stated = (*turns.values(), *shifts, self.helix_pitch_mm, self.axis_tilt_degrees)
        if not any(np.any(value) for value in stated):
            return circle
        if isinstance(circle, FanBeam) and rows > 1:
            raise UnsupportedInput(
                "each row of a fan has its own plane, which a turned detector does not see; give "
                "it as a cone, or import each row by itself"
            )
        beam = posed(
            circle,
            **turns,
            detector_shifts_mm=shifts[0],
            source_shifts_mm=shifts[1],
            rows=rows,
            row_mm=row_mm,
        )
        beam = helix(beam, self.helix_pitch_mm) if self.helix_pitch_mm else beam
        return laminography(beam, self.axis_tilt_degrees) if self.axis_tilt_degrees else beam

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the geometry leaves open, in words to warn of."""
        return ()

    def placed(self, beam: "Measured") -> tuple["Measured", tuple[str, ...]]:
        """Return a beam with the places of single views, and what varies among them in words."""
        return beam, ()

    @property
    def angles(self) -> tuple[float, ...] | None:
        """Direction of each view in degrees, if it is stated."""
        if isinstance(self.angles_deg, Even):
            even = self.angles_deg
            return tuple(even.start + even.step * view for view in range(even.count))
        return self.angles_deg


class ParallelFacts(Facts, frozen=True, kw_only=True, tag="parallel"):
    """A parallel beam."""

    kind: ClassVar[Kind] = "parallel"


class _DivergingFacts(Facts, frozen=True, kw_only=True):
    sod_mm: Length
    sdd_mm: Length
    axis_mm: float = 0.0


class FanFacts(_DivergingFacts, frozen=True, kw_only=True, tag="fan"):
    """A fan in the plane of each slice."""

    kind: ClassVar[Kind] = "fan"
    detector: Literal["flat", "curved"]


class ConeFacts(_DivergingFacts, frozen=True, kw_only=True, tag="cone"):
    """A circular cone on a flat detector."""

    kind: ClassVar[Kind] = "cone"
    row_offset_mm: float = 0.0


class PosedFacts(Facts, frozen=True, kw_only=True, tag="posed"):
    """A beam whose source and detector stand anywhere, as `PosedBeam` has it."""

    kind: ClassVar[Kind] = "posed"
    poses: tuple[Pose, ...]
    row_offset_mm: float = 0.0
    diverges: bool = True


AnyFacts = ParallelFacts | FanFacts | ConeFacts | PosedFacts
_MM = {"mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "nm": 1e-6}


def in_mm(facts: AnyFacts, unit: str) -> AnyFacts:
    """Return facts whose lengths were in another unit in millimetres."""
    mm = _MM[unit]
    if mm == 1:
        return facts
    changes: dict[str, object] = {
        name: _times(getattr(facts, name), mm)
        for name in facts.__struct_fields__
        if name.endswith("_mm") and name != "mu_water_per_mm" and getattr(facts, name) is not None
    }
    if facts.mu_water_per_mm is not None:
        changes["mu_water_per_mm"] = facts.mu_water_per_mm / mm
    if hasattr(facts, "poses"):
        lengths = ("source", "middle") if getattr(facts, "diverges", True) else ("middle",)
        changes["poses"] = tuple(
            msgspec.structs.replace(pose, **{n: _times(getattr(pose, n), mm) for n in lengths})
            for pose in facts.poses
        )
    if facts.grid is not None:
        affine = np.array(facts.grid.affine) * [[mm], [mm], [mm], [1.0]]
        changes["grid"] = Grid.from_affine(facts.grid.shape, affine)
    return msgspec.structs.replace(facts, **changes)


def _times(value: Any, factor: float) -> Any:  # noqa: ANN401 - a number, or tuples of them
    """Return a number, or all in a tuple, times a factor."""
    return tuple(_times(v, factor) for v in value) if isinstance(value, tuple) else value * factor


def facts_of(taken: Taken, data: Data = Data(), *, known_axis: bool = True) -> AnyFacts:  # noqa: B008 - is frozen
    """Return what another package or a scanner states as facts, without its grid.

    Args:
        taken: What was taken over.
        data: What is stated of the numbers.
        known_axis: Whether it says where the axis is; else it is searched for.
    """
    beam = taken.beam
    cls = next(cls for cls in get_args(AnyFacts) if cls.kind == beam.kind)
    same = {n: getattr(beam, n) for n in cls.__struct_fields__ if hasattr(beam, n)}
    same |= {"rows": taken.rows, "row_mm": taken.row_mm}
    if not known_axis:
        same["offset_mm"] = None
    return cls(schema="diffusionblend-geometry/1", data=data, **same)


def read_geometry(path: Path) -> AnyFacts:
    """Read geometry.json."""
    text = read_text(path)
    try:
        facts = msgspec.json.decode(text, type=AnyFacts)
    except (ValueError, RecursionError) as error:
        if opened := re.findall(rf'"(\w+)": *"{TO_FILL}', text.decode(errors="replace")):
            raise CorruptInput(f"{path}: still to be filled in: {', '.join(opened)}") from error
        raise CorruptInput(
            f"{path}: {error}; expected the geometry of a scan, where the angles are a list, "
            '"angles_deg"; `template=FILE` writes one to fill in'
        ) from error
    angles = facts.angles
    if angles is not None and not (angles and all(map(math.isfinite, angles))):
        raise CorruptInput(f"{path}: angles_deg is empty or has NaN; expected finite numbers")
    if angles is not None and len(angles) > MAX_VIEWS:
        raise UnsupportedInput(f"{path}: {len(angles)} angles; expected at most {MAX_VIEWS}")
    return facts


def read_text(path: Path) -> bytes:
    """Read a small file."""
    try:
        return read_small(path, MAX_BYTES, "a geometry")
    except OSError as error:
        cure = reading_cure(error, "check the name")
        raise CorruptInput(f"{path}: cannot be read ({error.strerror}); {cure}") from error


def order_of(facts: AnyFacts) -> tuple[str, ...] | None:
    """Return the order of the axes, if it is stated."""
    order = facts.data.order
    if order is not None and sorted(order) not in (sorted(AXES), ["bin", "view"]):
        raise CorruptInput(f"data.order is {list(order)}; expected view, row and bin, each once")
    return order
