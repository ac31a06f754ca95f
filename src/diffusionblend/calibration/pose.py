"""Find the pose of the detector from the projections alone: its offset, roll and slant.

A detector that is not where it is stated to be contradicts the data: no picture explains all views.
The pose p that leaves least of them unexplained is sought,

    min_p |A(p) u(p) - y|,    u(p) = CG(A(p)^T A(p), A(p)^T y, 0, n)

by Gauss-Newton, with u computed again for each p (variable projection: Golub and Pereyra, SIAM
Journal on Numerical Analysis 1973; for cones: Panetta et al., Physics in Medicine and Biology
2008). It is done on larger bins and fewer views. Half of the views and the other half, each by
itself, show how well a number is known: one that they do not agree on is left as it is stated.

The height of the detector and its tilt leave next to nothing unexplained on a circle (0.2 of 2
degrees of tilt were found, and 2.2 of 3 rows): they are not searched for.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from diffusionblend.calibration.coarse import coarse_scan
from diffusionblend.data.scan import Scan
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Beam, Geometry
from diffusionblend.geometry.arc import Directions
from diffusionblend.geometry.poses import posed
from diffusionblend.projectors import projector
from diffusionblend.solvers.consistency import conjugate_gradient

PARTS = {"offset": "bins", "roll": "degrees", "slant": "degrees"}
"""What can be found, and its unit."""
FEWEST_VIEWS = 12
"""From fewer, almost any pose explains the data."""
FARTHEST = 1 / 8
"""Part of the detector's width within which the offset is searched for, to either side."""
DISTINCT = 3.0
"""How many times larger than its uncertainty a number is that replaces the stated one."""
LEAST = {"offset": 0.02, "roll": 0.05, "slant": 0.1}
"""What is uncertain at least, in coarse bins and degrees: all views share the coarse grid's error.

Balls and ellipsoids whose line integrals are known were off by up to 0.004, 0.02 and 0.1."""
_CG_STEPS, _CG_STEPS_OF_AN_ARC = 8, 24
"""Of an arc fewer leave so much over that it hides what a roll does: 0.9 of 1.2 degrees."""
_STEPS = {"offset": 0.25, "roll": 0.5, "slant": 0.5}
"""For the derivatives, in coarse bins and degrees."""
_LARGEST_DEG = 10.0
LEAST_ARC = 180.0
"""Degrees. Over 60 and 90 degrees of a measured disc both halves agreed on offsets of 20 bins."""
LEAST_GAIN = 0.02
"""Share of what the stated pose leaves unexplained that another must explain to replace it."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One number of the pose.

    Attributes:
        name: `offset`, `roll` or `slant`.
        unit: Bins of the detector, or degrees.
        found: By how much it differs from what the scan states.
        uncertain: Half the difference between two halves of the views, and the least uncertainty.
        distinct: Whether it is large enough, and explains enough more, to replace the scan's.
    """

    name: str
    unit: str
    found: float
    uncertain: float
    distinct: bool


@dataclasses.dataclass(frozen=True, eq=False)
class FoundPose:
    """A scan with the pose of the detector that its data say.

    Attributes:
        scan: The scan; the one that was given where nothing distinct was found.
        parts: What was searched for.
        stated: Part of the coarse line integrals that the stated pose leaves over.
        left: Part that the found pose leaves over.
    """

    scan: Scan
    parts: tuple[Part, ...]
    stated: float
    left: float

    @property
    def taken(self) -> str:
        """What of the scan was replaced, in words; empty where nothing was."""
        return " and ".join(f"another {part.name}" for part in self.parts if part.distinct)

    @property
    def words(self) -> str:
        """What is left over of the data, for people."""
        return (
            f"not explained of the data: {100 * self.stated:.2f} percent as stated, "
            f"{100 * self.left:.2f} percent as found"
        )


def find_pose(scan: Scan, free: Sequence[str] = ()) -> FoundPose:
    """Find the pose of the detector from what its pose leaves unexplained of the data.

    Args:
        scan: The scan, of at least 12 views; a full turn says most.
        free: What to search for: `offset` along the bins, and of a cone or a posed beam `roll` and
            `slant`. Without it, all of them but the slant.

    Returns:
        The scan with the pose that was found, and what was found.

    Raises:
        UsageError: `free` names something else, or what such a beam does not have.
        UnsupportedInput: There are too few views, or nothing in the beam.
    """
    grid, beam = scan.geometry
    free = _checked(scan, free)
    coarse = coarse_scan(scan)
    fit = _Fit(coarse.A.geometry, coarse.lines, free)
    found = fit.solve(fit.start())
    if not Directions(np.array(beam.angles_deg)).closed:
        fit = dataclasses.replace(fit, cg_steps=_CG_STEPS_OF_AN_ARC)
        found = fit.solve(found)
    one, other = (fit.of_views(slice(i, None, 2)).solve(found) for i in range(2))
    uncertain = np.hypot((one - other) / 2, fit.least)
    distinct = np.abs(found) > DISTINCT * uncertain
    if distinct.any() and not distinct.all():  # the others, with these as they are stated
        found[distinct] = fit.only(distinct).solve(found[distinct])
    kept = np.where(distinct, found, 0.0)
    stated, left = fit.left_over(np.zeros(len(free))), fit.left_over(kept)
    if left > (1 - LEAST_GAIN) * stated:
        distinct, kept, left = np.zeros_like(distinct), np.zeros_like(kept), stated
    parts = tuple(map(_part, [beam] * len(free), free, found, uncertain, distinct))
    if distinct.any():
        geometry = Geometry(grid, moved(beam, dict(zip(free, kept.tolist(), strict=True))))
        facts = scan.provenance | {"calibration": "; ".join(map(in_words, parts))}
        scan = dataclasses.replace(scan, geometry=geometry, provenance=facts, file=None)
    return FoundPose(scan, parts, stated, left)


def _part(beam: Beam, name: str, found: float, uncertain: float, distinct: bool) -> Part:
    """Return the text about a number in mm or degrees."""
    unit = beam.bin_mm if name == "offset" else 1.0
    return Part(
        name=name,
        unit=PARTS[name],
        found=float(found / unit),
        uncertain=float(uncertain / unit),
        distinct=bool(distinct),
    )


def in_words(part: Part) -> str:
    """Return what was found of a part, for people."""
    digits = max(0, 1 - int(np.floor(np.log10(part.uncertain))))
    number = f"{part.found:+.{digits}f} +- {part.uncertain:.{digits}f} {part.unit}"
    return f"{part.name} {number}" + ("" if part.distinct else ", not distinct: left as stated")


def moved(beam: Beam, by: Mapping[str, float]) -> Beam:
    """Return a beam whose detector is moved along its bins, in mm, and turned, in degrees."""
    shifted = msgspec.structs.replace(beam, offset_mm=beam.offset_mm + by.get("offset", 0.0))
    roll, slant = by.get("roll", 0.0), by.get("slant", 0.0)
    return posed(shifted, roll_deg=roll, slant_deg=slant) if roll or slant else shifted


def _checked(scan: Scan, free: Sequence[str]) -> tuple[str, ...]:
    """Return what to search for, in a scan that can show it."""
    beam, views = scan.geometry.beam, scan.y.shape[1]
    known = [name for name in PARTS if name == "offset" or not beam.slicewise]
    free = tuple(free) or tuple(name for name in known if name != "slant")
    if not set(free) <= set(known) or len(set(free)) < len(free):
        raise UsageError(
            f"`free={', '.join(free)}`: expected some of {', '.join(known)} for a {beam.kind} "
            "beam, each once"
        )
    if views < FEWEST_VIEWS:
        raise UnsupportedInput(
            f"{views} views, which almost any pose explains; expected {FEWEST_VIEWS} or more to "
            "find the pose"
        )
    directions = Directions(np.array(beam.angles_deg))
    if not directions.closed and directions.span + directions.typical < LEAST_ARC - 1e-6:
        raise UnsupportedInput(
            f"views over {directions.span:.4g} degrees, which do not determine the pose; expected "
            f"{LEAST_ARC:g} or more"
        )
    if not scan.y.any():
        raise UnsupportedInput("there was nothing in the beam, so the pose cannot be found")
    return free


@dataclasses.dataclass(frozen=True, eq=False)
class _Fit:
    """The search on a coarse scan, in mm and degrees."""

    geometry: Geometry
    lines: Tensor
    free: tuple[str, ...]
    cg_steps: int = _CG_STEPS

    def each(self, values: Mapping[str, float]) -> np.ndarray:
        """Return numbers for the parts, which are in coarse bins or degrees (parts,)."""
        bin_mm = self.geometry.beam.bin_mm
        return np.array([values[name] * (bin_mm if name == "offset" else 1) for name in self.free])

    @property
    def steps(self) -> np.ndarray:
        """For the derivatives (parts,)."""
        return self.each(_STEPS)

    @property
    def least(self) -> np.ndarray:
        """What is uncertain at least (parts,)."""
        return self.each(LEAST)

    @property
    def farthest(self) -> np.ndarray:
        """How far each part is searched for (parts,)."""
        bins = self.geometry.beam.bins * FARTHEST
        return self.each({"offset": bins, "roll": _LARGEST_DEG, "slant": _LARGEST_DEG})

    def only(self, some: np.ndarray) -> "_Fit":
        """Return the search for some of the parts."""
        return dataclasses.replace(self, free=tuple(np.array(self.free)[some].tolist()))

    def of_views(self, some: slice) -> "_Fit":
        """Return the search by some of the views."""
        grid, beam = self.geometry
        geometry = Geometry(grid, beam.views(range(len(beam.angles_deg))[some]))
        return dataclasses.replace(self, geometry=geometry, lines=self.lines[:, some])

    @torch.inference_mode()
    def residual(self, at: np.ndarray) -> np.ndarray:
        """Return what a pose leaves over, as part of the data."""
        grid, beam = self.geometry
        A = projector(grid, moved(beam, dict(zip(self.free, at.tolist(), strict=True))))
        y = self.lines

        def normal(u: Tensor) -> Tensor:
            return A.T(A(u))

        b = A.T(y)
        u = conjugate_gradient(normal, b, torch.zeros_like(b), steps=self.cg_steps)
        return ((A(u) - y) / y.norm()).double().numpy().ravel()

    def left_over(self, at: np.ndarray) -> float:
        """Return the size of what a pose leaves unexplained."""
        return float(np.linalg.norm(self.residual(at)))

    def derivatives(self, at: np.ndarray) -> np.ndarray:
        """Return the derivatives of the residual by the parts (rays, parts)."""
        return np.stack(
            [
                (self.residual(at + step) - self.residual(at - step)) / (2 * step.sum())
                for step in np.diag(self.steps)
            ],
            axis=1,
        )

    def start(self) -> np.ndarray:
        """Return the best of some offsets, from which the least is reached."""
        first = np.zeros(len(self.free))
        if "offset" not in self.free:
            return first
        at = self.free.index("offset")
        every = 6 * self.steps[at]  # one and a half coarse bins
        count = int(self.farthest[at] // every)
        tried = np.outer(np.arange(-count, count + 1) * every, np.eye(len(first))[at])
        return min(tried, key=self.left_over)

    def solve(self, first: np.ndarray) -> np.ndarray:
        """Return the pose that leaves least over."""
        solved = least_squares(
            self.residual,
            first,
            jac=self.derivatives,
            bounds=(-1.2 * self.farthest, 1.2 * self.farthest),
            x_scale=self.steps,
            xtol=1e-3,
            ftol=1e-4,
            max_nfev=12,
        )
        return np.asarray(solved.x)
