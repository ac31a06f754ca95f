"""`--dry-run`: what a reconstruction would do and take, and how the plan of any command is told."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionblend.cli.terminal import in_minutes, show
from diffusionblend.machine.memory import in_units

if TYPE_CHECKING:
    import torch

    from diffusionblend.cli.commands.reconstruct import Reconstruct
    from diffusionblend.data.scan import Scan
    from diffusionblend.geometry import Geometry
    from diffusionblend.reconstruction.estimate import Estimate
    from diffusionblend.reconstruction.request import Request
    from diffusionblend.runs.room import Room


def show_plan(
    facts: Mapping[str, Any], told: Mapping[str, str], paths: Iterable[Path], as_json: bool
) -> None:
    """Print a plan: `facts` and what would be written as JSON, or for people, a line each."""
    outputs = [{"path": str(path), "exists": path.exists()} for path in paths]
    lines = [f"{name:14}{text}" for name, text in told.items()]
    lines += [
        f"{'would write':14}{o['path']}{' (is there, and would be replaced)' * bool(o['exists'])}"
        for o in outputs
    ]
    show({"dry_run": True, **facts, "outputs": outputs}, as_json, "\n".join(lines))


def plan_reconstruction(
    command: "Reconstruct", scan: "Scan", request: "Request", device: "torch.device"
) -> None:
    """Print what a reconstruction would do, and what it would take; write nothing."""
    from diffusionblend.prior.store import facts_of
    from diffusionblend.reconstruction.estimate import estimate
    from diffusionblend.runs.provenance import outputs_of, steps_folder

    prior = facts_of(command.prior) if request.method.needs_prior else None
    options = dict(vars(request.method))
    found = estimate(
        scan,
        request,
        prior=command.prior,
        device=device,
        mu_water=command.mu_water,
        scale=command.scale,
        max_memory=command.max_memory,
    )
    disk = command.room(request, found.worked_on, slabs=found.slab is not None)
    geometry = geometry_in_words(scan.geometry)
    told = {name: geometry[name] for name in ("beam", "projections", "angles", "grid")}
    told |= larger_in_words(found.worked_on) | {
        "method": f"{command.method} ({', '.join(f'{k}={v}' for k, v in options.items())})",
        "prior": "none" if prior is None else f"{prior['name']} {prior['weights_sha256'][:12]}",
        "samples": f"{command.samples}, from seed {command.seed}",
        "device": str(device),
        "operator": found.operator or "of another package",
        **estimate_in_words(found),
        "disk": disk_in_words(disk),
    }
    facts = {
        "scan": {"path": str(command.scan), "shape": scan.y.shape, **geometry},
        "grid": scan.geometry.grid.shape,
        "works_on": found.worked_on and found.worked_on.grid.shape,
        "method": {"name": command.method, **options},
        "prior": prior,
        "samples": command.samples,
        "seed": command.seed,
        "device": str(device),
        "operator": found.operator,
        **estimate_as_facts(found),
        "disk": {**vars(disk), "needed": disk.needed},
    }
    paths = outputs_of(command.output, request)
    if command.save_steps is not None:
        paths.append(steps_folder(command.output))
    show_plan(facts, told, paths, command.json)


def larger_in_words(geometry: "Geometry | None") -> dict[str, str]:
    """Return what a method works on beyond the scan's own grid, for people."""
    if geometry is None:
        return {}
    shape = " x ".join(map(str, geometry.grid.shape))
    return {
        "works on": f"{shape} voxels and {geometry.beam.bins} bins: the object goes on outside, "
        "and what was not asked for is cropped"
    }


def estimate_as_facts(found: "Estimate") -> dict[str, Any]:
    """Return an estimate for machines."""
    return {
        "seconds": found.total,
        "seconds_of": found.seconds,
        "memory_bytes": found.memory,
        "free_bytes": found.free,
        "slab_slices": found.slab,
    }


def estimate_in_words(found: "Estimate") -> dict[str, str]:
    """Return an estimate for people."""
    parts = ", ".join(f"{name} {in_minutes(seconds)}" for name, seconds in found.seconds.items())
    slab = "" if found.slab is None else f", {found.slab} slices at a time"
    free = "" if found.free is None else f", of {in_units(found.free)} that may be taken"
    if found.short:
        free += ": too much; take fewer slices or pixels"
    return {
        "time": f"about {in_minutes(found.total)} ({parts}), without reading and writing",
        "memory": "not estimated"
        if found.memory is None
        else f"{in_units(found.memory)}{slab}{free}",
    }


def disk_in_words(room: "Room") -> str:
    """Return what a reconstruction needs of the disk, for people."""
    state = f", and twice {in_units(room.state)} of its state on the way" if room.state else ""
    stacks = f", {in_units(room.stacks)} of slabs meanwhile" if room.stacks else ""
    short = ": too much" if room.needed > room.free else ""
    what = f"{in_units(room.volumes)} of volumes{state}{stacks}"
    return f"{what}, of {in_units(room.free)} free{short}"


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
