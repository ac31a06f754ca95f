"""What stands below every table: by what command, on what, of what, when."""

from collections.abc import Sequence
from pathlib import Path

from diffusionblend.benchmark.plan import Plan, scale_mark
from diffusionblend.benchmark.results import Run
from diffusionblend.benchmark.volumes import credit
from diffusionblend.methods import find_method

PROTOCOLS = {
    "paper": "the paper's protocol: projected on the grid of the reconstruction with its own "
    "operator, an inverse crime",
    "independent": "projected on the finest grid there is with the area-weighted projector",
}
FIGURES = (
    "PSNR and SSIM of each slice of a plane, mean ± standard deviation over the slices, HU "
    "clipped to [-1000, 1000], data range 2000"
)


def captions(plan: Plan, runs: Sequence[Run], command: str) -> tuple[str, ...]:
    """Return the sentences that go with the tables of an experiment."""
    recipe = plan.recipe
    seeds = ", ".join(map(str, recipe.seeds))
    return (
        *recipe.notes,
        f"Command: `{command}`",
        f"Scale: {scale_mark(plan)}",
        f"Seeds: {seeds}" + ("; figures are means over them" if len(recipe.seeds) > 1 else ""),
        f"Scan: {'; '.join(_protocols(plan))}",
        f"Figures: {FIGURES}",
        f"Volumes: {'; '.join(f'{s.name}: {credit(s.path, s.credit)}' for s in recipe.volumes)}",
        f"Prior: {_prior(plan)}",
        f"Hardware: {'; '.join(sorted({r.result.times.hardware for r in runs}))}",
        f"Date: {_dates(runs)}",
    )


def _protocols(plan: Plan) -> list[str]:
    used = {a.protocol: None for a in plan.recipe.acquisitions}
    photons = sorted({a.photons for a in plan.recipe.acquisitions if a.photons}, reverse=True)
    noise = ["no noise"] * any(a.photons is None for a in plan.recipe.acquisitions)
    noise += [f"Poisson noise of {n:g} photons a bin" for n in photons]
    return [*(PROTOCOLS[p] for p in used), " or ".join(noise)]


def _prior(plan: Plan) -> str:
    hashes = {p.cell.prior for p in plan.points if find_method(p.row.method).needs_prior}
    known = [h for h in hashes if h]
    return f"{Path(plan.recipe.prior).name}, weights SHA-256 {known[0][:16]}" if known else "none"


def _dates(runs: Sequence[Run]) -> str:
    days = sorted({run.result.times.finished for run in runs})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
