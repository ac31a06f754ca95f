"""Poses of every kind, made of a cone."""

from diffusionblend.geometry.acquisitions import ParallelBeam
from diffusionblend.geometry.poses import as_posed, helix, laminography, posed


def jittered(cone):
    """Return a cone whose source and detector have their own place in each view."""
    views = range(len(cone.angles_deg))
    return posed(
        cone,
        roll_deg=[1.5 * (view % 3) for view in views],
        detector_shifts_mm=[(1.0 - view % 3, 0.7 * (view % 2)) for view in views],
        source_shifts_mm=[(0.5 * (view % 2), 0.3, -0.4 * (view % 3)) for view in views],
    )


def from_afar(cone):
    """Return parallel rays to a detector as large as the shadow at the axis."""
    scale = cone.magnification
    return ParallelBeam(angles_deg=cone.angles_deg, bins=cone.bins, bin_mm=cone.bin_mm / scale)


def rows_of(cone):
    return {"rows": cone.rows, "row_mm": cone.row_mm / cone.magnification}


POSED = {
    "upright": as_posed,
    "turned": lambda cone: posed(cone, roll_deg=3, tilt_deg=6, slant_deg=-5),
    "each view its own": jittered,
    "helix": lambda cone: helix(posed(cone, roll_deg=2), 20.0),
    "laminography": lambda cone: laminography(cone, 35.0),
    "laminography, steep": lambda cone: laminography(cone, 65.0),
    "parallel, turned": lambda cone: posed(from_afar(cone), roll_deg=4, **rows_of(cone)),
    "parallel laminography": lambda cone: laminography(from_afar(cone), 30.0, **rows_of(cone)),
}
