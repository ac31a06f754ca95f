"""Geometries of CIL (Jorgensen et al. 2021): an `AcquisitionGeometry`, or its numbers.

The source, the detector and the axis are stated for no rotation; a view at angle a sees the object
turned by a about the axis, so that source and detector turn by -a. The panel's origin says in which
corner its first pixel is (`AcquisitionGeometry.set_panel`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry.posed import turning
from diffusionblend.geometry.tools.values import numbers
from diffusionblend.geometry.tools.vectors import Taken, Vectors, beam_of

_ACROSS, _UPWARDS = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])


class Panel(NamedTuple):
    """A CIL geometry in numbers, of three dimensions, lengths in mm.

    Attributes:
        source: Position of the source, or direction of the rays.
        detector: Position of the middle of the panel.
        axis: Position of the axis of rotation.
        axis_along: Direction of the axis.
        across, upwards: Directions of the panel's rows and columns, unit.
        pixels, pixel_mm: Their number and their size, across and upwards.
        origin: Corner of the first pixel, for instance `bottom-left`.
        angles_deg: The angles, the initial one added.
        diverges: Whether it is a cone.
        flat: Whether it is of two dimensions.
    """

    source: np.ndarray
    detector: np.ndarray
    axis: np.ndarray
    pixels: tuple[int, int]
    pixel_mm: tuple[float, float]
    origin: str
    angles_deg: np.ndarray
    axis_along: np.ndarray = _UPWARDS
    across: np.ndarray = _ACROSS
    upwards: np.ndarray = _UPWARDS
    diverges: bool = True
    flat: bool = False


def from_panel(panel: Panel) -> Taken:
    """Take over a geometry of CIL in numbers."""
    down = "top" in panel.origin and not panel.flat
    signs = (-1 if "right" in panel.origin else 1, -1 if down else 1)
    upright = _upright(panel.axis_along)
    foot = panel.axis if panel.diverges else np.zeros(3)
    source, middle, across, upwards = (
        upright @ part
        for part in (
            panel.source - foot,
            panel.detector - panel.axis,
            signs[0] * panel.pixel_mm[0] * panel.across,
            signs[1] * panel.pixel_mm[1] * panel.upwards,
        )
    )
    angles = -np.radians(panel.angles_deg)
    vectors = Vectors(
        turning(angles, source),
        turning(angles, middle),
        turning(angles, across),
        turning(angles, upwards),
        *panel.pixels,
        panel.diverges,
    )
    beam, row_mm = beam_of(vectors, fan=panel.flat and panel.diverges)
    order = ("view", "bin") if panel.flat else ("view", "row", "bin")
    return Taken(beam, panel.pixels[1], row_mm, None, order)


def _upright(axis: np.ndarray) -> np.ndarray:
    """Return the rotation that sets an axis upright by the shortest way (3, 3)."""
    x, y, z = axis / np.linalg.norm(axis)
    if z <= 0:
        raise UnsupportedInput("the axis of rotation points downwards; expected it along z")
    turn = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])  # Rodrigues, about axis x z
    return np.eye(3) + turn + turn @ turn / (1 + z)


def from_cil(geometry: Any) -> Taken:  # noqa: ANN401 - an object of CIL
    """Take over the `geometry` of CIL, an `AcquisitionGeometry`, whose lengths are in mm.

    Raises:
        UnsupportedInput: No circular beam is like it.
    """
    config = getattr(geometry, "config", None)
    if config is None:
        raise CorruptInput(f"got a {type(geometry).__name__}; expected an AcquisitionGeometry")
    system, panel, angles = config.system, config.panel, config.angles
    diverges = str(getattr(geometry, "geom_type", "")) == "cone"
    unit = 1.0 if str(angles.angle_unit).lower().endswith("degree") else 180 / np.pi
    flat = len(system.detector.position) == 2
    return from_panel(
        panel_of(
            {
                "source": system.source.position if diverges else system.ray.direction,
                "detector": system.detector.position,
                "across": system.detector.direction_x,
                "upwards": None if flat else system.detector.direction_y,
                "axis": system.rotation_axis.position,
                "axis_along": None if flat else system.rotation_axis.direction,
            },
            (int(panel.num_pixels[0]), int(panel.num_pixels[1])),
            (float(panel.pixel_size[0]), float(panel.pixel_size[1])),
            str(panel.origin),
            unit * (np.asarray(angles.angle_data, dtype=np.float64) + float(angles.initial_angle)),
            diverges,
        )
    )


def panel_of(
    places: Mapping[str, Any],
    pixels: tuple[int, int],
    pixel_mm: tuple[float, float],
    origin: str,
    angles_deg: np.ndarray,
    diverges: bool,
) -> Panel:
    """Return a panel from places and directions in two or three dimensions."""
    flat = np.size(places["detector"]) == 2
    upright = {"upwards": [0.0, 0.0, 1.0], "axis_along": [0.0, 0.0, 1.0]}
    found = {
        name: np.append(numbers(places, name, (2,)), 0.0)
        if flat and name not in upright
        else numbers(places, name, (3,), upright.get(name))
        for name in ("source", "detector", "across", "upwards", "axis", "axis_along")
    }
    return Panel(
        **found,
        pixels=pixels,
        pixel_mm=pixel_mm,
        origin=origin,
        angles_deg=angles_deg,
        diverges=diverges,
        flat=flat,
    )
