"""Posed beams: detectors that are turned, parts that are shifted, helices and laminography.

A detector is turned about the foot of the central ray, first in its plane (roll), then about its
bins (tilt), then about the axis' direction (slant):

    roll    rows' ends: the bins rise along z
    tilt    the rows lean away from the source
    slant   the last bin is farther from the source than the first

all by positive degrees. In the words of the field these are the in-plane angle and the two
out-of-plane angles (Noo et al., Physics in Medicine and Biology 2000; Yang et al., Medical Physics
2006).
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from diffusionblend.errors import InvalidValue, UnsupportedInput
from diffusionblend.geometry.beam import Beam, ParallelBeam
from diffusionblend.geometry.point import ConeBeam, FanBeam
from diffusionblend.geometry.posed import Pose, PosedBeam

Angles = float | Sequence[float]
"""Degrees, one for each view or one for all."""
Shifts = Sequence[Sequence[float]]
_ENDS = ("source", "middle")
_SEEN_DEG = 1e-3
MOST_DEG = 45.0
"""Degrees by which a detector can be turned: beyond, bins are rather rows, and rows bins."""


def as_posed(beam: Beam, rows: int = 1, row_mm: float = 1.0) -> PosedBeam:
    """Return a beam as a posed one: the same rays.

    Args:
        beam: A cone, parallel rays, a fan on a flat detector of one row, or a posed beam.
        rows: Number of detector rows, of a beam that does not say it.
        row_mm: Size of a row, likewise.
    """
    if isinstance(beam, PosedBeam):
        return beam
    common: dict[str, Any] = {
        "angles_deg": beam.angles_deg,
        "bins": beam.bins,
        "bin_mm": beam.bin_mm,
    }
    common |= {"offset_mm": beam.offset_mm, "rows": rows, "row_mm": row_mm}
    if isinstance(beam, ConeBeam):
        common |= {n: getattr(beam, n) for n in ("rows", "row_mm", "row_offset_mm")}
    if isinstance(beam, ConeBeam | FanBeam) and not beam.curved:
        source = (-beam.axis_mm, -beam.sod_mm, 0.0)
        middle = (-beam.axis_mm, beam.sdd_mm - beam.sod_mm, 0.0)
        return PosedBeam(**common, poses=(Pose(source, middle),))
    if type(beam) is ParallelBeam:
        pose = Pose((0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
        return PosedBeam(**common, poses=(pose,), diverges=False)
    raise UnsupportedInput(
        f"a {beam.kind} beam{' on a curved detector' * beam.curved} has no poses; expected a "
        "cone, parallel rays, or a fan on a flat detector"
    )


def posed(
    beam: Beam,
    *,
    roll_deg: Angles = 0.0,
    tilt_deg: Angles = 0.0,
    slant_deg: Angles = 0.0,
    detector_shifts_mm: Shifts = (),
    source_shifts_mm: Shifts = (),
    rows: int = 1,
    row_mm: float = 1.0,
) -> PosedBeam:
    """Return a beam with a detector that is turned, and parts that are shifted.

    Args:
        beam: A cone, parallel rays, a fan on a flat detector of one row, or a posed beam, whose
            detector is turned further.
        roll_deg: By which the detector is turned in its plane.
        tilt_deg: By which its rows lean away from the source.
        slant_deg: By which its bins lean away from the source.
        detector_shifts_mm: How far it is shifted along its bins and its rows, for each view or for
            all (views, 2).
        source_shifts_mm: How far the source is shifted along the bins, along the central ray and
            along the axis (views, 3).
        rows: Number of detector rows, of a beam that does not say it.
        row_mm: Size of a row, likewise.
    """
    plain, views = as_posed(beam, rows, row_mm), len(beam.angles_deg)
    turns = zip(
        *(
            _each(name, value, views)
            for name, value in (("roll", roll_deg), ("tilt", tilt_deg), ("slant", slant_deg))
        ),
        strict=True,
    )
    detector = _shifts("detector", detector_shifts_mm, views, 2)
    source = _shifts("source", source_shifts_mm, views, 3)
    before = plain.poses * (views if len(plain.poses) == 1 else 1)
    poses = tuple(
        _moved(one, _turned(*degrees), shift, moved)
        for one, degrees, shift, moved in zip(before, turns, detector, source, strict=True)
    )
    return msgspec.structs.replace(plain, poses=alike(poses))


def _moved(pose: Pose, turned: np.ndarray, shift: np.ndarray, source: np.ndarray) -> Pose:
    """Return a pose with a detector that is turned from where it is, and parts that are shifted."""
    along, up = np.array(pose.along), np.array(pose.up)
    axes = turned @ np.stack([along, np.cross(up, along), up])
    return Pose(
        source=vector(np.add(pose.source, source)),
        middle=vector(np.array(pose.middle) + shift @ axes),
        along=vector(axes[0]),
        up=vector(axes[1]),
    )


def helix(beam: Beam, pitch_mm: float) -> PosedBeam:
    """Return a cone whose source and detector rise along the axis as they turn.

    The middle of the angles is at the middle of the slices.

    Args:
        beam: A cone, or a posed beam.
        pitch_mm: By how much they rise in a turn to larger angles.
    """
    plain = as_posed(beam)
    if not plain.diverges or not math.isfinite(pitch_mm):
        raise InvalidValue(f"a pitch of {pitch_mm} mm; expected a number, and a cone")
    angles = np.array(plain.angles_deg)
    heights = pitch_mm * (angles - (angles.max() + angles.min()) / 2) / 360
    poses = plain.poses * (len(angles) // len(plain.poses))
    risen = tuple(
        msgspec.structs.replace(
            pose,
            source=vector(np.add(pose.source, (0, 0, height))),
            middle=vector(np.add(pose.middle, (0, 0, height))),
        )
        for pose, height in zip(poses, heights.tolist(), strict=True)
    )
    return msgspec.structs.replace(plain, poses=alike(risen))


def laminography(
    beam: Beam, axis_tilt_deg: float, *, rows: int = 1, row_mm: float = 1.0
) -> PosedBeam:
    """Return a beam whose rays come from below: the axis is not perpendicular to them.

    Args:
        beam: A cone, parallel rays, or a posed beam.
        axis_tilt_deg: By how much the rays rise; 0 is tomography.
        rows: Number of detector rows, of a beam that does not say it.
        row_mm: Size of a row, likewise.
    """
    if not -90 < axis_tilt_deg < 90:
        raise InvalidValue(f"axis_tilt_deg is {axis_tilt_deg}; expected between -90 and 90")
    plain = as_posed(beam, rows, row_mm)
    cos, sin = math.cos(math.radians(axis_tilt_deg)), math.sin(math.radians(axis_tilt_deg))
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    poses = tuple(
        Pose(**{n: vector(about_x @ getattr(pose, n)) for n in Pose.__struct_fields__})
        for pose in plain.poses
    )
    return msgspec.structs.replace(plain, poses=poses)


def turns_deg(beam: PosedBeam) -> np.ndarray:
    """Return the roll, tilt and slant of the detector in each pose, in degrees (poses, 3)."""
    along, up = (np.array([getattr(pose, n) for pose in beam.poses]) for n in ("along", "up"))
    normal = np.cross(up, along)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    roll = np.arctan2(along[:, 2], up[:, 2])
    tilt = np.arcsin(np.clip(-normal[:, 2], -1, 1))
    slant = np.arctan2(-normal[:, 0], normal[:, 1])
    return np.round(np.degrees(np.stack([roll, tilt, slant], axis=1)), 9) + 0.0


def rises_deg(beam: PosedBeam) -> np.ndarray:
    """Return by how much the ray to the point that s and t count from rises (poses,)."""
    source, middle = (np.array([getattr(pose, n) for pose in beam.poses]) for n in _ENDS)
    ray = middle - source if beam.diverges else source
    return np.degrees(np.arctan2(ray[:, 2], np.hypot(ray[:, 0], ray[:, 1])))


def pose_in_words(beam: PosedBeam) -> str:
    """Return how the detector is turned, and what differs from view to view, for people."""
    (roll, tilt, slant), rise = turns_deg(beam).T, rises_deg(beam)
    said = []
    if np.abs(rise).max() > _SEEN_DEG > np.abs(rise + tilt).max():
        said.append(f"rays rise by {_range(rise)} degrees")
        tilt = tilt + rise
    for name, degrees in (("roll", roll), ("tilt", tilt), ("slant", slant)):
        if np.abs(degrees).max() > _SEEN_DEG:
            said.append(f"{name} {_range(degrees)} degrees")
    climb = float(np.ptp([pose.source[2] for pose in beam.poses])) if beam.diverges else 0.0
    if climb > 0:
        said.append(f"the source moves along the axis by {climb:.4g} mm")
    elif len(beam.poses) > 1:
        said.append("each view has its own position")
    return ", ".join(said) or "upright"


def alike(poses: Sequence[Pose]) -> tuple[Pose, ...]:
    """Return one pose for all where they are the same."""
    return tuple(poses[:1]) if len(set(poses)) == 1 else tuple(poses)


def _turned(roll_deg: float, tilt_deg: float, slant_deg: float) -> np.ndarray:
    """Return along and up of a detector that is turned (2, 3)."""
    for name, degrees in (("roll", roll_deg), ("tilt", tilt_deg), ("slant", slant_deg)):
        if not abs(degrees) <= MOST_DEG:
            raise InvalidValue(
                f"a {name} of {degrees:g} degrees; expected {-MOST_DEG:g} to {MOST_DEG:g}; turn "
                "the pictures by quarter turns first"
            )
    r, t, s = np.radians([roll_deg, tilt_deg, slant_deg])
    axes = np.array([[np.cos(r), 0, np.sin(r)], [-np.sin(r), 0, np.cos(r)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(t), np.sin(t)], [0, -np.sin(t), np.cos(t)]])
    slant = np.array([[np.cos(s), -np.sin(s), 0], [np.sin(s), np.cos(s), 0], [0, 0, 1]])
    return np.asarray(axes @ (slant @ tilt).T)


def _each(name: str, value: Angles, views: int) -> list[float]:
    """Return an angle for each view."""
    angles = np.asarray(value, dtype=float).reshape(-1)
    if len(angles) not in (1, views):
        raise InvalidValue(f"{len(angles)} angles of {name} for {views} views; expected 1 or all")
    return np.broadcast_to(angles, views).tolist()


def _shifts(name: str, shifts: Shifts, views: int, parts: int) -> np.ndarray:
    """Return a shift for each view (views, parts)."""
    if not len(shifts):
        return np.zeros((views, parts))
    try:
        return np.broadcast_to(np.array(shifts, dtype=float), (views, parts))
    except ValueError as error:
        raise InvalidValue(
            f"shifts of the {name} are not {parts} numbers for each of {views} views"
        ) from error


def vector(values: np.ndarray) -> tuple[float, float, float]:
    """Return three numbers without the last digits, which rotations leave."""
    x, y, z = (float(f"{v:.12g}") + 0.0 if abs(v) > 1e-12 else 0.0 for v in values)
    return x, y, z


def _range(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if high - low < 1e-6 else f"{low:.4g} to {high:.4g}"
