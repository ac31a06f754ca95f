"""`--dry-run`: what a command would do and what is there already, as facts and as text."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionblend.cli.terminal import in_minutes, in_units, show

if TYPE_CHECKING:
    import torch

    from diffusionblend.cli.commands.benchmark import Benchmark
    from diffusionblend.cli.commands.reconstruct import Reconstruct
    from diffusionblend.cli.commands.simulate import Simulate
    from diffusionblend.cli.commands.train import Train
    from diffusionblend.data.scan import Scan
    from diffusionblend.experiments.benchmark import Settings
    from diffusionblend.geometry import Geometry
    from diffusionblend.methods import Method
    from diffusionblend.reconstruction.estimate import Estimate


def show_plan(
    facts: Mapping[str, Any], told: Mapping[str, str], paths: Iterable[Path], as_json: bool
) -> None:
    """Print a plan.

    Args:
        facts: The plan for machines.
        told: The plan for people: a line for each.
        paths: What would be written.
        as_json: Which of the two.
    """
    outputs = [{"path": str(path), "exists": path.exists()} for path in paths]
    lines = [f"{name:14}{text}" for name, text in told.items()]
    lines += [
        f"{'would write':14}{o['path']}{' (is there, and would be replaced)' * bool(o['exists'])}"
        for o in outputs
    ]
    show({"dry_run": True, **facts, "outputs": outputs}, as_json, "\n".join(lines))


def plan_reconstruction(
    command: "Reconstruct", scan: "Scan", method: "Method", device: "torch.device"
) -> None:
    """Print what a reconstruction would do, and what it would take; write nothing."""
    from diffusionblend.cli.commands.info import geometry_in_words
    from diffusionblend.cli.commands.reconstruct import prior_record
    from diffusionblend.reconstruction.estimate import estimate
    from diffusionblend.reconstruction.reconstruct import is_classical
    from diffusionblend.runs.provenance import outputs_of, steps_folder

    prior = prior_record(command.prior) if method.needs_prior else None
    options = dict(vars(method))
    classical = command.classical and not is_classical(method)
    found = estimate(
        scan,
        command.method,
        method,
        prior=command.prior,
        device=device,
        samples=command.samples,
        classical=classical,
        mu_water=command.mu_water,
        scale=command.scale,
    )
    geometry = geometry_in_words(scan.geometry)
    told = {name: geometry[name] for name in ("beam", "projections", "angles", "grid")}
    larger = found.worked_on
    if larger is not None:
        told["works on"] = (
            f"{' x '.join(map(str, larger.grid.shape))} voxels and {larger.beam.bins} bins: "
            "the object goes on outside, and what was not asked for is cropped"
        )
    told |= {
        "method": f"{command.method} ({', '.join(f'{k}={v}' for k, v in options.items())})",
        "prior": "none" if prior is None else f"{prior['name']} {prior['weights_sha256'][:12]}",
        "samples": f"{command.samples}, from seed {command.seed}",
        "device": str(device),
        **estimate_in_words(found),
    }
    facts = {
        "scan": {"path": str(command.scan), "shape": scan.y.shape, **geometry},
        "grid": scan.geometry.grid.shape,
        "works_on": None if larger is None else larger.grid.shape,
        "method": {"name": command.method, **options},
        "prior": prior,
        "samples": command.samples,
        "seed": command.seed,
        "device": str(device),
        **estimate_as_facts(found),
    }
    paths = outputs_of(command.output, samples=command.samples, classical=classical)
    if command.save_steps is not None:
        paths.append(steps_folder(command.output))
    show_plan(facts, told, paths, command.json)


def estimate_as_facts(found: "Estimate") -> dict[str, Any]:
    """Return an estimate for machines."""
    return {
        "seconds": found.total,
        "seconds_of": found.seconds,
        "memory_bytes": found.memory,
        "free_bytes": found.free,
    }


def estimate_in_words(found: "Estimate") -> dict[str, str]:
    """Return an estimate for people."""
    parts = ", ".join(f"{name} {in_minutes(seconds)}" for name, seconds in found.seconds.items())
    free = "" if found.free is None else f", of {in_units(found.free)} that are free"
    if found.short:
        free += ": too much; take fewer slices or pixels"
    return {
        "time": f"about {in_minutes(found.total)} ({parts}), without reading and writing",
        "memory": "not estimated" if found.memory is None else f"{in_units(found.memory)}{free}",
    }


def plan_simulation(command: "Simulate", geometry: "Geometry") -> None:
    """Print what a scan would be; write nothing."""
    from diffusionblend.cli.commands.info import geometry_in_words

    told = geometry_in_words(geometry)
    told["noise"] = "none" if command.photons is None else f"{command.photons:g} photons a bin"
    facts = {"shape": geometry.sinogram_shape, **told, "seed": command.seed}
    paths = [command.output, *([command.truth] if command.truth else [])]
    show_plan(facts, told, paths, command.json)


def plan_benchmark(command: "Benchmark", settings: "Settings") -> None:
    """Print the runs of experiments and which of them are kept; run none."""
    from diffusionblend.experiments.benchmark import prepare_all
    from diffusionblend.experiments.store import load_result

    runs = {
        run.key: {
            "experiment": plan.name,
            "run": run.label,
            "kept": load_result(settings.folder, run.key) is not None,
        }
        for plan in prepare_all(command.name, settings)
        for run in plan.runs
    }
    kept = sum(bool(run["kept"]) for run in runs.values())
    told = {
        "runs": f"{len(runs)}, of which {kept} are kept and {len(runs) - kept} would be run",
        "scale": settings.scale,
        "time": "not estimated",
    }
    facts = {"runs": list(runs.values()), "kept": kept, "scale": settings.scale, "seconds": None}
    show_plan(facts, told, [settings.folder], command.json)


def plan_training(command: "Train") -> None:
    """Print what a recipe would train, on what and for how long; write nothing."""
    import msgspec

    from diffusionblend.training.cache import candidates
    from diffusionblend.training.recipe import read_any_recipe
    from diffusionblend.training.state import STATE

    task, recipe = read_any_recipe(command.recipe, command.set)
    root = command.recipe.parent
    volumes = [c.name for folder in recipe.data for c in candidates(folder, root)]
    output = root / recipe.output
    begun = (output / STATE).exists()
    budget = {k: v for k, v in msgspec.to_builtins(recipe.budget).items() if v is not None}
    hours = recipe.budget.hours
    told = {
        "task": task,
        "data": f"{len(volumes)} volumes, before those that cannot be read are left out",
        "budget": ", ".join(f"{v:g} {k}" for k, v in budget.items()),
        "time": "not estimated" if hours is None else f"at most {in_minutes(3600 * hours)}",
        "state": "goes on from the checkpoint there" if begun else "begins",
    }
    facts = {
        "task": task,
        "volumes": volumes,
        "resumes": begun,
        "seconds": None if hours is None else 3600 * hours,
        "recipe": msgspec.to_builtins(recipe),
    }
    show_plan(facts, told, [output], command.json)
