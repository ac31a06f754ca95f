"""`--dry-run`: how the plan of any command is printed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionblend.cli.terminal import show

if TYPE_CHECKING:
    from diffusionblend.geometry import Geometry


def show_plan(
    facts: Mapping[str, Any], told: Mapping[str, str], paths: Iterable[Path], as_json: bool
) -> None:
    """Print a plan: `facts` and what would be written as JSON, or for people, a line each."""
    outputs = [{"path": str(path), "exists": path.exists()} for path in paths]
    lines = [f"{name:14}{text}" for name, text in told.items()]
    lines += [
        f"{'would write':14}{o['path']}{' (exists and would be replaced)' * bool(o['exists'])}"
        for o in outputs
    ]
    show({"dry_run": True, **facts, "outputs": outputs}, as_json, "\n".join(lines))


def geometry_in_words(geometry: "Geometry") -> dict[str, str]:
    """Return beam, projections, angles, grid and what else a geometry has, for people."""
    from diffusionblend.geometry import PosedBeam
    from diffusionblend.geometry.poses import pose_in_words

    grid, beam = geometry
    known: dict[str, Any] = {
        name: getattr(beam, name)
        for name in beam.__struct_fields__
        if name not in {"angles_deg", "bins", "poses"}
    }
    if isinstance(beam, PosedBeam):
        known["pose"] = pose_in_words(beam)
    angles, (rows, views, bins) = beam.angles_deg, geometry.sinogram_shape
    slices, height, width = grid.shape
    spacing = " x ".join(f"{mm:.6g}" for mm in grid.spacing_mm)
    told = {
        "beam": beam.kind,
        "projections": f"{views} views of {rows} x {bins} pixels",
        "angles": f"{min(angles):.6g} to {max(angles):.6g} degrees",
        "grid": f"{slices} x {height} x {width} voxels of {spacing} mm",
    }
    return told | {name: in_words(value) for name, value in known.items()}


def in_words(value: object) -> str:
    """Return a value for people; numbers with six digits."""
    if isinstance(value, list):
        return " to ".join(map(in_words, value))
    if value is None:
        return "not known"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
