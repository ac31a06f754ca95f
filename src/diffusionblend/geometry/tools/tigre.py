"""Geometries of TIGRE (Biguri et al. 2016), from its object or a dictionary of its attributes.

At angle a the source is at (DSO, 0, 0), turned by a about z from x towards y, and the detector
beyond the axis, its bins along the turned y, its rows along z; COR moves both along the turned y,
and offOrigin moves the volume (`computeDeltas` of its projectors). The detector itself is turned
about its middle by rotDetector, about z, y and x; angles may be three, about z, y and z. All are in
radians. In Python TIGRE's arrays are (z, y, x) and (rows, bins), projections (views, rows, bins).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import ConeBeam, Geometry, Grid, ParallelBeam, PosedBeam
from diffusionblend.geometry.posed import turning
from diffusionblend.geometry.poses import as_posed
from diffusionblend.geometry.tools.astra import centred
from diffusionblend.geometry.tools.values import as_mapping, for_each, numbers
from diffusionblend.geometry.tools.vectors import Taken, Vectors, beam_of


def from_tigre(geo: Mapping[str, Any] | object, angles: Any = None) -> Taken:  # noqa: ANN401 - what numpy takes
    """Take over a geometry of TIGRE's Python package, in mm.

    Args:
        geo: A `tigre.geometry`, or a dictionary of its attributes.
        angles: In radians, (views,) or Euler angles (views, 3); none takes `geo.angles`.

    Raises:
        CorruptInput: A number is missing, or is not a number.
        UnsupportedInput: No circular beam is like it.
    """
    stated = dict(as_mapping(geo))
    if angles is not None:
        stated["angles"] = angles
    turned = _angles(stated)
    views = len(turned)
    rows, bins = numbers(stated, "nDetector", (2,))
    row_mm, bin_mm = numbers(stated, "dDetector", (2,))
    vectors = _vectors(stated, turned, (row_mm, bin_mm), (int(rows), int(bins)))
    beam, row_mm = beam_of(vectors)
    return Taken(beam, int(rows), row_mm, _grid(stated, views))


def to_tigre(geometry: Geometry) -> dict[str, Any]:
    """Return `geometry`, a cone or parallel rays, as the attributes of TIGRE's, with its angles.

    Raises:
        UnsupportedInput: It is a fan, which TIGRE knows only as a cone of one row.
    """
    grid, beam = geometry
    if not isinstance(beam, ConeBeam | ParallelBeam):
        raise UnsupportedInput(
            f"TIGRE cannot describe this {beam.kind} beam; expected a cone or parallel rays, or "
            "use to_astra"
            if isinstance(beam, PosedBeam)
            else f"TIGRE has no {beam.kind} beam; expected a cone or parallel rays"
        )
    far = max(4 * grid.radius_mm, 1.0)
    mode, sod, sdd, axis = "parallel", far, 2 * far, 0.0
    panel = as_posed(beam, grid.shape[0], grid.spacing_mm[0])
    if isinstance(beam, ConeBeam):
        mode, sod, sdd, axis = "cone", beam.sod_mm, beam.sdd_mm, beam.axis_mm
    n_detector = np.array([panel.rows, beam.bins])
    d_detector = np.array([panel.row_mm, beam.bin_mm])
    n_voxel, d_voxel = np.array(grid.shape), np.array(grid.spacing_mm)
    return {
        "mode": mode,
        "DSO": sod,
        "DSD": sdd,
        "nDetector": n_detector,
        "dDetector": d_detector,
        "sDetector": n_detector * d_detector,
        "nVoxel": n_voxel,
        "dVoxel": d_voxel,
        "sVoxel": n_voxel * d_voxel,
        "offOrigin": np.zeros(3),
        "offDetector": np.array([panel.row_offset_mm, beam.offset_mm]),
        "COR": -axis,
        "rotDetector": np.zeros(3),
        "accuracy": 0.5,
        "angles": np.radians(beam.angles_deg) - np.pi / 2,
    }


def _angles(stated: Mapping[str, Any]) -> np.ndarray:
    """Return the Euler angles about z, y and z in radians (views, 3)."""
    if stated.get("angles") is None:
        raise CorruptInput("angles are missing; add them, in radians")
    if np.ndim(stated["angles"]) == 2:
        return numbers(stated, "angles", (-1, 3))
    about_z = numbers(stated, "angles", (-1,))
    return np.stack([about_z, 0 * about_z, 0 * about_z], axis=1)


def _vectors(
    stated: Mapping[str, Any],
    angles: np.ndarray,
    pixel: tuple[float, float],
    size: tuple[int, int],
) -> Vectors:
    """Return the vectors, from the axis; the detector is turned about its middle."""
    from scipy.spatial.transform import Rotation

    views = len(angles)
    sod, sdd, cor = (
        for_each(stated, name, views, 1, default)[:, 0]
        for name, default in (("DSO", None), ("DSD", None), ("COR", [0]))
    )
    up, across = for_each(stated, "offDetector", views, 2, [0, 0]).T
    zero = np.zeros(views)
    diverges = str(stated.get("mode") or "cone") != "parallel"
    detector = Rotation.from_euler("ZYX", for_each(stated, "rotDetector", views, 3, [0, 0, 0]))
    places = (
        np.stack([sod, zero, zero], axis=-1) if diverges else (-1.0, 0.0, 0.0),
        np.stack([sod - sdd, across, up], axis=-1),
        detector.apply((0.0, pixel[1], 0.0)),
        detector.apply((0.0, 0.0, pixel[0])),
    )
    source, middle, along, upwards = map(Rotation.from_euler("ZYZ", angles).apply, places)
    beside = turning(angles[:, 0], np.stack([zero, cor, zero], axis=-1))
    source = source + beside * diverges
    return Vectors(source, middle + beside, along, upwards, size[1], size[0], diverges)


def _grid(stated: Mapping[str, Any], views: int) -> Grid | None:
    """Return the grid of the volume; None if it is not stated or not about the axis."""
    if stated.get("nVoxel") is None or stated.get("dVoxel") is None:
        return None
    if np.abs(for_each(stated, "offOrigin", views, 3, [0, 0, 0])).max() > 1e-9:
        return None
    shape, spacing = (numbers(stated, name, (3,)) for name in ("nVoxel", "dVoxel"))
    return centred([int(n) for n in shape], spacing.tolist())
